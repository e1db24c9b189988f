// Optimiser updates: one launch over all parameters. The list of parameters travels in the kernel's own parameters: 4
// KB of them for up to about 55 entries, else 32,764 bytes (what the hardware and the driver take) for up to about 450.
// A longer list takes further launches, and so does each dtype.
//
// A block has one chunk of one parameter and finds it by a binary search over the entries' first blocks. param, grad,
// state and mask lie in the same order, so the chunk is a flat loop, in accesses of 16 bytes where all of them allow
// it. What changes from step to step is among the kernel's parameters, or in device memory (the clock), for launches
// that are captured once and replayed; both are formed in double by the same operations, and so give the same bits.
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

// What a rule needs of the moment: of one parameter at one step.
template <class C>
struct Scalars {
  C at[4];
  bool first_step;
};

// One parameter. C is the type of state and arithmetic.
template <class C>
struct Entry {
  void* param;
  const void* grad;
  C* state0;
  C* state1;
  C* master;
  const std::uint8_t* mask;
  std::int64_t count;
  std::uint32_t first_block;  // of this launch's grid
  bool vectors;               // 16-byte accesses are possible
};

// Its scalars as the host knows them,
template <class C>
struct FixedEntry : Entry<C> {
  Scalars<C> scalars;
};

// or what they are made of by the clock.
template <class C>
struct ClockedEntry : Entry<C> {
  double lr, weight_decay, multiplier;
  std::int64_t step;
};

// What a launch takes as its parameters, Bytes in all.
template <class E, class Rule, int Bytes>
struct Batch {
  static constexpr int kEntries = (Bytes - static_cast<int>(sizeof(Rule)) - static_cast<int>(sizeof(OptimClock)) - 16) /
                                  static_cast<int>(sizeof(E));
  Rule rule;
  OptimClock clock;
  std::int32_t count;
  E entries[kEntries];
};

constexpr int kSmallBatch = 4096, kLargeBatch = 32764;

// One element: what the rule reads and changes.
template <class C>
struct Element {
  C param, state0, state1;
};

// What a moment is, in double.
struct Moment {
  double lr, weight_decay, multiplier;
  double correction, inv_root_correction;  // Adam's: 1 - beta1^t, 1 / sqrt(1 - beta2^t)
  bool first_step;
};

// torch.optim.SGD. Scalars: weight decay, step size (multiplier * lr).
template <class C>
struct SgdRule {
  static constexpr bool kCorrects = false;
  C grad_scale, momentum, one_minus_dampening;
  bool nesterov;

  constexpr Scalars<C> scalars(const Moment& now) const {
    return {{static_cast<C>(now.weight_decay), static_cast<C>(now.multiplier * now.lr)}, now.first_step};
  }
  constexpr bool reads_state(const Scalars<C>& s) const { return !s.first_step; }
  GRAFT_DEVICE void step(const Scalars<C>& s, bool has_state, Element<C>& e, C grad) const {
    C g = grad_scale * grad + s.at[0] * e.param;
    if (has_state) {
      e.state0 = s.first_step ? g : momentum * e.state0 + one_minus_dampening * g;
      g = nesterov ? g + momentum * e.state0 : e.state0;
    }
    e.param -= s.at[1] * g;
  }
};

// Adam and AdamW. Scalars: weight decay within the gradient (Adam), the share of the parameter that decays (AdamW),
// step size (multiplier * lr / (1 - beta1^t)), 1 / sqrt(1 - beta2^t).
template <class C>
struct AdamRule {
  static constexpr bool kCorrects = true;
  C grad_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  bool decoupled;

  constexpr Scalars<C> scalars(const Moment& now) const {
    const double rate = now.multiplier * now.lr;
    return {{static_cast<C>(decoupled ? 0 : now.weight_decay), static_cast<C>(decoupled ? rate * now.weight_decay : 0),
             static_cast<C>(rate / now.correction), static_cast<C>(now.inv_root_correction)},
            now.first_step};
  }
  constexpr bool reads_state(const Scalars<C>&) const { return true; }
  GRAFT_DEVICE void step(const Scalars<C>& s, bool, Element<C>& e, C grad) const {
    const C g = grad_scale * grad + s.at[0] * e.param;
    e.state0 = beta1 * e.state0 + one_minus_beta1 * g;
    e.state1 = beta2 * e.state1 + one_minus_beta2 * g * g;
    e.param -= s.at[1] * e.param;
    e.param -= s.at[2] * e.state0 / (sqrt(e.state1) * s.at[3] + eps);
  }
};

template <class C, class Rule>
GRAFT_DEVICE Scalars<C> scalars_of(const FixedEntry<C>& entry, const Rule&, const OptimClock&) {
  return entry.scalars;
}

