// Contracts of the ops that a training step on the device is made of, beside the network's own.
#include <cmath>

#include <graft/kernels/api/contract.h>
#include <graft/kernels/api/contracts.h>

namespace graft::kernels {
namespace {

void check_scalar(Contract& c, const char* name, const TensorRef& t, DType dtype) {
  c.input(name, t).dtype(name, t, dtype).shape(name, t, {}, "a scalar");
}

bool finite_and_not_negative(double value) { return std::isfinite(value) && value >= 0; }

}  // namespace

Support check_contract(const LoadBatchArgs& args) {
  Contract c;
  c.input("images", args.images).input("labels", args.labels).output("x", args.x).output("y", args.y);
  check_scalar(c, "step", args.step, DType::i64);
  c.require(args.images.shape.rank() >= 1, "images is ", args.images, ": expected at least one dimension");
  c.contiguous("images", args.images).contiguous("labels", args.labels).contiguous("y", args.y);
  c.dtype("labels", args.labels, DType::i64).dtype("y", args.y, DType::i64);
  if (!c.ok()) return c.result();
  const bool pixels = args.images.dtype == DType::u8;
  if (pixels) {
    c.rank("images", args.images, 4).floating("x", args.x).channels_last("x", args.x);
  } else {
    c.floating("images", args.images).same_dtype("x", args.x, "images", args.images).contiguous("x", args.x);
    c.require(!args.augment.enabled(), "images is ", args.images, ": rows computed beforehand cannot be augmented");
  }
  c.rank("x", args.x, args.images.shape.rank());
  if (!c.ok()) return c.result();
  Shape expected = args.images.shape;
  expected[0] = args.x.shape[0];
  c.shape("x", args.x, expected, "a batch of the images");
  c.shape("labels", args.labels, {args.images.shape[0]}, "one an image");
  c.shape("y", args.y, {args.x.shape[0]}, "one a picture of the batch");
  c.require(args.x.shape[0] >= 1 && args.x.shape[0] <= args.images.shape[0], "x is ", args.x, " and images ",
            args.images, ": expected a batch of at least one and at most all images");
  c.require(std::isfinite(args.mean) && std::isfinite(args.deviation) && args.deviation > 0, "mean is ", args.mean,
            " and deviation ", args.deviation, ": expected finite numbers, the deviation above 0");
  const AffineAmounts& a = args.augment;
  c.require(finite_and_not_negative(a.rotation) && finite_and_not_negative(a.scale) && a.scale < 1 &&
                finite_and_not_negative(a.shear) && finite_and_not_negative(a.shift),
            "augment is rotation ", a.rotation, ", scale ", a.scale, ", shear ", a.shear, ", shift ", a.shift,
            ": expected finite amounts from 0, the scale below 1");
  return c.result();
}

Support check_contract(const GradScaleArgs& args) {
  Contract c;
  check_scalar(c, "squared_norm", args.squared_norm, DType::f64);
  check_scalar(c, "step", args.step, DType::i64);
  check_scalar(c, "factor", args.factor, DType::f64);
  c.require(args.loss_scale.defined() == args.good_steps.defined(),
            "one of loss_scale and good_steps is undefined: expected both or none");
  if (args.loss_scale.defined()) {
    check_scalar(c, "loss_scale", args.loss_scale, DType::f32);
    check_scalar(c, "good_steps", args.good_steps, DType::i64);
  }
  c.require(finite_and_not_negative(args.max_norm), "max_norm is ", args.max_norm, ": expected a finite number from 0");
  return c.result();
}

Support check_contract(const FinishStepArgs& args) {
  Contract c;
  c.input("loss", args.loss).floating("loss", args.loss).shape("loss", args.loss, {}, "a scalar");
  c.input("losses", args.losses).dtype("losses", args.losses, DType::f64).rank("losses", args.losses, 1);
  c.contiguous("losses", args.losses);
  check_scalar(c, "step", args.step, DType::i64);
  check_scalar(c, "updates", args.updates, DType::i64);
  if (args.factor.defined()) check_scalar(c, "factor", args.factor, DType::f64);
  return c.result();
}

}  // namespace graft::kernels
