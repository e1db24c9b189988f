// Chains of steps: one kernel that carries out a little program, the same for all threads, on a vector of elements in
// registers. The program is a kernel parameter; a step is chosen once a vector, and no warp diverges.
//
// The backward computes the values again and keeps those that it reads (ChainBackwardPlan) in shared memory, where a
// thread has slots of its own: registers cannot be indexed by the number of a step.
#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/elementwise.cuh>
#include <graft/kernels/cuda/unary.cuh>

namespace graft::kernels::cuda {
namespace {

using elementwise_detail::load;
using elementwise_detail::store;

/// What a step does; v is the value it works on, o the scalar or the tensor's element.
enum class Code : std::uint8_t { unary, add, sub, sub_from, mul, div, div_into };  // sub_from: o - v; div_into: o / v

template <class C>
struct Step {
  Code code;
  UnaryOp unary;
  ChainReads reads;   // what the backward reads
  bool takes_tensor;  // o is an element of the next tensor
  bool gives_tensor;  // its gradient is wanted
  std::uint8_t slot;  // where the backward keeps what it reads
  C scalar;
};

template <class C>
struct Program {
  Step<C> steps[kChainSteps];
  int count, forward, lowest;  // the last two as in ChainBackwardPlan
};

/// V elements in the compute type.
template <class T, int V>
struct Values {
  Compute<T> at[V];
};

template <class T, int V, class L>
GRAFT_DEVICE Values<T, V> widened(const L& loaded) {
  Values<T, V> v;
  GRAFT_UNROLL
  for (int k = 0; k < V; ++k) v.at[k] = loaded.element(k);
  return v;
}

template <int V, class T>
GRAFT_DEVICE void store_narrowed(T* y, std::int64_t offset, const Values<T, V>& v, std::uint32_t left) {
  Vector<T, V> narrowed;
  GRAFT_UNROLL
  for (int k = 0; k < V; ++k) narrowed.at[k] = narrow<T>(v.at[k]);
  store<V>(y, offset, narrowed, left);
}

/// The tensors' elements of one item. Steps take them from the front; turning keeps every index a constant, so that
/// they stay in registers.
template <class T, int V>
struct Ring {
  elementwise_detail::Loaded<T, V> at[kChainTensors];

  GRAFT_DEVICE void turn() {
    const auto first = at[0];
    GRAFT_UNROLL
    for (int i = 0; i + 1 < kChainTensors; ++i) at[i] = at[i + 1];
    at[kChainTensors - 1] = first;
  }
  GRAFT_DEVICE void turn_back() {
    const auto last = at[kChainTensors - 1];
    GRAFT_UNROLL
    for (int i = kChainTensors - 1; i > 0; --i) at[i] = at[i - 1];
    at[0] = last;
  }
  /// What stands beside the value in a step.
  GRAFT_DEVICE Values<T, V> other(const Step<Compute<T>>& step) const {
    if (step.takes_tensor) return widened<T, V>(at[0]);
    Values<T, V> all;
    GRAFT_UNROLL
    for (int k = 0; k < V; ++k) all.at[k] = step.scalar;
    return all;
  }
};

/// v = f(v, o), element by element.
template <int V, class T, class F>
GRAFT_DEVICE void each(Values<T, V>& v, const Values<T, V>& o, F f) {
  GRAFT_UNROLL
  for (int k = 0; k < V; ++k) v.at[k] = f(v.at[k], o.at[k]);
}

template <int V, class T>
GRAFT_DEVICE void apply(const Step<Compute<T>>& step, Values<T, V>& v, const Ring<T, V>& ring) {
  using C = Compute<T>;
  if (step.code == Code::unary)
    return Unary<C>{step.unary}.select([&](const auto& g) { each(v, v, [&](C x, C) { return C(g(x)); }); });
  const Values<T, V> o = ring.other(step);
  switch (step.code) {
    case Code::add:
      return each(v, o, [](C x, C z) { return x + z; });
    case Code::sub:
      return each(v, o, [](C x, C z) { return x - z; });
    case Code::sub_from:
      return each(v, o, [](C x, C z) { return z - x; });
    case Code::mul:
      return each(v, o, [](C x, C z) { return x * z; });
    case Code::div:
      return each(v, o, [](C x, C z) { return x / z; });
    default:
      return each(v, o, [](C x, C z) { return z / x; });
  }
}

// --- forward
// ----------------------------------------------------------------------------------------------------------

constexpr int kForwardOperands = 2 + kChainTensors;  // y, x and the tensors

template <class T>
struct ForwardPointers {
  T* y;
  const T* x;
  const T* tensors[kChainTensors];  // null where there is none
};

template <int V, class T>
GRAFT_KERNEL(kElementwiseThreads)
chain_forward(GRAFT_GRID_CONSTANT Program<Compute<T>> program, GRAFT_GRID_CONSTANT Walk<kForwardOperands> walk,
              GRAFT_GRID_CONSTANT ForwardPointers<T> pointers) {
  const std::uint32_t threads = gridDim.x * kElementwiseThreads;  // at most 2^24
  for (std::uint32_t item = blockIdx.x * kElementwiseThreads + threadIdx.x; item < walk.items; item += threads) {
    const auto place = walk.template locate<V>(item);
    Values<T, V> v = widened<T, V>(load<V>(pointers.x, place.offset[1], walk.step[1], place.left));
    Ring<T, V> ring{};
    GRAFT_UNROLL
    for (int i = 0; i < kChainTensors; ++i)
      if (pointers.tensors[i] != nullptr)
        ring.at[i] = load<V>(pointers.tensors[i], place.offset[2 + i], walk.step[2 + i], place.left);
    for (int s = 0; s < program.count; ++s) {
      apply<V, T>(program.steps[s], v, ring);
      if (program.steps[s].takes_tensor) ring.turn();
    }
    store_narrowed<V, T>(pointers.y, place.offset[0], v, place.left);
  }
}

// --- backward
// ---------------------------------------------------------------------------------------------------------

constexpr int kBackwardOperands = 4 + kChainTensors;  // the gradients, x, y, gy and the tensors

template <class T>
struct BackwardPointers {
  T* gx;                            // null where it is not wanted
  T* gtensors[kChainSteps];         // by step
  const T *x, *y, *gy;              // x and y null where they are not read
  const T* tensors[kChainTensors];  // null where there is none, or where it is not read
};

/// The slots of this thread: V values each, moved in pieces of up to 16 bytes. Neighbouring threads have neighbouring
/// pieces, so no bank is asked twice.
template <class T, int V>
struct Slots {
  using C = Compute<T>;
  static constexpr int kPiece = V < 16 / static_cast<int>(sizeof(C)) ? V : 16 / static_cast<int>(sizeof(C));
  static constexpr int kPieces = V / kPiece;
  using Piece = Vector<C, kPiece>;
  static constexpr std::size_t kBytes = kElementwiseThreads * kPieces * sizeof(Piece);  // of one slot of a block

