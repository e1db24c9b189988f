#include <graft/core/data/device_batches.h>

#include <algorithm>

#include <graft/core/ops/view.h>
#include <graft/core/stream.h>
#include <graft/kernels/api/batch.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/device_memory.h>

namespace graft::data {

DeviceBatches::DeviceBatches(const Dataset& dataset, const LoaderOptions& options, DType dtype)
    : batch_size_(options.batch_size), options_(options), dtype_(dtype) {
  options.validate(dataset);
  check(options.batch_size <= dataset.size(), "DeviceBatches: a batch of ", options.batch_size, " of ", dataset.size(),
        " images");
  check(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16, "DeviceBatches: dtype ", name(dtype),
        ", expected f32, bf16 or f16");
  const runtime::AllocationName what("data set");
  images_ = options.features.defined() ? options.features.to(options.device).to(dtype).contiguous()
                                       : dataset.images.to(options.device).contiguous();
  labels_ = dataset.labels.to(options.device).contiguous();
  first_step_ = Tensor::zeros({}, DType::i64, options.device);
  options_.features = {};
}

bool DeviceBatches::fits(const Dataset& dataset, const LoaderOptions& options) {
  if (!options.device.is_cuda()) return false;
  const Tensor& rows = options.features.defined() ? options.features : dataset.images;
  const std::size_t bytes =
      static_cast<std::size_t>(rows.numel()) * size_of(rows.dtype()) + static_cast<std::size_t>(dataset.size()) * 8;
  return bytes <= std::min(runtime::cuda_properties(options.device.index).memory,
                           runtime::device_memory_available(options.device.index)) / 2;
}

Batch DeviceBatches::load(const Tensor& step) const { return make(images_, labels_, step, batch_size_, false); }

Batch DeviceBatches::slice(std::int64_t first, std::int64_t count) const {
  check(first >= 0 && count >= 1 && first + count <= size(), "DeviceBatches::slice: ", count, " pictures from ", first,
        " on, of ", size());
  return make(graft::slice(images_, 0, first, first + count), graft::slice(labels_, 0, first, first + count),
              first_step_, count, true);
}

Batch DeviceBatches::make(const Tensor& images, const Tensor& labels, const Tensor& step, std::int64_t count,
                          bool as_they_are) const {
  const runtime::AllocationName what("batch");
  Shape shape = images.shape();
  shape[0] = count;
  const auto format = images.dtype() == DType::u8 ? MemoryFormat::channels_last : MemoryFormat::contiguous;
  Batch batch;
  batch.x = Tensor::empty(shape, dtype_, images.device(), format);
  batch.y = Tensor::empty({count}, DType::i64, images.device());
  kernels::LoadBatchArgs args{
      .images = images.ref(), .labels = labels.ref(), .step = step.ref(), .x = batch.x.ref(), .y = batch.y.ref()};
  args.shuffle = options_.shuffle && !as_they_are;
  args.seed = options_.seed;
  args.mean = options_.normalization.mean;
  args.deviation = options_.normalization.deviation;
  if (!as_they_are) args.augment = options_.augment.amounts();
  kernels::run(args, current_stream(images.device()));
  return batch;
}

}  // namespace graft::data
