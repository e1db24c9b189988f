// Contracts of the network ops: products, convolution, softmax, pooling, normalisation.
#include <graft/kernels/api/contract.h>
#include <graft/kernels/api/contracts.h>

namespace graft::kernels {
namespace {

// The two matrix dimensions of an operand need one unit stride, or one of them is of size 1.
bool has_matrix_strides(const TensorRef& t) {
  const int rank = t.shape.rank();
  return t.numel() == 0 || t.shape[rank - 1] == 1 || t.shape[rank - 2] == 1 || t.strides[rank - 1] == 1 ||
         t.strides[rank - 2] == 1;
}

void check_conv_geometry(Contract& c, const Conv2dGeometry& g) {
  c.require(g.stride_h >= 1 && g.stride_w >= 1, "stride is (", g.stride_h, ", ", g.stride_w, "): expected 1 or more");
  c.require(g.padding_h >= 0 && g.padding_w >= 0, "padding is (", g.padding_h, ", ", g.padding_w,
            "): expected 0 or more");
  c.require(g.dilation_h >= 1 && g.dilation_w >= 1, "dilation is (", g.dilation_h, ", ", g.dilation_w,
            "): expected 1 or more");
  c.require(g.groups >= 1, "groups is ", g.groups, ": expected 1 or more");
}

// x (N, C, H, W), w (K, C/groups, R, S), y (N, K, P, Q): all channels-last, of one floating dtype.
void check_conv(Contract& c, const char* x_name, const TensorRef& x, const char* w_name, const TensorRef& w,
                const char* y_name, const TensorRef& y, const Conv2dGeometry& g) {
  c.floating(x_name, x).same_dtype(w_name, w, x_name, x).same_dtype(y_name, y, x_name, x);
  c.channels_last(x_name, x).channels_last(w_name, w).channels_last(y_name, y);
  check_conv_geometry(c, g);
  if (!c.ok()) return;
  c.require(x.shape[1] == w.shape[1] * g.groups, x_name, " is ", x, " and ", w_name, " is ", w, ": expected ",
            w.shape[1] * g.groups, " channels in ", x_name, " (", w_name, "'s dimension 1 times ", g.groups,
            " groups)");
  c.require(w.shape[0] % g.groups == 0, w_name, " is ", w, ": expected filters divisible by ", g.groups, " groups");
  c.require(w.shape[2] >= 1 && w.shape[3] >= 1, w_name, " is ", w, ": expected a kernel of at least 1 x 1");
  if (!c.ok()) return;
  const std::int64_t p = conv_output_size(x.shape[2], w.shape[2], g.stride_h, g.padding_h, g.dilation_h);
  const std::int64_t q = conv_output_size(x.shape[3], w.shape[3], g.stride_w, g.padding_w, g.dilation_w);
  c.require(p > 0 && q > 0, w_name, " is ", w, ": the kernel does not fit into ", x_name, " ", x, " with padding (",
            g.padding_h, ", ", g.padding_w, ") and dilation (", g.dilation_h, ", ", g.dilation_w, ")");
  c.shape(y_name, y, {x.shape[0], w.shape[0], p, q}, "(N, K, P, Q) of this geometry");
}

// Image x (N, C, H, W) and windows y (N, C, P, Q), channels-last, of one floating dtype.
void check_pool(Contract& c, const char* x_name, const TensorRef& x, const char* y_name, const TensorRef& y,
                const PoolGeometry& g) {
  c.floating(x_name, x).same_dtype(y_name, y, x_name, x).channels_last(x_name, x).channels_last(y_name, y);
  c.require(g.kernel_h >= 1 && g.kernel_w >= 1, "kernel is (", g.kernel_h, ", ", g.kernel_w, "): expected 1 or more");
  c.require(g.stride_h >= 1 && g.stride_w >= 1, "stride is (", g.stride_h, ", ", g.stride_w, "): expected 1 or more");
  c.require(g.dilation_h >= 1 && g.dilation_w >= 1, "dilation is (", g.dilation_h, ", ", g.dilation_w,
            "): expected 1 or more");
  c.require(g.padding_h >= 0 && g.padding_w >= 0 && 2 * g.padding_h <= g.kernel_h && 2 * g.padding_w <= g.kernel_w,
            "padding is (", g.padding_h, ", ", g.padding_w, "): expected 0 to half the kernel (", g.kernel_h, ", ",
            g.kernel_w, ")");
  if (!c.ok()) return;
  c.require(x.shape[2] >= 1 && x.shape[3] >= 1, x_name, " is ", x, ": expected a picture of at least 1 x 1");
  const std::int64_t p = conv_output_size(x.shape[2], g.kernel_h, g.stride_h, g.padding_h, g.dilation_h);
  const std::int64_t q = conv_output_size(x.shape[3], g.kernel_w, g.stride_w, g.padding_w, g.dilation_w);
  c.require(p > 0 && q > 0, "kernel (", g.kernel_h, ", ", g.kernel_w, ") does not fit into ", x_name, " ", x,
            " with padding (", g.padding_h, ", ", g.padding_w, ") and dilation (", g.dilation_h, ", ", g.dilation_w,
            ")");
  c.shape(y_name, y, {x.shape[0], x.shape[1], p, q}, "(N, C, P, Q) of this geometry");
}

void check_max_index(Contract& c, const TensorRef& index, const char* y_name, const TensorRef& y) {
  c.input("index", index).dtype("index", index, DType::i32).same_shape("index", index, y_name, y);
  c.channels_last("index", index);
}

void check_avg(Contract& c, const PoolGeometry& g) {
  c.require(g.dilation_h == 1 && g.dilation_w == 1, "dilation is (", g.dilation_h, ", ", g.dilation_w,
            "): average pooling has none, expected 1");
}

void check_adaptive(Contract& c, const char* x_name, const TensorRef& x, const char* y_name, const TensorRef& y) {
  c.floating(x_name, x).same_dtype(y_name, y, x_name, x).channels_last(x_name, x).channels_last(y_name, y);
  if (!c.ok()) return;
  c.require(x.shape[2] >= 1 && x.shape[3] >= 1, x_name, " is ", x, ": expected a picture of at least 1 x 1");
  c.require(y.shape[2] >= 1 && y.shape[3] >= 1, y_name, " is ", y, ": expected a picture of at least 1 x 1");
  c.require(x.shape[0] == y.shape[0] && x.shape[1] == y.shape[1], y_name, " is ", y, ": expected N and C of ", x_name,
            " ", x);
}

// (rows, n) contiguous floating.
void check_rows(Contract& c, const char* name, const TensorRef& t) {
  c.floating(name, t).rank(name, t, 2).contiguous(name, t);
}

void check_rows_like(Contract& c, const char* name, const TensorRef& t, const char* other_name,
                     const TensorRef& other) {
  c.same_dtype(name, t, other_name, other).same_shape(name, t, other_name, other).contiguous(name, t);
}

// A vector of statistics or parameters, contiguous, in the wide dtype beside `x`.
void check_wide_vector(Contract& c, const char* name, const TensorRef& t, std::int64_t size, const TensorRef& x,
                       const char* meaning) {
  c.input(name, t).wide_dtype(name, t, "x", x).shape(name, t, {size}, meaning).contiguous(name, t);
}

void check_vector_like(Contract& c, const char* name, const TensorRef& t, std::int64_t size, const char* other_name,
                       const TensorRef& other, const char* meaning) {
  c.input(name, t).same_dtype(name, t, other_name, other).shape(name, t, {size}, meaning).contiguous(name, t);
}

// What cross-entropy and its backward share.
void check_cross_entropy(Contract& c, const TensorRef& logits, const TensorRef& targets, const TensorRef& class_weights,
                         const TensorRef& log_sum_exp, const TensorRef& scale, double label_smoothing) {
  c.input("logits", logits).input("targets", targets).input("log_sum_exp", log_sum_exp).input("scale", scale);
  check_rows(c, "logits", logits);
  if (!c.ok()) return;
  const std::int64_t n = logits.shape[0], classes = logits.shape[1];
  c.require(classes >= 1, "logits is ", logits, ": expected at least one class");
  c.dtype("targets", targets, DType::i64).shape("targets", targets, {n}, "(N) of logits");
  c.contiguous("targets", targets);
  if (class_weights.defined())
    check_vector_like(c, "class_weights", class_weights, classes, "logits", logits, "(C) of logits");
  c.wide_dtype("log_sum_exp", log_sum_exp, "logits", logits).shape("log_sum_exp", log_sum_exp, {n}, "(N) of logits");
  c.contiguous("log_sum_exp", log_sum_exp);
  c.wide_dtype("scale", scale, "logits", logits).shape("scale", scale, {}, "a scalar");
  c.require(label_smoothing >= 0 && label_smoothing <= 1, "label_smoothing is ", label_smoothing, ": expected 0 to 1");
}

}  // namespace

Support check_contract(const MatmulArgs& args) {
  Contract c;
  c.input("a", args.a).input("b", args.b).output("y", args.y);
  c.floating("a", args.a).same_dtype("b", args.b, "a", args.a).same_dtype("y", args.y, "a", args.a);
  const int rank = args.a.shape.rank();
  c.require(rank >= 2, "a is ", args.a, ": expected rank 2 or more");
  c.rank("b", args.b, rank).rank("y", args.y, rank);
  if (!c.ok()) return c.result();
  const std::int64_t k = args.a.shape[rank - 1], n = args.b.shape[rank - 1];
  Shape b_shape = args.a.shape, y_shape = args.a.shape;
  b_shape[rank - 2] = k;
  b_shape[rank - 1] = n;
  y_shape[rank - 1] = n;
  c.require(args.b.shape[rank - 2] == k, "b is ", args.b, ": expected ", k, " rows, the columns of a ", args.a);
  c.shape("b", args.b, b_shape, "with the batch dimensions of a").shape("y", args.y, y_shape, "that of a @ b");
  c.contiguous("y", args.y);
  c.require(has_matrix_strides(args.a), "a is ", args.a, " with strides ", args.a.strides,
            ": expected a unit stride in one of the last two dimensions");
  c.require(has_matrix_strides(args.b), "b is ", args.b, " with strides ", args.b.strides,
            ": expected a unit stride in one of the last two dimensions");
  if (args.bias.defined()) check_vector_like(c, "bias", args.bias, n, "a", args.a, "(N) of y");
  if (args.a_sums.defined()) {
    c.require(rank == 2 && n >= 1, "a_sums is defined for y ", args.y, ": expected rank 2 and one column at least");
    if (c.ok()) check_vector_like(c, "a_sums", args.a_sums, args.a.shape[0], "a", args.a, "(M) of y");
    c.output("a_sums", args.a_sums);
  }
  return c.result();
}

Support check_contract(const Conv2dForwardArgs& args) {
  Contract c;
  c.input("x", args.x).input("w", args.w).output("y", args.y);
  check_conv(c, "x", args.x, "w", args.w, "y", args.y, args.geometry);
  if (args.bias.defined()) check_vector_like(c, "bias", args.bias, args.w.shape[0], "x", args.x, "(K) of w");
  return c.result();
}

Support check_contract(const Conv2dBackwardDataArgs& args) {
  Contract c;
  c.input("gy", args.gy).input("w", args.w).output("gx", args.gx);
  check_conv(c, "gx", args.gx, "w", args.w, "gy", args.gy, args.geometry);
  return c.result();
}

Support check_contract(const Conv2dBackwardWeightArgs& args) {
  Contract c;
  c.input("x", args.x).input("gy", args.gy);
  c.require(args.gw.defined() || args.gbias.defined(), "gw and gbias are both undefined: expected one at least");
  if (args.gw.defined()) {
    c.output("gw", args.gw);
    check_conv(c, "x", args.x, "gw", args.gw, "gy", args.gy, args.geometry);
  } else {
    c.floating("gy", args.gy).same_dtype("x", args.x, "gy", args.gy);
    c.channels_last("x", args.x).channels_last("gy", args.gy);
  }
  if (c.ok() && args.gbias.defined())
    check_vector_like(c, "gbias", args.gbias, args.gy.shape[1], "gy", args.gy, "(K) of gy");
  return c.result();
}

Support check_contract(const SoftmaxArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y);
  check_rows(c, "x", args.x);
  check_rows_like(c, "y", args.y, "x", args.x);
  return c.result();
}

