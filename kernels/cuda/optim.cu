// Optimiser updates: one launch over all parameters. The list of parameters travels in the kernel's own parameters: 4
// KB of them for up to about 55 entries, else 32,764 bytes (what the hardware and the driver take) for up to about 450.
// A longer list takes further launches, and so does each dtype.
//
// A block has one chunk of one parameter and finds it by a binary search over the entries' first blocks. param, grad,
// state and mask lie in the same order, so the chunk is a flat loop, in accesses of 16 bytes where all of them allow
// it.
#include <cmath>
#include <span>

#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/packed.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSteps = 4;  // vectors of a chunk that each thread has

// Elements of one block.
template <class T>
constexpr std::int64_t kChunk = std::int64_t{kThreads} * kSteps* kVectorLength<T>;

// One parameter. C is the type of state and arithmetic.
template <class C>
struct Entry {
  void* param;
  const void* grad;
  C* state0;
  C* state1;
  const std::uint8_t* mask;
  std::int64_t count;
  std::uint32_t first_block;  // of this launch's grid
  bool vectors;               // 16-byte accesses are possible
  bool first_step;
  C scalars[4];  // of the rule
};

// What a launch takes as its parameters, Bytes in all.
template <class C, class Rule, int Bytes>
struct Batch {
  static constexpr int kEntries = (Bytes - static_cast<int>(sizeof(Rule)) - 16) / static_cast<int>(sizeof(Entry<C>));
  Rule rule;
  std::int32_t count;
  Entry<C> entries[kEntries];
};

constexpr int kSmallBatch = 4096, kLargeBatch = 32764;

// One element: what the rule reads and changes.
template <class C>
struct Element {
  C param, state0, state1;
};

// torch.optim.SGD. Scalars: weight decay, step size (multiplier * lr).
template <class C>
struct SgdRule {
  C grad_scale, momentum, one_minus_dampening;
  bool nesterov;

  GRAFT_DEVICE bool reads_state(const Entry<C>& entry) const { return !entry.first_step; }
  GRAFT_DEVICE void step(const Entry<C>& entry, Element<C>& e, C grad) const {
    C g = grad_scale * grad + entry.scalars[0] * e.param;
    if (entry.state0 != nullptr) {
      e.state0 = entry.first_step ? g : momentum * e.state0 + one_minus_dampening * g;
      g = nesterov ? g + momentum * e.state0 : e.state0;
    }
    e.param -= entry.scalars[1] * g;
  }
};

// Adam and AdamW. Scalars: weight decay within the gradient (Adam), the share of the parameter that decays (AdamW),
// step size (multiplier * lr / (1 - beta1^t)), 1 / sqrt(1 - beta2^t).
template <class C>
struct AdamRule {
  C grad_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, eps;

  GRAFT_DEVICE bool reads_state(const Entry<C>&) const { return true; }
  GRAFT_DEVICE void step(const Entry<C>& entry, Element<C>& e, C grad) const {
    const C g = grad_scale * grad + entry.scalars[0] * e.param;
    e.state0 = beta1 * e.state0 + one_minus_beta1 * g;
    e.state1 = beta2 * e.state1 + one_minus_beta2 * g * g;
    e.param -= entry.scalars[1] * e.param;
    e.param -= entry.scalars[2] * e.state0 / (sqrt(e.state1) * entry.scalars[3] + eps);
  }
};

// Elements i .. i + V of a parameter.
template <int V, class T, class Rule, class C>
GRAFT_DEVICE void update(const Rule& rule, const Entry<C>& entry, std::int64_t i) {
  T* const param = static_cast<T*>(entry.param) + i;
  Packed<T, V> p = load<V>(param);
  const Packed<T, V> grad = load<V>(static_cast<const T*>(entry.grad) + i);
  Packed<C, V> state0{}, state1{};
  const bool reads_state = rule.reads_state(entry);
  // A mask keeps elements of a state that the first step does not read.
  if (entry.state0 != nullptr && (reads_state || entry.mask != nullptr)) state0 = load<V>(entry.state0 + i);
  if (entry.state1 != nullptr) state1 = load<V>(entry.state1 + i);
  Packed<std::uint8_t, V> on;
  if (entry.mask != nullptr) {
    on = load<V>(entry.mask + i);
  } else {
    GRAFT_UNROLL
    for (int v = 0; v < V; ++v) on.at[v] = 1;
  }
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) {
    Element<C> e{widen(p.at[v]), state0.at[v], state1.at[v]};
    rule.step(entry, e, widen(grad.at[v]));
    if (on.at[v] == 0) continue;
    p.at[v] = narrow<T>(e.param);
    state0.at[v] = e.state0;
    state1.at[v] = e.state1;
  }
  store(param, p);
  if (entry.state0 != nullptr) store(entry.state0 + i, state0);
  if (entry.state1 != nullptr) store(entry.state1 + i, state1);
}

template <class T, class Rule, int Bytes>
GRAFT_KERNEL(kThreads)
update_parameters(const Batch<Compute<T>, Rule, Bytes> batch) {
  constexpr int V = kVectorLength<T>;
  int low = 0, high = batch.count - 1;  // the last entry whose first block is not after this one
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (batch.entries[middle].first_block <= blockIdx.x)
      low = middle;
    else
      high = middle - 1;
  }
  const Entry<Compute<T>>& entry = batch.entries[low];
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x - entry.first_block) * kChunk<T>;
  const std::int64_t end = std::min(begin + kChunk<T>, entry.count);
  std::int64_t scalars_from = begin;
  if (entry.vectors) {
    for (std::int64_t i = begin + threadIdx.x * V; i + V <= end; i += kThreads * V) update<V, T>(batch.rule, entry, i);
    scalars_from = begin + (end - begin) / V * V;
  }
  for (std::int64_t i = scalars_from + threadIdx.x; i < end; i += kThreads) update<1, T>(batch.rule, entry, i);
}

