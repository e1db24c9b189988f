// What a training step on the device is made of beside the network: its batch, the factor on its gradients, its end.
//
// A batch's order is computed (permutation.h), not read: each block finds the position of its picture by itself. The
// counters lie in device memory, so that a captured step makes another batch at every replay.
#include <cmath>

#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/common.cuh>

namespace graft::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kPiece = 4 * kThreads;  // pixels, or units of a row, of one block

struct Source {
  const std::int64_t* labels;
  const std::int64_t* step;
  std::int64_t* y;
  std::int64_t size, batch;
  std::uint64_t seed;
  bool shuffle;
};

struct Place {
  std::uint64_t epoch;
  std::int64_t position;
};

// Where this block's picture lies: row blockIdx.x of the batch that the counter names.
GRAFT_DEVICE Place place_of(const Source& source) {
  const std::int64_t batches = source.size / source.batch, step = *source.step;
  const std::int64_t epoch = step / batches, i = (step - epoch * batches) * source.batch + blockIdx.x;
  const auto number = static_cast<std::uint64_t>(epoch);
  return {number, source.shuffle ? shuffled(i, source.size, source.seed, number) : i};
}

GRAFT_DEVICE void load_label(const Source& source, std::int64_t position) {
  if (blockIdx.y == 0 && threadIdx.x == 0) source.y[blockIdx.x] = source.labels[position];
}

struct Picture {
  std::int64_t channels, height, width;
};

template <class T>
GRAFT_KERNEL(kThreads)
load_pixels(const std::uint8_t* __restrict__ images, T* __restrict__ x, Source source, Picture s, double mean,
            double deviation) {
  const Place place = place_of(source);
  load_label(source, place.position);
  const std::int64_t area = s.height * s.width;
  const std::uint8_t* const picture = images + place.position * s.channels * area;
  T* const out = x + blockIdx.x * s.channels * area;
  const std::int64_t first = blockIdx.y * kPiece, last = std::min(first + kPiece, area);
  for (std::int64_t i = first + threadIdx.x; i < last; i += kThreads)
    for (std::int64_t c = 0; c < s.channels; ++c)
      out[i * s.channels + c] = narrow<T>(static_cast<Compute<T>>((picture[c * area + i] - mean) / deviation));
}

// The position in the picture is computed in double, so that all backends agree on which pixels are read; the
// arithmetic on pixels is T's.
template <class T>
GRAFT_KERNEL(kThreads)
load_warped_pixels(const std::uint8_t* __restrict__ images, T* __restrict__ x, Source source, Picture s, double mean,
                   double deviation, AffineAmounts amounts) {
  using C = Compute<T>;
  GRAFT_SHARED(theta, float[6]);
  const Place place = place_of(source);
  if (threadIdx.x == 0) {
    const std::array<float, 6> row = affine_row(
        amounts, augment_seed(source.seed, place.epoch), static_cast<std::uint64_t>(place.position),
        [](double a) { return cos(a); }, [](double a) { return sin(a); });
    for (std::size_t i = 0; i < 6; ++i) theta[i] = row[i];
  }
  load_label(source, place.position);
  __syncthreads();
  const std::int64_t area = s.height * s.width;
  const std::uint8_t* const picture = images + place.position * s.channels * area;
  T* const out = x + blockIdx.x * s.channels * area;
  const double cx = static_cast<double>(s.width - 1) / 2, cy = static_cast<double>(s.height - 1) / 2;
  const std::int64_t first = blockIdx.y * kPiece, last = std::min(first + kPiece, area);
  for (std::int64_t i = first + threadIdx.x; i < last; i += kThreads) {
    const std::int64_t line = i / s.width;
    const double dx = static_cast<double>(i - line * s.width) - cx, dy = static_cast<double>(line) - cy;
    const double u = theta[0] * dx + theta[1] * dy + theta[2] + cx, v = theta[3] * dx + theta[4] * dy + theta[5] + cy;
    // All four neighbours outside: black.
    const bool inside = u > -1 && u < static_cast<double>(s.width) && v > -1 && v < static_cast<double>(s.height);
    const double left = floor(u), top = floor(v);
    const std::int64_t w = inside ? static_cast<std::int64_t>(left) : 0,
                       h = inside ? static_cast<std::int64_t>(top) : 0;
    const C fu = static_cast<C>(u - left), fv = static_cast<C>(v - top);
    const bool west = w >= 0, east = w + 1 < s.width, north = h >= 0, south = h + 1 < s.height;
    for (std::int64_t c = 0; c < s.channels; ++c) {
      C value = 0;
      if (inside) {
        const std::uint8_t* const at = picture + c * area + h * s.width + w;
        const C p00 = north && west ? at[0] : 0, p01 = north && east ? at[1] : 0;
        const C p10 = south && west ? at[s.width] : 0, p11 = south && east ? at[s.width + 1] : 0;
        const C above = p00 * (1 - fu) + p01 * fu, below = p10 * (1 - fu) + p11 * fu;
        value = above * (1 - fv) + below * fv;
      }
      out[i * s.channels + c] = narrow<T>((value - static_cast<C>(mean)) / static_cast<C>(deviation));
    }
  }
}

// Rows computed beforehand, in units of 2 to 16 bytes.
template <class Unit>
GRAFT_KERNEL(kThreads)
load_rows(const Unit* __restrict__ rows, Unit* __restrict__ x, Source source, std::int64_t units) {
  const Place place = place_of(source);
  load_label(source, place.position);
  const std::int64_t first = blockIdx.y * kPiece, last = std::min(first + kPiece, units);
  for (std::int64_t i = first + threadIdx.x; i < last; i += kThreads)
    x[blockIdx.x * units + i] = rows[place.position * units + i];
}