Support check_contract(const SoftmaxBackwardArgs& args) {
  Contract c;
  c.input("y", args.y).input("gy", args.gy).output("gx", args.gx);
  check_rows(c, "y", args.y);
  check_rows_like(c, "gy", args.gy, "y", args.y);
  check_rows_like(c, "gx", args.gx, "y", args.y);
  return c.result();
}

Support check_contract(const CrossEntropyArgs& args) {
  Contract c;
  check_cross_entropy(c, args.logits, args.targets, args.class_weights, args.log_sum_exp, args.scale,
                      args.label_smoothing);
  if (!c.ok()) return c.result();
  const bool per_row = args.reduction == Reduction::none;
  c.output("loss", args.loss).wide_dtype("loss", args.loss, "logits", args.logits);
  c.shape("loss", args.loss, per_row ? Shape{args.logits.shape[0]} : Shape{},
          per_row ? "(N) of logits without a reduction" : "a scalar for the mean or the sum");
  c.contiguous("loss", args.loss);
  return c.result();
}

Support check_contract(const CrossEntropyBackwardArgs& args) {
  Contract c;
  check_cross_entropy(c, args.logits, args.targets, args.class_weights, args.log_sum_exp, args.scale,
                      args.label_smoothing);
  if (!c.ok()) return c.result();
  const bool per_row = args.reduction == Reduction::none;
  c.input("gy", args.gy).wide_dtype("gy", args.gy, "logits", args.logits);
  c.shape("gy", args.gy, per_row ? Shape{args.logits.shape[0]} : Shape{},
          per_row ? "(N) of logits without a reduction" : "a scalar for the mean or the sum");
  c.contiguous("gy", args.gy).output("gx", args.gx);
  check_rows_like(c, "gx", args.gx, "logits", args.logits);
  return c.result();
}

