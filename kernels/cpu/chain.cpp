// Chains of steps, block by block: the vector maps of the separate ops run one after the other over a block that stays
// in the first-level cache, so memory is read and written once and every element gets the bits of the separate ops.

#include <graft/kernels/cpu/loops.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

/// Elements of a block: long enough that a call of a map costs little, short enough that a few blocks fit the cache.
constexpr std::int64_t kBlock = 1024;

/// An operand within a block of rows x cols elements.
struct Block {
  float* p;
  Step step;
};

struct Size {
  std::int64_t rows, cols;
};

Block packed(float* buffer, Size size) { return {buffer, {size.cols, 1}}; }
/// The same number everywhere.
Block constant(const float& value) { return {const_cast<float*>(&value), {0, 0}}; }

bool one_row(const Block& b, Size size) {
  return size.rows == 1 || b.step.row == size.cols * b.step.col;  // a constant too
}

Size merged(Size size, std::initializer_list<const Block*> blocks) {
  for (const Block* b : blocks)
    if (!one_row(*b, size)) return size;
  return {1, size.rows * size.cols};
}

void unary(UnaryOp op, Block x, Block y, Size size) {
  size = merged(size, {&x, &y});
  vector_kernels().unary(static_cast<int>(op), x.p, x.step, y.p, y.step, size.rows, size.cols);
}

void unary_backward(UnaryOp op, Block saved, Block gy, Block gx, Size size) {
  size = merged(size, {&saved, &gy, &gx});
  vector_kernels().unary_backward(static_cast<int>(op), saved.p, saved.step, gy.p, gy.step, gx.p, gx.step, size.rows,
                                  size.cols);
}

void binary(BinaryOp op, Block a, Block b, Block y, Size size) {
  size = merged(size, {&a, &b, &y});
  vector_kernels().binary(static_cast<int>(op), a.p, a.step, b.p, b.step, y.p, y.step, size.rows, size.cols);
}

void copy(Block x, Block y, Size size) {
  constexpr float one = 1;
  binary(BinaryOp::mul, x, constant(one), y, size);  // exact, NaN and infinities too
}

void forward(const ChainStep& step, Block v, Block other, Block y, Size size) {
  if (step.kind == ChainStep::Kind::unary) return unary(step.unary, v, y, size);
  if (step.reversed) return binary(step.binary, other, v, y, size);
  binary(step.binary, v, other, y, size);
}

/// y = -(g ((a / b) / b)): what a quotient a / b gives to its divisor. `scratch` is a buffer; y may be g.
void divisor_gradient(Block g, Block a, Block b, Block y, Block scratch, Size size) {
  binary(BinaryOp::div, a, b, scratch, size);
  binary(BinaryOp::div, scratch, b, scratch, size);
  binary(BinaryOp::mul, g, scratch, scratch, size);
  unary(UnaryOp::neg, scratch, y, size);
}

/// What a backward step gives to its tensor.
void tensor_gradient(const ChainStep& step, Block g, Block v, Block other, Block y, Block scratch, Size size) {
  switch (step.binary) {
    case BinaryOp::sub:
      return step.reversed ? copy(g, y, size) : unary(UnaryOp::neg, g, y, size);
    case BinaryOp::mul:
      return binary(BinaryOp::mul, g, v, y, size);
    case BinaryOp::div:
      return step.reversed ? binary(BinaryOp::div, g, v, y, size) : divisor_gradient(g, v, other, y, scratch, size);
    default:
      return copy(g, y, size);
  }
}

/// The gradient of v behind a step that changes it.
void value_gradient(const ChainStep& step, Block g, Block saved, Block other, Block y, Block scratch, Size size) {
  if (step.kind == ChainStep::Kind::unary) {
    if (step.unary == UnaryOp::neg) return unary(UnaryOp::neg, g, y, size);
    return unary_backward(step.unary, saved, g, y, size);
  }
  if (step.binary == BinaryOp::sub) return unary(UnaryOp::neg, g, y, size);  // other - v
  if (step.binary == BinaryOp::div && step.reversed) return divisor_gradient(g, other, saved, y, scratch, size);
  binary(step.binary, g, other, y, size);
}

/// Cuts the matrices that Loops gives into blocks: f(offsets, size), the offsets those of the block's first elements.
template <int K, class F>
void for_each_block(const std::array<const TensorRef*, K>& operands, std::int64_t grain, F f) {
  const Loops<K> loops(operands);
  std::array<Step, K> steps;
  for (int k = 0; k < K; ++k) steps[static_cast<std::size_t>(k)] = loops.step(k);
  loops.run(
      [&](const auto& at, std::int64_t rows, std::int64_t cols) {
        const std::int64_t high = std::max<std::int64_t>(1, kBlock / cols), wide = std::min(cols, kBlock);
        for (std::int64_t r = 0; r < rows; r += high)
          for (std::int64_t c = 0; c < cols; c += wide) {
            auto offsets = at;
            for (std::size_t k = 0; k < K; ++k) offsets[k] += r * steps[k].row + c * steps[k].col;
            f(offsets, steps, Size{std::min(high, rows - r), std::min(wide, cols - c)});
          }
      },
      grain);
}

std::int64_t grain_of(const ChainSteps& steps) {
  std::int64_t cost = 0;
  for (const ChainStep& step : steps) {
    const bool simple = step.kind != ChainStep::Kind::unary || step.unary == UnaryOp::neg ||
                        step.unary == UnaryOp::abs || step.unary == UnaryOp::square || step.unary == UnaryOp::relu ||
                        step.unary == UnaryOp::relu6 || step.unary == UnaryOp::hardswish;
    cost += simple ? 1 : 8;
  }
  return std::max(kGrain / cost, kBlock);
}

