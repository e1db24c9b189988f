#include <graft/kernels/registry/registry.h>

#include <array>
#include <atomic>
#include <type_traits>

#include <graft/kernels/api/offered.h>
#include <graft/kernels/reference/table.h>
#ifdef GRAFT_WITH_ONEDNN
#include <graft/kernels/cpu/table.h>
#endif
#ifdef GRAFT_WITH_CUDA
#include <graft/kernels/cuda/table.h>
#endif

namespace graft::kernels {
namespace {

constexpr int kNoPreference = -1;
thread_local int preferred_backend = kNoPreference;

template <class T, class List>
struct PositionOf;
template <class T, class... Rest>
struct PositionOf<T, OpList<T, Rest...>> {
  static constexpr std::size_t value = 0;
};
template <class T, class First, class... Rest>
struct PositionOf<T, OpList<First, Rest...>> {
  static constexpr std::size_t value = 1 + PositionOf<T, OpList<Rest...>>::value;
};

template <class List>
struct Names;
template <class... Args>
struct Names<OpList<Args...>> {
  static constexpr std::array<const char*, sizeof...(Args)> value = {Args::name...};
};
constexpr auto& op_names = Names<AllOps>::value;

std::array<std::atomic<std::uint64_t>, op_names.size()> call_counts{};

template <class Args>
const BackendTable& select(const Args& args, DeviceType device) {
  std::string reasons;
  const auto serves = [&](const BackendTable& table) {
    const Row<Args>& row = table.template row<Args>();
    Support support = row.run ? row.supports(args) : Support::no("has no such op");
    if (!support.ok) reasons += cat("\n  ", name(table.id), ": ", support.reason);
    return support.ok;
  };
  if (preferred_backend == kNoPreference) {
    for (const BackendTable* table : backends(device))
      if (serves(*table)) return *table;
  } else {
    const BackendTable* table = find_backend(static_cast<BackendId>(preferred_backend));
    if (table != nullptr && table->device == device && serves(*table)) return *table;
  }
  if (reasons.empty())
    reasons = cat("\n  no backend of ", to_string(Device{device, 0}), " is built in",
                  preferred_backend == kNoPreference
                      ? std::string()
                      : cat(" that BackendScope asks for (", name(static_cast<BackendId>(preferred_backend)), ")"));
  fail(Args::name, ": no backend on ", to_string(Device{device, 0}), " can run this:", reasons);
}

}  // namespace

std::span<const BackendTable* const> backends(DeviceType device) {
  // Arrays, as nothing that has a destructor: ops may run while the program ends.
  static const BackendTable* const cpu[] = {
#ifdef GRAFT_WITH_ONEDNN
      &cpu::table(),
#endif
      &reference::table()};
#ifdef GRAFT_WITH_CUDA
  static const BackendTable* const cuda[] = {&cuda::table()};
#else
  constexpr std::span<const BackendTable* const> cuda;
#endif
  if (device == DeviceType::cuda) return cuda;
  return cpu;
}

const BackendTable* find_backend(BackendId id) {
  for (DeviceType device : {DeviceType::cpu, DeviceType::cuda})
    for (const BackendTable* table : backends(device))
      if (table->id == id) return table;
  return offered_backend(id);
}

template <class Args>
void run(const Args& args, Stream& stream) {
  const BackendTable& table = select(args, stream.device.type);
  call_counts[PositionOf<Args, AllOps>::value].fetch_add(1, std::memory_order_relaxed);
  table.row<Args>().run(args, stream);
}

// run<Args> of every op, for those who include only its declaration. AllOps is the list; the compiler compares.
#define GRAFT_OPS(OP)                                                                                                 \
  OP(UnaryArgs) OP(UnaryBackwardArgs) OP(BinaryArgs) OP(BinaryScalarArgs) OP(AxpyArgs) OP(FillArgs) OP(CopyArgs)      \
  OP(MatmulArgs) OP(Conv2dForwardArgs) OP(Conv2dBackwardDataArgs) OP(Conv2dBackwardWeightArgs) OP(SoftmaxArgs)        \
  OP(SoftmaxBackwardArgs) OP(CrossEntropyArgs) OP(CrossEntropyBackwardArgs) OP(MaxPoolArgs) OP(MaxPoolBackwardArgs)   \
  OP(AvgPoolArgs) OP(AvgPoolBackwardArgs) OP(AdaptiveAvgPoolArgs) OP(AdaptiveAvgPoolBackwardArgs) OP(BatchNormArgs)   \
  OP(BatchNormBackwardArgs) OP(LayerNormArgs) OP(LayerNormBackwardArgs) OP(ReduceArgs) OP(ArgmaxArgs)                 \
  OP(SquaredNormArgs) OP(IndexSelectArgs) OP(IndexSelectBackwardArgs) OP(GatherArgs) OP(GatherBackwardArgs)           \
  OP(RandomArgs) OP(DropoutArgs) OP(SgdArgs) OP(AdamArgs) OP(AffineWarpArgs) OP(LoadBatchArgs) OP(GradScaleArgs)      \
  OP(FinishStepArgs) OP(ChainArgs) OP(ChainBackwardArgs)

#define GRAFT_AND_OP(Args) , Args
template <class... Args>
OpList<Args...> without_first(OpList<void, Args...>);
static_assert(std::is_same_v<decltype(without_first(OpList<void GRAFT_OPS(GRAFT_AND_OP)>{})), AllOps>,
              "GRAFT_OPS must name the ops of AllOps (kernels/api/table.h), in their order");
#undef GRAFT_AND_OP

#define GRAFT_INSTANTIATE(Args) template void run<Args>(const Args&, Stream&);
GRAFT_OPS(GRAFT_INSTANTIATE)
#undef GRAFT_INSTANTIATE

BackendScope::BackendScope(BackendId id) : previous_(preferred_backend) { preferred_backend = static_cast<int>(id); }
BackendScope::~BackendScope() { preferred_backend = previous_; }

std::uint64_t kernel_calls(std::string_view op) {
  for (std::size_t i = 0; i < op_names.size(); ++i)
    if (op == op_names[i]) return call_counts[i].load(std::memory_order_relaxed);
  fail("kernel_calls: no op is named '", op, "'");
}

std::uint64_t kernel_calls() {
  std::uint64_t total = 0;
  for (const auto& count : call_counts) total += count.load(std::memory_order_relaxed);
  return total;
}

std::vector<KernelCount> kernel_counts() {
  std::vector<KernelCount> counts;
  for (std::size_t i = 0; i < op_names.size(); ++i)
    if (const auto calls = call_counts[i].load(std::memory_order_relaxed)) counts.push_back({op_names[i], calls});
  return counts;
}

void reset_kernel_counts() {
  for (auto& count : call_counts) count.store(0, std::memory_order_relaxed);
}

}  // namespace graft::kernels
