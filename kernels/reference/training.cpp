#include <algorithm>

#include <graft/kernels/reference/internal.h>

namespace graft::kernels::reference {
namespace {

// One channel of one picture, looked at through the inverse map: what lies outside is a pixel of 0.
double sample(const std::uint8_t* plane, std::int64_t height, std::int64_t width, double u, double v) {
  if (!(u > -1 && u < static_cast<double>(width) && v > -1 && v < static_cast<double>(height))) return 0;
  const double left = std::floor(u), top = std::floor(v);
  const auto pixel = [&](std::int64_t h, std::int64_t w) -> double {
    return h >= 0 && h < height && w >= 0 && w < width ? plane[h * width + w] : 0;
  };
  const auto h = static_cast<std::int64_t>(top), w = static_cast<std::int64_t>(left);
  const double above = pixel(h, w) * (1 - (u - left)) + pixel(h, w + 1) * (u - left);
  const double below = pixel(h + 1, w) * (1 - (u - left)) + pixel(h + 1, w + 1) * (u - left);
  return above * (1 - (v - top)) + below * (v - top);
}

void load_pixels(const LoadBatchArgs& args, std::int64_t row, std::int64_t position, std::uint64_t epoch,
                 Array<double>& x) {
  const std::int64_t channels = x.shape[1], height = x.shape[2], width = x.shape[3];
  std::array<float, 6> theta = {1, 0, 0, 0, 1, 0};
  if (args.augment.enabled())
    theta = affine_row(
        args.augment, augment_seed(args.seed, epoch), static_cast<std::uint64_t>(position),
        [](double a) { return std::cos(a); }, [](double a) { return std::sin(a); });
  const double cx = static_cast<double>(width - 1) / 2, cy = static_cast<double>(height - 1) / 2;
  for (std::int64_t c = 0; c < channels; ++c) {
    const std::uint8_t* plane = args.images.as<std::uint8_t>() + (position * channels + c) * height * width;
    for (std::int64_t i = 0; i < height; ++i)
      for (std::int64_t j = 0; j < width; ++j) {
        const double dx = static_cast<double>(j) - cx, dy = static_cast<double>(i) - cy;
        const double pixel = sample(plane, height, width, theta[0] * dx + theta[1] * dy + theta[2] + cx,
                                    theta[3] * dx + theta[4] * dy + theta[5] + cy);
        x(row, c, i, j) = (pixel - args.mean) / args.deviation;
      }
  }
}

void load_batch(const LoadBatchArgs& args) {
  const std::int64_t size = args.images.shape[0], n = args.x.shape[0], batches = size / n;
  const std::int64_t step = *args.step.as<std::int64_t>();
  const auto epoch = static_cast<std::uint64_t>(step / batches);
  const std::int64_t row_size = n > 0 ? args.x.numel() / n : 0;
  Array<double> x(args.x.shape);
  Array<std::int64_t> y(args.y.shape);
  for (std::int64_t row = 0; row < n; ++row) {
    std::int64_t position = step % batches * n + row;
    if (args.shuffle) position = shuffled(position, size, args.seed, epoch);
    y[row] = args.labels.as<std::int64_t>()[position];
    if (args.images.dtype == DType::u8)
      load_pixels(args, row, position, epoch, x);
    else
      for (std::int64_t i = 0; i < row_size; ++i) x[row * row_size + i] = load(args.images, position * row_size + i);
  }
  write(x, args.x);
  write(y, args.y);
}

void grad_scale(const GradScaleArgs& args) {
  const double norm = std::sqrt(*args.squared_norm.as<double>());
  double& factor = *args.factor.as<double>();
  double scale = 1;
  if (args.loss_scale.defined()) {
    float& loss_scale = *args.loss_scale.as<float>();
    std::int64_t& good = *args.good_steps.as<std::int64_t>();
    scale = loss_scale;
    if (!std::isfinite(norm)) {
      factor = 0;
      loss_scale = static_cast<float>(std::max(scale / 2, kSmallestLossScale));
      good = 0;
      return;
    }
    if (++good == kLossScaleGrowth) {
      loss_scale = static_cast<float>(std::min(scale * 2, kLargestLossScale));
      good = 0;
    }
  }
  check(std::isfinite(norm), "grad_scale: the norm of the gradients is ", norm, " at step ",
        *args.step.as<std::int64_t>() + 1, ", expected a finite number");
  factor = args.max_norm > 0 ? std::min(1.0, args.max_norm / (norm / scale + 1e-6)) / scale : 1 / scale;
}

void finish_step(const FinishStepArgs& args) {
  std::int64_t& step = *args.step.as<std::int64_t>();
  if (step >= 0 && step < args.losses.numel()) args.losses.as<double>()[step] = load(args.loss, 0);
  ++step;
  if (!args.factor.defined() || *args.factor.as<double>() != 0) ++*args.updates.as<std::int64_t>();
}

}  // namespace

void add_training(BackendTable& table) {
  add<load_batch>(table);
  add<grad_scale>(table);
  add<finish_step>(table);
}

}  // namespace graft::kernels::reference