  Piece* first;

  GRAFT_DEVICE void put(int slot, const Values<T, V>& v) const {
    GRAFT_UNROLL
    for (int p = 0; p < kPieces; ++p) {
      Piece piece;
      GRAFT_UNROLL
      for (int k = 0; k < kPiece; ++k) piece.at[k] = v.at[p * kPiece + k];
      first[(slot * kPieces + p) * kElementwiseThreads + threadIdx.x] = piece;
    }
  }
  GRAFT_DEVICE Values<T, V> get(int slot) const {
    Values<T, V> v;
    GRAFT_UNROLL
    for (int p = 0; p < kPieces; ++p) {
      const Piece piece = first[(slot * kPieces + p) * kElementwiseThreads + threadIdx.x];
      GRAFT_UNROLL
      for (int k = 0; k < kPiece; ++k) v.at[p * kPiece + k] = piece.at[k];
    }
    return v;
  }
};

/// The gradient of a step's tensor; s is the value before the step.
template <int V, class T>
GRAFT_DEVICE Values<T, V> tensor_gradient(Code code, Values<T, V> g, const Values<T, V>& s, const Values<T, V>& o) {
  using C = Compute<T>;
  switch (code) {
    case Code::sub:
      each(g, g, [](C x, C) { return -x; });
      break;
    case Code::mul:
      each(g, s, [](C x, C v) { return x * v; });
      break;
    case Code::div:
      GRAFT_UNROLL
      for (int k = 0; k < V; ++k) g.at[k] = -(g.at[k] * (s.at[k] / o.at[k] / o.at[k]));
      break;
    case Code::div_into:
      each(g, s, [](C x, C v) { return x / v; });
      break;
    default:  // add, sub_from
      break;
  }
  return g;
}

/// The gradient of the value before an arithmetic step, s.
template <int V, class T>
GRAFT_DEVICE void value_gradient(Code code, Values<T, V>& g, const Values<T, V>& s, const Values<T, V>& o) {
  using C = Compute<T>;
  switch (code) {
    case Code::sub_from:
      return each(g, g, [](C x, C) { return -x; });
    case Code::mul:
      return each(g, o, [](C x, C z) { return x * z; });
    case Code::div:
      return each(g, o, [](C x, C z) { return x / z; });
    case Code::div_into:
      GRAFT_UNROLL
      for (int k = 0; k < V; ++k) g.at[k] = -(g.at[k] * (o.at[k] / s.at[k] / s.at[k]));
      return;
    default:  // add, sub
      return;
  }
}

template <int V, class T>
GRAFT_KERNEL(kElementwiseThreads)
chain_backward(GRAFT_GRID_CONSTANT Program<Compute<T>> program, GRAFT_GRID_CONSTANT Walk<kBackwardOperands> walk,
               GRAFT_GRID_CONSTANT BackwardPointers<T> pointers) {
  using C = Compute<T>;
  using Piece = typename Slots<T, V>::Piece;
  GRAFT_DYNAMIC_SHARED(Piece, shared);
  const Slots<T, V> slots{shared};
  const std::uint32_t threads = gridDim.x * kElementwiseThreads;
  for (std::uint32_t item = blockIdx.x * kElementwiseThreads + threadIdx.x; item < walk.items; item += threads) {
    const auto place = walk.template locate<V>(item);
    Values<T, V> v{}, g = widened<T, V>(load<V>(pointers.gy, place.offset[3], walk.step[3], place.left));
    if (pointers.x != nullptr) v = widened<T, V>(load<V>(pointers.x, place.offset[1], walk.step[1], place.left));
    Ring<T, V> ring{};
    GRAFT_UNROLL
    for (int i = 0; i < kChainTensors; ++i)
      if (pointers.tensors[i] != nullptr)
        ring.at[i] = load<V>(pointers.tensors[i], place.offset[4 + i], walk.step[4 + i], place.left);
    for (int s = 0; s < program.count; ++s) {
      const Step<C>& step = program.steps[s];
      if (step.reads == ChainReads::input) slots.put(step.slot, v);
      if (s < program.forward) apply<V, T>(step, v, ring);
      if (step.reads == ChainReads::output && s < program.forward) slots.put(step.slot, v);
      if (step.takes_tensor) ring.turn();
    }
    if (pointers.y != nullptr)
      slots.put(program.steps[program.count - 1].slot,
                widened<T, V>(load<V>(pointers.y, place.offset[2], walk.step[2], place.left)));
    for (int s = program.count - 1; s >= program.lowest; --s) {
      const Step<C>& step = program.steps[s];
      if (step.takes_tensor) ring.turn_back();
      Values<T, V> saved{};
      if (step.reads != ChainReads::nothing) saved = slots.get(step.slot);
      if (step.code == Code::unary) {
        UnaryBackward<C>{step.unary}.select(
            [&](const auto& f) { each(g, saved, [&](C gy, C kept) { return C(f(kept, gy)); }); });
        continue;
      }
      const Values<T, V> o = ring.other(step);
      if (step.gives_tensor)
        store_narrowed<V, T>(pointers.gtensors[s], place.offset[0], tensor_gradient<V, T>(step.code, g, saved, o),
                             place.left);
      value_gradient<V, T>(step.code, g, saved, o);
    }
    if (pointers.gx != nullptr) store_narrowed<V, T>(pointers.gx, place.offset[0], g, place.left);
  }
}

// --- the host's side
// --------------------------------------------------------------------------------------------------

Code code_of(const ChainStep& step) {
  if (step.kind == ChainStep::Kind::unary) return Code::unary;
  switch (step.binary) {
    case BinaryOp::add:
      return Code::add;
    case BinaryOp::sub:
      return step.reversed ? Code::sub_from : Code::sub;
    case BinaryOp::mul:
      return Code::mul;
    default:
      return step.reversed ? Code::div_into : Code::div;
  }
}

template <class C>
Program<C> program_of(const ChainSteps& steps) {
  Program<C> program{};
  program.count = steps.count;
  for (int i = 0; i < steps.count; ++i) {
    Step<C>& step = program.steps[i];
    step.code = code_of(steps[i]);
    step.unary = steps[i].unary;
    step.takes_tensor = steps[i].kind == ChainStep::Kind::tensor;
    step.scalar = static_cast<C>(steps[i].scalar);
  }
  return program;
}

/// The dimensions of N operands; an undefined one takes no part.
template <int N>
Dims<N> dims_of(const std::array<TensorRef, N>& operands) {
  std::array<Shape, N> strides;
  for (std::size_t i = 0; i < N; ++i)
    strides[i] = operands[i].defined() ? operands[i].strides : Shape::filled(operands[0].shape.rank(), 0);
  return collapse<N>(operands[0].shape, strides);
}

/// Launches kernels over `dims`: by vectors of 16 bytes where all pointers allow it, else by elements. bytes(V) is the
/// shared memory that a block needs.
template <class T, int N, class Kernel, class Bytes, class Pointers>
void launch_chain(const Stream& stream, const char* name, const Dims<N>& dims, bool vectors, Kernel by_vectors,
                  Kernel by_elements, Bytes bytes, const Program<Compute<T>>& program, const Pointers& pointers) {
  for_each_launch(dims, [&](const Dims<N>& piece) {
    const Walk<N> walk(piece, vectors ? kVectorLength<T> : 1);
    const std::int64_t blocks = ceil_div<std::int64_t>(walk.items, kElementwiseThreads);
    const LaunchConfig config = {.grid = dim3(static_cast<unsigned>(std::min(blocks, kElementwiseBlocks))),
                                 .block = dim3(kElementwiseThreads),
                                 .shared_bytes = bytes(vectors)};
    launch(name, vectors ? by_vectors : by_elements, config, stream, program, walk, pointers);
  });
}

template <class T, int N>
bool vectors_fit(const Dims<N>& dims, const std::array<TensorRef, N>& operands) {
  std::array<const void*, N> data;
  std::array<std::size_t, N> bytes;
  for (std::size_t i = 0; i < N; ++i) data[i] = operands[i].data;
  bytes.fill(sizeof(T));
  return vector_fits<N>(dims, kVectorLength<T>, data, bytes);
}

void run_chain(const ChainArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  std::array<TensorRef, kForwardOperands> operands{args.y, args.x};
  std::size_t next = 2;
  for (const ChainStep& step : args.steps)
    if (step.kind == ChainStep::Kind::tensor) operands[next++] = step.tensor;
  const auto dims = dims_of<kForwardOperands>(operands);
  visit_floating(args.x.dtype, [&]<class T>(T) {
    ForwardPointers<T> pointers{args.y.as<T>(), args.x.as<T>(), {}};
    for (std::size_t i = 0; i < kChainTensors; ++i) pointers.tensors[i] = operands[2 + i].as<T>();
    launch_chain<T, kForwardOperands>(
        stream, "chain", dims, vectors_fit<T, kForwardOperands>(dims, operands), chain_forward<kVectorLength<T>, T>,
        chain_forward<1, T>, [](bool) { return std::size_t{0}; }, program_of<Compute<T>>(args.steps), pointers);
  });
}

void run_chain_backward(const ChainBackwardArgs& args, Stream& stream) {
  if (args.gy.numel() == 0) return;
  const ChainBackwardPlan plan(args);
  std::array<TensorRef, kBackwardOperands> operands{args.gx, plan.reads_x ? args.x : TensorRef{},
                                                    plan.reads_y ? args.y : TensorRef{}, args.gy};
  std::size_t next = 4;
  for (int i = 0; i < args.steps.count; ++i)
    if (args.steps[i].kind == ChainStep::Kind::tensor) {
      if (plan.reads_tensor[static_cast<std::size_t>(i)]) operands[next] = args.steps[i].tensor;
      ++next;
    }
  bool aligned = true;
  for (const TensorRef& g : args.gtensors) {
    if (!operands[0].defined()) operands[0] = g;  // all gradients lie alike
    aligned = aligned && is_aligned(g.data, 16);
  }
  const auto dims = dims_of<kBackwardOperands>(operands);
  visit_floating(args.gy.dtype, [&]<class T>(T) {
    Program<Compute<T>> program = program_of<Compute<T>>(args.steps);
    program.forward = plan.forward;
    program.lowest = plan.lowest;
    BackwardPointers<T> pointers{args.gx.as<T>(), {}, operands[1].as<T>(), operands[2].as<T>(), args.gy.as<T>(), {}};
    for (std::size_t i = 0; i < kChainTensors; ++i) pointers.tensors[i] = operands[4 + i].as<T>();
    std::uint8_t slots = 0;
    for (int i = 0; i < args.steps.count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      program.steps[i].reads = plan.reads[at];
      program.steps[i].gives_tensor = args.gtensors[at].defined();
      pointers.gtensors[i] = args.gtensors[at].as<T>();
      if (plan.reads[at] != ChainReads::nothing) program.steps[i].slot = slots++;
    }
    launch_chain<T, kBackwardOperands>(
        stream, "chain_backward", dims, aligned && vectors_fit<T, kBackwardOperands>(dims, operands),
        chain_backward<kVectorLength<T>, T>, chain_backward<1, T>,
        [&](bool vectors) { return slots * (vectors ? Slots<T, kVectorLength<T>>::kBytes : Slots<T, 1>::kBytes); },
        program, pointers);
  });
}

}  // namespace

void add_chain(BackendTable& table) {
  table.row<ChainArgs>() = row(run_chain);
  table.row<ChainBackwardArgs>() = row(run_chain_backward);
}

}  // namespace graft::kernels::cuda
