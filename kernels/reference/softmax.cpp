#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

// The greatest of row i (NaN if one is), and the sum of exp(x - greatest), which stays in range. Differences are taken
// from the greatest and not from log(sum(exp(x))): rounded to double at the size of x, that would cost large values
// their last digits.
struct RowSum {
  double greatest = -std::numeric_limits<double>::infinity();
  long double sum = 0;

  RowSum(const Array<double>& x, std::int64_t i) {
    for (std::int64_t j = 0; j < x.shape[1]; ++j)
      if (x(i, j) > greatest || std::isnan(x(i, j))) greatest = x(i, j);
    for (std::int64_t j = 0; j < x.shape[1]; ++j) sum += std::exp(shifted(x(i, j)));
  }
  long double shifted(double value) const { return static_cast<long double>(value) - greatest; }
  /// log(sum(exp(x))) - value
  long double loss(double value) const { return std::log(sum) - shifted(value); }
  double log_sum() const { return static_cast<double>(std::log(sum)); }
};

void softmax(const SoftmaxArgs& args) {
  Array<double> x = read(args.x);
  for (std::int64_t i = 0; i < x.shape[0]; ++i) {
    const RowSum row(x, i);
    for (std::int64_t j = 0; j < x.shape[1]; ++j)
      x(i, j) = static_cast<double>(args.log ? -row.loss(x(i, j)) : std::exp(row.shifted(x(i, j))) / row.sum);
  }
  write(x, args.y);
}

void softmax_backward(const SoftmaxBackwardArgs& args) {
  const Array<double> y = read(args.y), gy = read(args.gy);
  Array<double> gx(args.gx.shape);
  for (std::int64_t i = 0; i < y.shape[0]; ++i) {
    long double sum = 0;
    for (std::int64_t j = 0; j < y.shape[1]; ++j) sum += args.log ? gy(i, j) : gy(i, j) * y(i, j);
    const auto total = static_cast<double>(sum);
    for (std::int64_t j = 0; j < y.shape[1]; ++j)
      gx(i, j) = args.log ? gy(i, j) - std::exp(y(i, j)) * total : y(i, j) * (gy(i, j) - total);
  }
  write(gx, args.gx);
}

void check_target(const char* op, std::int64_t row, std::int64_t target, std::int64_t classes,
                  std::int64_t ignore_index) {
  check(target >= 0 && target < classes, op, ": targets[", row, "] is ", target, ": expected 0 to ", classes - 1,
        " or ignore_index ", ignore_index);
}

void cross_entropy(const CrossEntropyArgs& args) {
  const Array<double> logits = read(args.logits);
  const Array<std::int64_t> targets = read<std::int64_t>(args.targets);
  const std::int64_t rows = logits.shape[0], classes = logits.shape[1];
  const Array<double> weights = read_or(args.class_weights, {classes}, 1);
  const double smoothing = args.label_smoothing;
  Array<double> row_loss({rows}), row_max({rows}), log_sum({rows});
  long double total_loss = 0, total_weight = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    const RowSum row(logits, i);
    row_max[i] = row.greatest;
    log_sum[i] = row.log_sum();
    const std::int64_t target = targets[i];
    if (target == args.ignore_index) continue;
    check_target(args.name, i, target, classes, args.ignore_index);
    long double loss = (1 - smoothing) * weights[target] * row.loss(logits(i, target));
    if (smoothing > 0)  // an infinite loss of some other class must not become 0 * infinity
      for (std::int64_t c = 0; c < classes; ++c)
        loss += smoothing / static_cast<double>(classes) * weights[c] * row.loss(logits(i, c));
    row_loss[i] = static_cast<double>(loss);
    total_loss += loss;
    total_weight += weights[target];
  }
  if (args.reduction == Reduction::none)
    write(row_loss, args.loss);
  else
    store(args.loss, 0, static_cast<double>(args.reduction == Reduction::sum ? total_loss : total_loss / total_weight));
  write(row_max, args.row_max);
  write(log_sum, args.log_sum);
  store(args.scale, 0, args.reduction == Reduction::mean ? static_cast<double>(1 / total_weight) : 1);
}

// loss_i = a (lse - z_t) + sum_c b_c (lse - z_c), with lse = log(sum(exp(z))), a = (1 - s) w_t and b_c = s w_c / C;
// d lse / d z_c = p_c = exp(z_c - lse) = exp((z_c - max) - log_sum).
void cross_entropy_backward(const CrossEntropyBackwardArgs& args) {
  const Array<double> logits = read(args.logits), row_max = read(args.row_max), log_sum = read(args.log_sum);
  const Array<std::int64_t> targets = read<std::int64_t>(args.targets);
  const std::int64_t rows = logits.shape[0], classes = logits.shape[1];
  const Array<double> weights = read_or(args.class_weights, {classes}, 1);
  const bool per_row = args.reduction == Reduction::none;
  const Array<double> gy = read_or(args.gy, per_row ? Shape{rows} : Shape{}, 1);
  const double scale = load(args.scale, 0);
  double all_weights = 0;
  for (double w : weights.values) all_weights += w;
  const double smooth = args.label_smoothing / static_cast<double>(classes);
  Array<double> gx(args.gx.shape);
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t target = targets[i];
    if (target == args.ignore_index) continue;  // zero, also where scale is infinite
    check_target(args.name, i, target, classes, args.ignore_index);
    const double g = scale * gy[per_row ? i : 0];
    const double a = (1 - args.label_smoothing) * weights[target];
    for (std::int64_t c = 0; c < classes; ++c) {
      const double p = std::exp((logits(i, c) - row_max[i]) - log_sum[i]);
      gx(i, c) = g * (p * (a + smooth * all_weights) - (c == target ? a : 0) - smooth * weights[c]);
    }
  }
  write(gx, args.gx);
}

}  // namespace

void add_softmax(BackendTable& table) {
  add<softmax>(table);
  add<softmax_backward>(table);
  add<cross_entropy>(table);
  add<cross_entropy_backward>(table);
}

}  // namespace graft::kernels::reference