template <class C, class Rule>
GRAFT_DEVICE Scalars<C> scalars_of(const ClockedEntry<C>& entry, const Rule& rule, const OptimClock& clock) {
  const std::int64_t t = entry.step + *clock.updates;
  Moment now{entry.lr * clock.lr_factor[*clock.step], entry.weight_decay, entry.multiplier, 1, 1, t == 1};
  if constexpr (Rule::kCorrects) {
    now.correction = clock.corrections[2 * (t - 1)];
    now.inv_root_correction = clock.corrections[2 * (t - 1) + 1];
  }
  return rule.scalars(now);
}

// Elements i .. i + V of a parameter.
template <int V, class T, class Rule, class C>
GRAFT_DEVICE void update(const Rule& rule, const Entry<C>& entry, const Scalars<C>& scalars, std::int64_t i) {
  T* const param = static_cast<T*>(entry.param) + i;
  Packed<T, V> p = load<V>(param);
  const Packed<T, V> grad = load<V>(static_cast<const T*>(entry.grad) + i);
  Packed<C, V> state0{}, state1{};
  const bool reads_state = rule.reads_state(scalars);
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
  constexpr bool kMaster = !std::is_same_v<T, float>;  // a float stands for itself
  [[maybe_unused]] Packed<C, V> master;
  if constexpr (kMaster)
    if (entry.master != nullptr) master = load<V>(entry.master + i);
  GRAFT_UNROLL
  for (int v = 0; v < V; ++v) {
    Element<C> e{widen(p.at[v]), state0.at[v], state1.at[v]};
    if constexpr (kMaster)
      if (entry.master != nullptr) e.param = master.at[v];
    rule.step(scalars, entry.state0 != nullptr, e, widen(grad.at[v]));
    if (on.at[v] == 0) continue;
    p.at[v] = narrow<T>(e.param);
    if constexpr (kMaster) master.at[v] = e.param;
    state0.at[v] = e.state0;
    state1.at[v] = e.state1;
  }
  store(param, p);
  if constexpr (kMaster)
    if (entry.master != nullptr) store(entry.master + i, master);
  if (entry.state0 != nullptr) store(entry.state0 + i, state0);
  if (entry.state1 != nullptr) store(entry.state1 + i, state1);
}

// Left alone (0), ptxas takes 64 registers for a double's update as well, and spills one.
template <class T, class E, class Rule, int Bytes>
GRAFT_KERNEL_RESIDENT(kThreads, sizeof(Compute<T>) == 8 ? 3 : 0)
update_parameters(const Batch<E, Rule, Bytes> batch) {
  constexpr int V = kVectorLength<T>;
  Rule rule = batch.rule;
  if (batch.clock.grad_scale != nullptr) {
    const double scale = *batch.clock.grad_scale;
    if (scale == 0) return;  // the step is left out
    rule.grad_scale = static_cast<Compute<T>>(scale);
  }
  int low = 0, high = batch.count - 1;  // the last entry whose first block is not after this one
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (batch.entries[middle].first_block <= blockIdx.x)
      low = middle;
    else
      high = middle - 1;
  }
  const E& entry = batch.entries[low];
  const Scalars<Compute<T>> scalars = scalars_of(entry, rule, batch.clock);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x - entry.first_block) * kChunk<T>;
  const std::int64_t end = std::min(begin + kChunk<T>, entry.count);
  std::int64_t scalars_from = begin;
  if (entry.vectors) {
    for (std::int64_t i = begin + threadIdx.x * V; i + V <= end; i += kThreads * V)
      update<V, T, Rule, Compute<T>>(rule, entry, scalars, i);
    scalars_from = begin + (end - begin) / V * V;
  }
  GRAFT_NO_UNROLL
  for (std::int64_t i = scalars_from + threadIdx.x; i < end; i += kThreads)
    update<1, T, Rule, Compute<T>>(rule, entry, scalars, i);
}

// --- the host's side ------------------------------------------------------------------------------------------------

// Adam's, for the host's moments.
struct Corrections {
  double beta1 = 0, beta2 = 0;
};

template <class C>
Entry<C> entry_of(const OptimParam& p, int states) {
  Entry<C> entry{};
  entry.param = p.param.data;
  entry.grad = p.grad.data;
  if (states > 0) entry.state0 = p.state0.as<C>();
  if (states > 1) entry.state1 = p.state1.as<C>();
  entry.master = p.master.defined() ? p.master.as<C>() : nullptr;
  entry.mask = p.mask.defined() ? p.mask.as<std::uint8_t>() : nullptr;
  entry.count = p.param.numel();
  return entry;
}

template <class C, class Rule>
void add_moment(FixedEntry<C>& entry, const OptimParam& p, const Rule& rule, const Corrections& corrections) {
  Moment now{p.lr, p.weight_decay, p.multiplier, 1, 1, p.step == 1};
  if constexpr (Rule::kCorrects) {
    const auto t = static_cast<double>(p.step);
    now.correction = 1 - std::pow(corrections.beta1, t);
    now.inv_root_correction = 1 / std::sqrt(1 - std::pow(corrections.beta2, t));
  }
  entry.scalars = rule.scalars(now);
}