Support check_contract(const MaxPoolArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y);
  check_pool(c, "x", args.x, "y", args.y, args.geometry);
  if (args.index.defined()) {
    check_max_index(c, args.index, "y", args.y);
    c.require(args.x.shape[2] * args.x.shape[3] <= 0x7fffffff, "x is ", args.x,
              ": expected planes of less than 2^31 elements, as index is i32");
  }
  return c.result();
}

Support check_contract(const MaxPoolBackwardArgs& args) {
  Contract c;
  c.input("gy", args.gy).output("gx", args.gx);
  check_pool(c, "gx", args.gx, "gy", args.gy, args.geometry);
  check_max_index(c, args.index, "gy", args.gy);
  if (args.relu) {
    c.input("y", args.y).same_dtype("y", args.y, "gy", args.gy).same_shape("y", args.y, "gy", args.gy);
    c.channels_last("y", args.y);
  }
  return c.result();
}

Support check_contract(const AvgPoolArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y);
  check_avg(c, args.geometry);
  check_pool(c, "x", args.x, "y", args.y, args.geometry);
  return c.result();
}

Support check_contract(const AvgPoolBackwardArgs& args) {
  Contract c;
  c.input("gy", args.gy).output("gx", args.gx);
  check_avg(c, args.geometry);
  check_pool(c, "gx", args.gx, "gy", args.gy, args.geometry);
  return c.result();
}

Support check_contract(const AdaptiveAvgPoolArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y);
  check_adaptive(c, "x", args.x, "y", args.y);
  return c.result();
}

Support check_contract(const AdaptiveAvgPoolBackwardArgs& args) {
  Contract c;
  c.input("gy", args.gy).output("gx", args.gx);
  check_adaptive(c, "gx", args.gx, "gy", args.gy);
  return c.result();
}

Support check_contract(const BatchNormArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y);
  check_rows(c, "x", args.x);
  check_rows_like(c, "y", args.y, "x", args.x);
  if (!c.ok()) return c.result();
  const std::int64_t rows = args.x.shape[0], channels = args.x.shape[1];
  constexpr const char* meaning = "(C) of x";
  if (args.gamma.defined()) check_wide_vector(c, "gamma", args.gamma, channels, args.x, meaning);
  if (args.beta.defined()) check_wide_vector(c, "beta", args.beta, channels, args.x, meaning);
  if (args.training || args.mean.defined()) check_wide_vector(c, "mean", args.mean, channels, args.x, meaning);
  if (args.training || args.inv_std.defined()) check_wide_vector(c, "inv_std", args.inv_std, channels, args.x, meaning);
  if (!args.training || args.running_mean.defined())
    check_wide_vector(c, "running_mean", args.running_mean, channels, args.x, meaning);
  if (!args.training || args.running_var.defined())
    check_wide_vector(c, "running_var", args.running_var, channels, args.x, meaning);
  if (args.batches.defined()) {
    c.output("batches", args.batches).dtype("batches", args.batches, DType::i64);
    c.require(args.batches.numel() == 1, "batches is ", args.batches, ": expected one element, a count");
  }
  if (args.training) c.require(rows >= 1, "x is ", args.x, ": training needs at least one row");
  return c.result();
}