/// The steps' tensors, an operand each; where a step has none the output stands in.
template <std::size_t K>
void add_tensors(std::array<const TensorRef*, K>& operands, std::size_t first, const ChainSteps& steps) {
  for (int i = 0; i < steps.count; ++i)
    if (steps[i].kind == ChainStep::Kind::tensor) operands[first++] = &steps[i].tensor;
  for (; first < K; ++first) operands[first] = operands[0];
}

/// The scalars as the vector maps take them.
std::array<float, kChainSteps> scalars_of(const ChainSteps& steps) {
  std::array<float, kChainSteps> scalars{};
  for (int i = 0; i < steps.count; ++i) scalars[static_cast<std::size_t>(i)] = static_cast<float>(steps[i].scalar);
  return scalars;
}

Support supports(const ChainArgs& args) { return contract_and_f32(args, {&args.x}); }

void run(const ChainArgs& args, Stream&) {
  constexpr int kOperands = 2 + kChainTensors;
  const ChainSteps& steps = args.steps;
  const auto scalars = scalars_of(steps);
  std::array<const TensorRef*, kOperands> operands{&args.y, &args.x};
  add_tensors(operands, 2, steps);
  for_each_block<kOperands>(operands, grain_of(steps), [&](const auto& at, const auto& step, Size size) {
    const auto block = [&](std::size_t k) { return Block{operands[k]->template as<float>() + at[k], step[k]}; };
    alignas(64) float buffer[kBlock];
    Block v = block(1);
    std::size_t tensor = 2;
    for (int i = 0; i < steps.count; ++i) {
      const Block other =
          steps[i].kind == ChainStep::Kind::tensor ? block(tensor++) : constant(scalars[static_cast<std::size_t>(i)]);
      const Block y = i + 1 == steps.count ? block(0) : packed(buffer, size);
      forward(steps[i], v, other, y, size);
      v = y;
    }
  });
}

Support supports(const ChainBackwardArgs& args) { return contract_and_f32(args, {&args.gy}); }

/// The backward of one block.
class Backward {
 public:
  explicit Backward(const ChainBackwardArgs& args)
      : args_(args), steps_(args.steps), plan_(args), scalars_(scalars_of(steps_)) {
    // The last step that changes the gradient writes it to gx.
    for (int i = steps_.count - 1; i >= plan_.lowest; --i)
      if (changes_gradient(steps_[i])) last_change_ = i;
    operands_[0] = &args.gx;
    for (const TensorRef& g : args.gtensors)
      if (!operands_[0]->defined()) operands_[0] = &g;
    operands_[1] = plan_.reads_x ? &args.x : operands_[0];
    operands_[2] = plan_.reads_y ? &args.y : operands_[0];
    operands_[3] = &args.gy;
    add_tensors(operands_, 4, steps_);
    for (const TensorRef*& operand : operands_)
      if (!operand->defined()) operand = operands_[0];  // a tensor that is not read
  }

  void run() {
    for_each_block<kOperands>(operands_, grain_of(steps_) / 2,
                              [&](const auto& at, const auto& step, Size size) { run_block(at, step, size); });
  }

 private:
  static constexpr int kOperands = 4 + kChainTensors;

  void run_block(const std::array<std::int64_t, kOperands>& at, const std::array<Step, kOperands>& step,
                 Size size) const {
    const auto block = [&](std::size_t k) { return Block{operands_[k]->as<float>() + at[k], step[k]}; };
    const auto output = [&](const TensorRef& g) { return Block{g.as<float>() + at[0], step[0]}; };
    alignas(64) float buffers[kChainSteps + 2][kBlock];
    const Block gradient = packed(buffers[kChainSteps], size), scratch = packed(buffers[kChainSteps + 1], size);
    std::array<Block, kChainSteps> others{};
    std::array<Block, kChainSteps + 1> values{};
    values[0] = block(1);
    std::size_t tensor = 4;
    for (std::size_t i = 0; i < static_cast<std::size_t>(steps_.count); ++i) {
      others[i] = steps_.at[i].kind == ChainStep::Kind::tensor ? block(tensor++) : constant(scalars_[i]);
      if (static_cast<int>(i) >= plan_.forward) continue;
      values[i + 1] = packed(buffers[i], size);
      forward(steps_.at[i], values[i], others[i], values[i + 1], size);
    }
    if (plan_.reads_y) values[static_cast<std::size_t>(steps_.count)] = block(2);
    Block g = block(3);
    for (int i = steps_.count - 1; i >= plan_.lowest; --i) {
      const auto u = static_cast<std::size_t>(i);
      const Block saved = plan_.reads[u] == ChainReads::output ? values[u + 1] : values[u];
      if (args_.gtensors[u].defined())
        tensor_gradient(steps_[i], g, saved, others[u], output(args_.gtensors[u]), scratch, size);
      if (!changes_gradient(steps_[i]) || (i == plan_.lowest && !args_.gx.defined())) continue;
      const Block y = i == last_change_ && args_.gx.defined() ? output(args_.gx) : gradient;
      value_gradient(steps_[i], g, saved, others[u], y, scratch, size);
      g = y;
    }
    if (last_change_ < 0 && args_.gx.defined()) copy(g, output(args_.gx), size);
  }

  const ChainBackwardArgs& args_;
  const ChainSteps& steps_;
  const ChainBackwardPlan plan_;
  const std::array<float, kChainSteps> scalars_;
  std::array<const TensorRef*, kOperands> operands_{};
  int last_change_ = -1;
};

void run(const ChainBackwardArgs& args, Stream&) { Backward(args).run(); }

}  // namespace

void add_chain(BackendTable& table) {
  table.row<ChainArgs>() = {supports, run};
  table.row<ChainBackwardArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