template <class C, class Rule>
void add_moment(ClockedEntry<C>& entry, const OptimParam& p, const Rule&, const Corrections&) {
  entry.lr = p.lr;
  entry.weight_decay = p.weight_decay;
  entry.multiplier = p.multiplier;
  entry.step = p.step;
}

// A multiplier of 0 freezes, whatever the gradient holds: infinity times 0 would not.
bool changes(const OptimParam& p, DType dtype) {
  return p.param.dtype == dtype && p.multiplier != 0 && p.param.numel() > 0;
}

struct Update {
  const char* name;
  std::span<const OptimParam> params;
  int states;
  Corrections corrections;
  OptimClock clock;
};

template <class T, class E, int Bytes, class Rule>
void update_batches(const Update& update, DType dtype, const Rule& rule, const Stream& stream) {
  using List = Batch<E, Rule, Bytes>;
  static_assert(sizeof(List) <= Bytes);
  List list{.rule = rule, .clock = update.clock, .count = 0, .entries = {}};
  std::int64_t blocks = 0;
  const auto flush = [&] {
    if (list.count > 0)
      launch(update.name, update_parameters<T, E, Rule, Bytes>,
             {.grid = dim3(blocks_for(blocks, 1)), .block = dim3(kThreads)}, stream, list);
    list.count = 0;
    blocks = 0;
  };
  for (const OptimParam& p : update.params) {
    if (!changes(p, dtype)) continue;
    E entry{};
    static_cast<Entry<Compute<T>>&>(entry) = entry_of<Compute<T>>(p, update.states);
    add_moment(entry, p, rule, update.corrections);
    entry.vectors = all_aligned({entry.param, entry.grad, entry.state0, entry.state1, entry.master}) &&
                    is_aligned(entry.mask, kPackedAlignment<std::uint8_t, kVectorLength<T>>);
    const std::int64_t own = ceil_div(entry.count, kChunk<T>);
    if (list.count == List::kEntries || blocks + own > std::numeric_limits<std::int32_t>::max()) flush();
    entry.first_block = static_cast<std::uint32_t>(blocks);
    list.entries[list.count++] = entry;
    blocks += own;
  }
  flush();
}

// Updates all parameters of dtype T by `rule`, with the small list where it holds all: a launch's parameters are what
// the host copies, what a graph's node keeps and what each block finds its entry in.
template <class T, class Rule>
void update_all(const Update& update, DType dtype, const Rule& rule, const Stream& stream) {
  using C = Compute<T>;
  const auto count =
      std::count_if(update.params.begin(), update.params.end(), [&](const auto& p) { return changes(p, dtype); });
  if (count == 0) return;
  const auto with = [&]<class E>(E) {
    if (count <= Batch<E, Rule, kSmallBatch>::kEntries)
      update_batches<T, E, kSmallBatch>(update, dtype, rule, stream);
    else
      update_batches<T, E, kLargeBatch>(update, dtype, rule, stream);
  };
  if (update.clock.defined())
    with(ClockedEntry<C>{});
  else
    with(FixedEntry<C>{});
}

std::span<const OptimParam> list_of(const OptimParam* params, std::int64_t count) {
  return {params, static_cast<std::size_t>(count)};
}

void run_sgd(const SgdArgs& args, Stream& stream) {
  const Update update{args.name, list_of(args.params, args.count), args.momentum != 0 ? 1 : 0, {}, args.clock};
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
    visit_floating(dtype, [&]<class T>(T) {
      using C = Compute<T>;
      const SgdRule<C> rule{static_cast<C>(args.grad_scale), static_cast<C>(args.momentum),
                            static_cast<C>(1 - args.dampening), args.nesterov};
      update_all<T>(update, dtype, rule, stream);
    });
}

void run_adam(const AdamArgs& args, Stream& stream) {
  const Update update{args.name, list_of(args.params, args.count), 2, {args.beta1, args.beta2}, args.clock};
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
    visit_floating(dtype, [&]<class T>(T) {
      using C = Compute<T>;
      const AdamRule<C> rule{static_cast<C>(args.grad_scale),
                             static_cast<C>(args.beta1),
                             static_cast<C>(1 - args.beta1),
                             static_cast<C>(args.beta2),
                             static_cast<C>(1 - args.beta2),
                             static_cast<C>(args.eps),
                             args.decoupled};
      update_all<T>(update, dtype, rule, stream);
    });
}

}  // namespace

void add_optim(BackendTable& table) {
  table.row<SgdArgs>() = row(run_sgd);
  table.row<AdamArgs>() = row(run_adam);
}

}  // namespace graft::kernels::cuda
