// Chains of steps: layouts are planned here, the arithmetic is in simd/chain.inc.

#include <graft/kernels/cpu/loops.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

static_assert(static_cast<int>(ChainStep::Kind::scalar) == 1 && static_cast<int>(ChainStep::Kind::tensor) == 2 &&
                  static_cast<int>(ChainReads::input) == 1 && static_cast<int>(ChainReads::output) == 2 &&
                  kChainSteps == 8,
              "simd/chain.inc repeats the orders of ChainStep::Kind and ChainReads, and the most steps");

std::int64_t grain_of(const ChainSteps& steps) {
  std::int64_t cost = 0;
  for (const ChainStep& step : steps)
    cost += step.kind == ChainStep::Kind::unary ? kGrain / grain_of_op(step.unary) : 1;
  return kGrain / cost;
}

using Ops = std::array<ChainOp, kChainSteps>;

/// The steps without their tensors.
Ops ops_of(const ChainSteps& steps) {
  Ops ops{};
  for (int i = 0; i < steps.count; ++i) {
    const ChainStep& step = steps[i];
    ChainOp& op = ops[static_cast<std::size_t>(i)];
    op.kind = static_cast<std::int32_t>(step.kind);
    op.op = step.kind == ChainStep::Kind::unary ? static_cast<std::int32_t>(step.unary)
                                                : static_cast<std::int32_t>(step.binary);
    op.reversed = step.reversed ? 1 : 0;
    op.scalar = static_cast<float>(step.scalar);
  }
  return ops;
}

/// The steps' tensors as operands `first` and on, for Loops; where there is none the output stands in.
template <std::size_t K>
void add_tensors(std::array<const TensorRef*, K>& operands, std::size_t first, const ChainSteps& steps) {
  for (int i = 0; i < steps.count; ++i)
    if (steps[i].kind == ChainStep::Kind::tensor) operands[first++] = &steps[i].tensor;
  for (const TensorRef*& operand : operands)
    if (operand == nullptr || !operand->defined()) operand = operands[0];
}

/// Puts the tensors of a matrix that Loops gives into the steps; `at` are its offsets.
template <std::size_t K>
void place_tensors(Ops& ops, const ChainSteps& steps, const Loops<static_cast<int>(K)>& loops, std::size_t first,
                   const std::array<std::int64_t, K>& at) {
  for (int i = 0; i < steps.count; ++i) {
    if (steps[i].kind != ChainStep::Kind::tensor) continue;
    ChainOp& op = ops[static_cast<std::size_t>(i)];
    if (steps[i].tensor.defined()) {
      op.tensor = steps[i].tensor.as<float>() + at[first];
      op.step = loops.step(static_cast<int>(first));
    }
    ++first;
  }
}

Support supports(const ChainArgs& args) { return contract_and_f32(args, {&args.x}); }

void run(const ChainArgs& args, Stream&) {
  constexpr std::size_t kOperands = 2 + kChainTensors;
  std::array<const TensorRef*, kOperands> operands{&args.y, &args.x};
  add_tensors(operands, 2, args.steps);
  const Loops<kOperands> loops(operands);
  const Ops all = ops_of(args.steps);
  const auto kernel = vector_kernels().chain;
  loops.run(
      [&](const auto& at, std::int64_t rows, std::int64_t cols) {
        Ops ops = all;
        place_tensors<kOperands>(ops, args.steps, loops, 2, at);
        kernel(ops.data(), args.steps.count, args.x.as<float>() + at[1], loops.step(1), args.y.as<float>() + at[0],
               loops.step(0), rows, cols);
      },
      grain_of(args.steps));
}

Support supports(const ChainBackwardArgs& args) { return contract_and_f32(args, {&args.gy}); }

void run(const ChainBackwardArgs& args, Stream&) {
  constexpr std::size_t kOperands = 4 + kChainTensors;
  const ChainBackwardPlan plan(args);
  const TensorRef* gradient = &args.gx;  // all gradients lie alike
  for (const TensorRef& g : args.gtensors)
    if (!gradient->defined()) gradient = &g;
  ChainSteps steps = args.steps;
  for (int i = 0; i < steps.count; ++i)
    if (!plan.reads_tensor[static_cast<std::size_t>(i)]) steps[i].tensor = {};
  std::array<const TensorRef*, kOperands> operands{gradient, plan.reads_x ? &args.x : nullptr,
                                                   plan.reads_y ? &args.y : nullptr, &args.gy};
  add_tensors(operands, 4, steps);
  const Loops<kOperands> loops(operands);
  Ops all = ops_of(steps);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].reads = static_cast<std::int32_t>(plan.reads[i]);
  const auto kernel = vector_kernels().chain_grad;
  loops.run(
      [&](const auto& at, std::int64_t rows, std::int64_t cols) {
        Ops ops = all;
        place_tensors<kOperands>(ops, steps, loops, 4, at);
        for (std::size_t i = 0; i < ops.size(); ++i)
          if (args.gtensors[i].defined()) ops[i].gradient = args.gtensors[i].as<float>() + at[0];
        kernel({.ops = ops.data(),
                .count = steps.count,
                .forward = plan.forward,
                .lowest = plan.lowest,
                .x = plan.reads_x ? args.x.as<float>() + at[1] : nullptr,
                .y = plan.reads_y ? args.y.as<float>() + at[2] : nullptr,
                .gy = args.gy.as<float>() + at[3],
                .gx = args.gx.defined() ? args.gx.as<float>() + at[0] : nullptr,
                .x_step = loops.step(1),
                .y_step = loops.step(2),
                .gy_step = loops.step(3),
                .gx_step = loops.step(0)},
               rows, cols);
      },
      grain_of(steps));
}

}  // namespace

void add_chain(BackendTable& table) {
  table.row<ChainArgs>() = {supports, run};
  table.row<ChainBackwardArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
