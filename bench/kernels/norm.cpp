// batch_norm and layer_norm, forward and backward: the strokes network's sizes and transformer rows. Bytes are those of
// the passes over memory that the formulas need when nothing stays in a cache.
#include <support.h>

#include <graft/core/ops/raw.h>
#include <graft/kernels/api/norm.h>

namespace graft::bench {
namespace {

void add_batch_norm(const Place& place, const std::string& what, std::int64_t rows, std::int64_t channels) {
  const double once = place.element() * static_cast<double>(rows * channels);
  for (const bool training : {true, false}) {
    add(place, place.name(training ? "batch_norm_training" : "batch_norm_inference", what),
        {.bytes = (training ? 3 : 2) * once}, [=] {
          const Tensor x = place.randn({rows, channels}), y = x.empty_like(), gamma = place.statistics(channels, 1),
                       beta = place.statistics(channels, 0), mean = place.statistics(channels, 0),
                       var = place.statistics(channels, 1), batch_mean = gamma.empty_like(),
                       inv_std = gamma.empty_like();
          // cuDNN's inference keeps no statistics; on the CPU the row is as it was.
          const bool keep = training || !place.backend;
          return [=] {
            raw::run(kernels::BatchNormArgs{x.ref(), gamma.ref(), beta.ref(), mean.ref(), var.ref(), y.ref(),
                                            keep ? batch_mean.ref() : kernels::TensorRef{},
                                            keep ? inv_std.ref() : kernels::TensorRef{}, 0.1, 1e-5, training},
                     x);
          };
        });
  }
  add(place, place.name("batch_norm_backward", what), {.bytes = 5 * once}, [=] {
    const Tensor x = place.randn({rows, channels}), gy = place.randn({rows, channels}), gx = x.empty_like(),
                 gamma = place.statistics(channels, 1), mean = place.statistics(channels, 0),
                 inv_std = place.statistics(channels, 1), ggamma = gamma.empty_like(), gbeta = gamma.empty_like();
    return [=] {
      raw::run(kernels::BatchNormBackwardArgs{x.ref(), gy.ref(), gamma.ref(), mean.ref(), inv_std.ref(), gx.ref(),
                                              ggamma.ref(), gbeta.ref(), true},
               x);
    };
  });
}

void add_layer_norm(const Place& place, std::int64_t rows, std::int64_t n) {
  if (!place.has<kernels::LayerNormArgs>()) return;
  const double once = place.element() * static_cast<double>(rows * n);
  const std::string what = cat(rows, "x", n);
  const auto parameter = [=](double value) { return Tensor::full({n}, value, place.dtype, place.device); };
  add(place, place.name("layer_norm", what), {.bytes = 2 * once}, [=] {
    const Tensor x = place.randn({rows, n}), y = x.empty_like(), gamma = parameter(1), beta = parameter(0),
                 mean = place.statistics(rows, 0), inv_std = place.statistics(rows, 0);
    return [=] {
      raw::run(kernels::LayerNormArgs{x.ref(), gamma.ref(), beta.ref(), y.ref(), mean.ref(), inv_std.ref(), 1e-5}, x);
    };
  });
  add(place, place.name("layer_norm_backward", what), {.bytes = 3 * once}, [=] {
    const Tensor x = place.randn({rows, n}), gy = place.randn({rows, n}), gx = x.empty_like(), gamma = parameter(1),
                 mean = place.statistics(rows, 0), inv_std = place.statistics(rows, 1), ggamma = gamma.empty_like(),
                 gbeta = gamma.empty_like();
    return [=] {
      raw::run(kernels::LayerNormBackwardArgs{x.ref(), gy.ref(), gamma.ref(), mean.ref(), inv_std.ref(), gx.ref(),
                                              ggamma.ref(), gbeta.ref()},
               x);
    };
  });
}

}  // namespace

void add_norm() {
  add_batch_norm(kCpu, "strokes_bn1/128", 128 * 28 * 28, 32);
  add_batch_norm(kCpu, "strokes_bn2/128", 128 * 14 * 14, 64);
  add_batch_norm(kCpu, "strokes_bn3/128", 128 * 7 * 7, 128);
  add_batch_norm(kCpu, "strokes_bn4/128", 128, 256);
  add_layer_norm(kCpu, 4096, 768);
  for (const Place& place : gpu_places()) {
    if (emulated()) {
      add_batch_norm(place, "small", 64, 16);
      add_layer_norm(place, 8, 64);
    }
    add_batch_norm(place, "strokes_bn1/128", 128 * 28 * 28, 32);
    add_batch_norm(place, "strokes_bn3/128", 128 * 7 * 7, 128);
    add_batch_norm(place, "resnet50_bn1/64", 64 * 112 * 112, 64);
    add_batch_norm(place, "resnet50_layer1.0.bn3/64", 64 * 56 * 56, 256);
    add_batch_norm(place, "resnet50_layer3.0.bn3/64", 64 * 14 * 14, 1024);
    add_layer_norm(place, 65536, 1024);
    add_layer_norm(place, 16384, 8192);
  }
}

}  // namespace graft::bench
