// batch_norm and layer_norm, forward and backward: the strokes network's sizes and transformer rows. Bytes are those of
// the passes over memory that the formulas need when nothing stays in a cache.
#include <support.h>

#include <graft/core/ops/raw.h>
#include <graft/core/random.h>
#include <graft/kernels/api/norm.h>

namespace graft::bench {
namespace {

void add_batch_norm(const std::string& what, std::int64_t rows, std::int64_t channels) {
  const double once = 4.0 * static_cast<double>(rows * channels);
  for (const bool training : {true, false}) {
    const std::string mode = training ? "_training/" : "_inference/";
    add("batch_norm" + mode + what, {.bytes = (training ? 3 : 2) * once}, [=] {
      const Tensor x = randn({rows, channels}), y = x.empty_like(), gamma = Tensor::ones({channels}),
                   beta = Tensor::zeros({channels}), mean = Tensor::zeros({channels}), var = Tensor::ones({channels}),
                   batch_mean = gamma.empty_like(), inv_std = gamma.empty_like();
      return [=] {
        raw::run(kernels::BatchNormArgs{x.ref(), gamma.ref(), beta.ref(), mean.ref(), var.ref(), y.ref(),
                                        batch_mean.ref(), inv_std.ref(), 0.1, 1e-5, training},
                 x);
      };
    });
  }
  add("batch_norm_backward/" + what, {.bytes = 5 * once}, [=] {
    const Tensor x = randn({rows, channels}), gy = randn({rows, channels}), gx = x.empty_like(),
                 gamma = Tensor::ones({channels}), mean = Tensor::zeros({channels}), inv_std = Tensor::ones({channels}),
                 ggamma = gamma.empty_like(), gbeta = gamma.empty_like();
    return [=] {
      raw::run(kernels::BatchNormBackwardArgs{x.ref(), gy.ref(), gamma.ref(), mean.ref(), inv_std.ref(), gx.ref(),
                                              ggamma.ref(), gbeta.ref(), true},
               x);
    };
  });
}

void add_layer_norm(std::int64_t rows, std::int64_t n) {
  const double once = 4.0 * static_cast<double>(rows * n);
  const std::string what = cat(rows, "x", n);
  add("layer_norm/" + what, {.bytes = 2 * once}, [=] {
    const Tensor x = randn({rows, n}), y = x.empty_like(), gamma = Tensor::ones({n}), beta = Tensor::zeros({n}),
                 mean = Tensor::empty({rows}), inv_std = Tensor::empty({rows});
    return [=] {
      raw::run(kernels::LayerNormArgs{x.ref(), gamma.ref(), beta.ref(), y.ref(), mean.ref(), inv_std.ref(), 1e-5}, x);
    };
  });
  add("layer_norm_backward/" + what, {.bytes = 3 * once}, [=] {
    const Tensor x = randn({rows, n}), gy = randn({rows, n}), gx = x.empty_like(), gamma = Tensor::ones({n}),
                 mean = Tensor::zeros({rows}), inv_std = Tensor::ones({rows}), ggamma = gamma.empty_like(),
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
  add_batch_norm("strokes_bn1/128", 128 * 28 * 28, 32);
  add_batch_norm("strokes_bn2/128", 128 * 14 * 14, 64);
  add_batch_norm("strokes_bn3/128", 128 * 7 * 7, 128);
  add_batch_norm("strokes_bn4/128", 128, 256);
  add_layer_norm(4096, 768);
}

}  // namespace graft::bench