// --- the host's side ------------------------------------------------------------------------------------------------

template <class C>
Entry<C> entry_of(const OptimParam& p) {
  Entry<C> entry{};
  entry.param = p.param.data;
  entry.grad = p.grad.data;
  entry.mask = p.mask.defined() ? p.mask.as<std::uint8_t>() : nullptr;
  entry.count = p.param.numel();
  entry.first_step = p.step == 1;
  return entry;
}

// A multiplier of 0 freezes, whatever the gradient holds: infinity times 0 would not.
bool changes(const OptimParam& p, DType dtype) {
  return p.param.dtype == dtype && p.multiplier != 0 && p.param.numel() > 0;
}

template <class T, int Bytes, class Rule, class Fill>
void update_batches(const char* name, DType dtype, std::span<const OptimParam> params, const Rule& rule, Fill&& fill,
                    const Stream& stream) {
  using C = Compute<T>;
  using List = Batch<C, Rule, Bytes>;
  static_assert(sizeof(List) <= Bytes);
  List list{.rule = rule, .count = 0, .entries = {}};
  std::int64_t blocks = 0;
  const auto flush = [&] {
    if (list.count > 0)
      launch(name, update_parameters<T, Rule, Bytes>, {.grid = dim3(blocks_for(blocks, 1)), .block = dim3(kThreads)},
             stream, list);
    list.count = 0;
    blocks = 0;
  };
  for (const OptimParam& p : params) {
    if (!changes(p, dtype)) continue;
    Entry<C> entry = entry_of<C>(p);
    fill(p, entry);
    entry.vectors = all_aligned({entry.param, entry.grad, entry.state0, entry.state1}) &&
                    is_aligned(entry.mask, kPackedAlignment<std::uint8_t, kVectorLength<T>>);
    const std::int64_t own = ceil_div(entry.count, kChunk<T>);
    if (list.count == List::kEntries || blocks + own > std::numeric_limits<std::int32_t>::max()) flush();
    entry.first_block = static_cast<std::uint32_t>(blocks);
    list.entries[list.count++] = entry;
    blocks += own;
  }
  flush();
}

// Updates all parameters of dtype T by `rule`; fill(param, entry) adds states and scalars.
template <class T, class Rule, class Fill>
void update_all(const char* name, DType dtype, std::span<const OptimParam> params, const Rule& rule, Fill&& fill,
                const Stream& stream) {
  const auto count = std::count_if(params.begin(), params.end(), [&](const auto& p) { return changes(p, dtype); });
  if (count == 0) return;
  if (count <= Batch<Compute<T>, Rule, kSmallBatch>::kEntries)
    update_batches<T, kSmallBatch>(name, dtype, params, rule, fill, stream);
  else
    update_batches<T, kLargeBatch>(name, dtype, params, rule, fill, stream);
}

std::span<const OptimParam> list_of(const OptimParam* params, std::int64_t count) {
  return {params, static_cast<std::size_t>(count)};
}

void run_sgd(const SgdArgs& args, Stream& stream) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
    visit_floating(dtype, [&]<class T>(T) {
      using C = Compute<T>;
      const SgdRule<C> rule{static_cast<C>(args.grad_scale), static_cast<C>(args.momentum),
                            static_cast<C>(1 - args.dampening), args.nesterov};
      update_all<T>(
          "sgd", dtype, list_of(args.params, args.count), rule,
          [&](const OptimParam& p, Entry<C>& entry) {
            if (args.momentum != 0) entry.state0 = p.state0.as<C>();
            entry.scalars[0] = static_cast<C>(p.weight_decay);
            entry.scalars[1] = static_cast<C>(p.multiplier * p.lr);
          },
          stream);
    });
}

void run_adam(const AdamArgs& args, Stream& stream) {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
    visit_floating(dtype, [&]<class T>(T) {
      using C = Compute<T>;
      const AdamRule<C> rule{static_cast<C>(args.grad_scale), static_cast<C>(args.beta1),
                             static_cast<C>(1 - args.beta1),  static_cast<C>(args.beta2),
                             static_cast<C>(1 - args.beta2),  static_cast<C>(args.eps)};
      update_all<T>(
          "adam", dtype, list_of(args.params, args.count), rule,
          [&](const OptimParam& p, Entry<C>& entry) {
            const auto t = static_cast<double>(p.step);
            const double rate = p.multiplier * p.lr;
            entry.state0 = p.state0.as<C>();
            entry.state1 = p.state1.as<C>();
            entry.scalars[0] = static_cast<C>(args.decoupled ? 0 : p.weight_decay);
            entry.scalars[1] = static_cast<C>(args.decoupled ? rate * p.weight_decay : 0);
            entry.scalars[2] = static_cast<C>(rate / (1 - std::pow(args.beta1, t)));
            entry.scalars[3] = static_cast<C>(1 / std::sqrt(1 - std::pow(args.beta2, t)));
          },
          stream);
    });
}

}  // namespace

void add_optim(BackendTable& table) {
  table.row<SgdArgs>() = row(run_sgd);
  table.row<AdamArgs>() = row(run_adam);
}

}  // namespace graft::kernels::cuda