Support check_contract(const BatchNormBackwardArgs& args) {
  Contract c;
  c.input("x", args.x).input("gy", args.gy);
  check_rows(c, "x", args.x);
  check_rows_like(c, "gy", args.gy, "x", args.x);
  c.require(args.gx.defined() || args.ggamma.defined() || args.gbeta.defined(),
            "gx, ggamma and gbeta are all undefined: expected one at least");
  if (!c.ok()) return c.result();
  const std::int64_t channels = args.x.shape[1];
  constexpr const char* meaning = "(C) of x";
  check_wide_vector(c, "mean", args.mean, channels, args.x, meaning);
  check_wide_vector(c, "inv_std", args.inv_std, channels, args.x, meaning);
  if (args.gamma.defined()) check_wide_vector(c, "gamma", args.gamma, channels, args.x, meaning);
  if (args.ggamma.defined()) check_wide_vector(c, "ggamma", args.ggamma, channels, args.x, meaning);
  if (args.gbeta.defined()) check_wide_vector(c, "gbeta", args.gbeta, channels, args.x, meaning);
  if (args.gx.defined()) {
    c.output("gx", args.gx);
    check_rows_like(c, "gx", args.gx, "x", args.x);
  }
  return c.result();
}

Support check_contract(const LayerNormArgs& args) {
  Contract c;
  c.input("x", args.x).output("y", args.y);
  check_rows(c, "x", args.x);
  check_rows_like(c, "y", args.y, "x", args.x);
  if (!c.ok()) return c.result();
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  c.require(n >= 1, "x is ", args.x, ": expected rows of at least one element");
  if (args.gamma.defined()) check_vector_like(c, "gamma", args.gamma, n, "x", args.x, "(n) of x");
  if (args.beta.defined()) check_vector_like(c, "beta", args.beta, n, "x", args.x, "(n) of x");
  check_wide_vector(c, "mean", args.mean, rows, args.x, "(rows) of x");
  check_wide_vector(c, "inv_std", args.inv_std, rows, args.x, "(rows) of x");
  return c.result();
}

Support check_contract(const LayerNormBackwardArgs& args) {
  Contract c;
  c.input("x", args.x).input("gy", args.gy);
  check_rows(c, "x", args.x);
  check_rows_like(c, "gy", args.gy, "x", args.x);
  c.require(args.gx.defined() || args.ggamma.defined() || args.gbeta.defined(),
            "gx, ggamma and gbeta are all undefined: expected one at least");
  if (!c.ok()) return c.result();
  const std::int64_t rows = args.x.shape[0], n = args.x.shape[1];
  c.require(n >= 1, "x is ", args.x, ": expected rows of at least one element");
  check_wide_vector(c, "mean", args.mean, rows, args.x, "(rows) of x");
  check_wide_vector(c, "inv_std", args.inv_std, rows, args.x, "(rows) of x");
  if (args.gamma.defined()) check_vector_like(c, "gamma", args.gamma, n, "x", args.x, "(n) of x");
  if (args.ggamma.defined()) check_vector_like(c, "ggamma", args.ggamma, n, "x", args.x, "(n) of x");
  if (args.gbeta.defined()) check_vector_like(c, "gbeta", args.gbeta, n, "x", args.x, "(n) of x");
  if (args.gx.defined()) {
    c.output("gx", args.gx);
    check_rows_like(c, "gx", args.gx, "x", args.x);
  }
  return c.result();
}

}  // namespace graft::kernels