dim3 grid_of(std::int64_t batch, std::int64_t size) {
  const std::int64_t pieces = std::max<std::int64_t>(ceil_div(size, kPiece), 1);
  check(pieces <= 65535, "load_batch: a picture of ", size, " pixels, the device allows ", 65535 * kPiece);
  return {blocks_for(batch, 1), static_cast<unsigned>(pieces)};
}

Source source_of(const LoadBatchArgs& args) {
  return {args.labels.as<std::int64_t>(),
          args.step.as<std::int64_t>(),
          args.y.as<std::int64_t>(),
          args.images.shape[0],
          args.x.shape[0],
          args.seed,
          args.shuffle};
}

template <class Unit>
void copy_rows(const LoadBatchArgs& args, std::int64_t row_bytes, const Stream& stream) {
  const std::int64_t units = row_bytes / static_cast<std::int64_t>(sizeof(Unit));
  launch("load_rows", load_rows<Unit>, {.grid = grid_of(args.x.shape[0], units), .block = dim3(kThreads)}, stream,
         args.images.as<const Unit>(), args.x.as<Unit>(), source_of(args), units);
}

void load_features(const LoadBatchArgs& args, const Stream& stream) {
  const auto element = static_cast<std::int64_t>(size_of(args.x.dtype));
  const std::int64_t row_bytes = args.x.numel() / args.x.shape[0] * element;
  if (row_bytes % 16 == 0 && is_aligned(args.images.data, 16) && is_aligned(args.x.data, 16))
    copy_rows<Vector<std::uint32_t, 4>>(args, row_bytes, stream);
  else if (element == 2)
    copy_rows<std::uint16_t>(args, row_bytes, stream);
  else
    copy_rows<std::uint32_t>(args, row_bytes, stream);
}

void run_load_batch(const LoadBatchArgs& args, Stream& stream) {
  if (args.images.dtype != DType::u8) return load_features(args, stream);
  const Picture s{args.x.shape[1], args.x.shape[2], args.x.shape[3]};
  const LaunchConfig config{.grid = grid_of(args.x.shape[0], s.height * s.width), .block = dim3(kThreads)};
  visit_floating(args.x.dtype, [&]<class T>(T) {
    if (args.augment.enabled())
      launch("load_warped_pixels", load_warped_pixels<T>, config, stream, args.images.as<const std::uint8_t>(),
             args.x.as<T>(), source_of(args), s, args.mean, args.deviation, args.augment);
    else
      launch("load_pixels", load_pixels<T>, config, stream, args.images.as<const std::uint8_t>(), args.x.as<T>(),
             source_of(args), s, args.mean, args.deviation);
  });
}

// --- counters -------------------------------------------------------------------------------------------------------

GRAFT_KERNEL(kWarp)
grad_scale(const double* squared_norm, const std::int64_t* step, double* factor, float* loss_scale,
           std::int64_t* good_steps, double max_norm, runtime::FaultRecord* faults) {
  if (threadIdx.x != 0) return;
  const double norm = sqrt(*squared_norm);
  const double scale = loss_scale != nullptr ? *loss_scale : 1;
  if (!std::isfinite(norm)) {
    *factor = 0;
    if (loss_scale == nullptr) {
      report_fault(faults, runtime::FaultKind::gradient_norm, *step, 0, 0);
    } else {
      *loss_scale = static_cast<float>(std::max(scale / 2, double{kSmallestLossScale}));
      *good_steps = 0;
    }
    return;
  }
  if (loss_scale != nullptr && ++*good_steps == kLossScaleGrowth) {
    *loss_scale = static_cast<float>(std::min(scale * 2, double{kLargestLossScale}));
    *good_steps = 0;
  }
  *factor = max_norm > 0 ? std::min(1.0, max_norm / (norm / scale + 1e-6)) / scale : 1 / scale;
}

template <class T>
GRAFT_KERNEL(kWarp)
finish_step(const T* loss, const double* factor, double* losses, std::int64_t count, std::int64_t* step,
            std::int64_t* updates) {
  if (threadIdx.x != 0) return;
  if (*step >= 0 && *step < count) losses[*step] = static_cast<double>(widen(*loss));
  ++*step;
  if (factor == nullptr || *factor != 0) ++*updates;
}

template <class T>
T* pointer_or_null(const TensorRef& t) {
  return t.defined() ? t.as<T>() : nullptr;
}

void run_grad_scale(const GradScaleArgs& args, Stream& stream) {
  launch("grad_scale", grad_scale, {.grid = dim3(1), .block = dim3(kWarp)}, stream, args.squared_norm.as<double>(),
         args.step.as<std::int64_t>(), args.factor.as<double>(), pointer_or_null<float>(args.loss_scale),
         pointer_or_null<std::int64_t>(args.good_steps), args.max_norm, runtime::fault_record(stream.device.index));
}

void run_finish_step(const FinishStepArgs& args, Stream& stream) {
  visit_floating(args.loss.dtype, [&]<class T>(T) {
    launch("finish_step", finish_step<T>, {.grid = dim3(1), .block = dim3(kWarp)}, stream, args.loss.as<T>(),
           pointer_or_null<double>(args.factor), args.losses.as<double>(), args.losses.numel(),
           args.step.as<std::int64_t>(), args.updates.as<std::int64_t>());
  });
}

}  // namespace

void add_training(BackendTable& table) {
  table.row<LoadBatchArgs>() = row(run_load_batch);
  table.row<GradScaleArgs>() = row(run_grad_scale);
  table.row<FinishStepArgs>() = row(run_finish_step);
}

}  // namespace graft::kernels::cuda
