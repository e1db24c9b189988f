#include <graft/kernels/api/chain.h>

#include <algorithm>

namespace graft::kernels {
namespace {

ChainReads reads_of(const ChainStep& step, bool tensor_gradient) {
  if (step.kind == ChainStep::Kind::unary) {
    if (step.unary == UnaryOp::neg) return ChainReads::nothing;
    return backward_uses_output(step.unary) ? ChainReads::output : ChainReads::input;
  }
  const bool divides_by_value = step.binary == BinaryOp::div && step.reversed;
  const bool scales_value = step.binary == BinaryOp::mul || step.binary == BinaryOp::div;
  return divides_by_value || (tensor_gradient && scales_value) ? ChainReads::input : ChainReads::nothing;
}

}  // namespace

const char* name(const ChainStep& step) {
  return step.kind == ChainStep::Kind::unary ? name(step.unary) : name(step.binary);
}

bool changes_gradient(const ChainStep& step) {
  if (step.kind == ChainStep::Kind::unary) return true;
  return step.binary != BinaryOp::add && (step.binary != BinaryOp::sub || step.reversed);
}

ChainBackwardPlan::ChainBackwardPlan(const ChainBackwardArgs& args) {
  const auto wanted = [&](int i) { return args.gtensors[static_cast<std::size_t>(i)].defined(); };
  while (!args.gx.defined() && lowest + 1 < args.steps.count && !wanted(lowest)) ++lowest;
  for (int i = lowest; i < args.steps.count; ++i) {
    const ChainReads read = reads_of(args.steps[i], wanted(i));
    reads[static_cast<std::size_t>(i)] = read;
    if (read == ChainReads::nothing) continue;
    if (read == ChainReads::output && i + 1 == args.steps.count && args.y.defined()) {
      reads_y = true;
      continue;
    }
    reads_x = true;
    forward = std::max(forward, read == ChainReads::output ? i + 1 : i);
  }
  for (int i = 0; i < args.steps.count; ++i) {
    const ChainStep& step = args.steps[i];
    const bool scales = step.binary == BinaryOp::mul || step.binary == BinaryOp::div;
    reads_tensor[static_cast<std::size_t>(i)] =
        step.kind == ChainStep::Kind::tensor && (i < forward || (i >= lowest && scales));
  }
}

}  // namespace graft::kernels
