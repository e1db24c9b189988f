#include <graft/core/data/loader.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <graft/core/data/prefetch.h>
#include <graft/core/ops/nn.h>
#include <graft/core/ops/view.h>
#include <graft/kernels/runtime/device_memory.h>
#include <graft/kernels/runtime/parallel.h>

namespace graft::data {
namespace {

using Positions = std::vector<std::int64_t>;

Positions epoch_order(std::int64_t size, bool shuffle, std::uint64_t seed, std::uint64_t epoch) {
  Positions order(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (!shuffle) return order;
  const kernels::Permutation permutation(static_cast<std::uint64_t>(size), kernels::order_seed(seed, epoch));
  for (std::int64_t& position : order)
    position = static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(position)));
  return order;
}

/// What the workers make, on the host. Rows of features are left to finish().
Batch make_batch(const Dataset& dataset, const LoaderOptions& options, std::uint64_t epoch, Positions positions) {
  Batch batch;
  if (!options.features.defined()) batch.x = normalized(dataset.images, options.normalization, positions);
  if (options.augment.enabled()) {
    const Tensor theta = affine_matrices(options.augment, options.seed, epoch, positions);
    batch.x = affine_warp(batch.x, theta, options.normalization(0));  // what lies outside the picture is black
  }
  batch.y = Tensor::empty({static_cast<std::int64_t>(positions.size())}, DType::i64);
  const std::int64_t* labels = dataset.labels.data<std::int64_t>();
  std::int64_t* y = batch.y.data<std::int64_t>();
  for (const std::int64_t position : positions) *y++ = labels[position];
  batch.positions = std::move(positions);
  return batch;
}

/// What happens in the caller's thread, whose current stream orders it with the caller's work: copies to the device,
/// and rows of features, which may lie there.
void finish(const LoaderOptions& options, Batch& batch) {
  const runtime::AllocationName what("batch");
  if (options.features.defined()) {
    const Tensor rows = Tensor::from(batch.positions, batch.y.shape(), options.features.device());
    batch.x = index_select(options.features, 0, rows);
  }
  batch.x = batch.x.to(options.device);
  batch.y = batch.y.to(options.device);
}

}  // namespace

struct Loader::Impl {
  Dataset dataset;
  LoaderOptions options;
  Prefetcher prefetcher;  // last: its threads end before what they read

  Impl(Dataset&& images, LoaderOptions&& settings)
      : dataset(std::move(images)), options(std::move(settings)), prefetcher(options.threads, options.prefetch) {}

  std::int64_t batches() const {
    const std::int64_t size = dataset.size(), whole = size / options.batch_size;
    return whole + (!options.drop_last && size % options.batch_size != 0 ? 1 : 0);
  }
};

void LoaderOptions::validate(const Dataset& dataset) const {
  dataset.validate();
  check(dataset.size() > 0, "Loader: the dataset is empty");
  check(batch_size >= 1, "Loader: batch_size is ", batch_size, ", expected 1 or more");
  check(!drop_last || batch_size <= dataset.size(), "Loader: a batch_size of ", batch_size,
        " with drop_last leaves no batch of ", dataset.size(), " images");
  check(threads >= 0 && threads <= kMaxThreads, "Loader: threads is ", threads, ", expected 0 to ", kMaxThreads);
  check(prefetch >= 1, "Loader: prefetch is ", prefetch, ", expected 1 or more");
  if (features.defined()) {
    check(features.dim() >= 1 && features.size(0) == dataset.size() && !features.requires_grad(),
          "Loader: features are ", features, ", expected one row for each of ", dataset.size(),
          " images, outside the graph");
    check(!augment.enabled(), "Loader: features computed beforehand cannot be augmented");
  }
  normalization.validate();
  augment.validate();
}

Loader::Loader(Dataset dataset, LoaderOptions options) {
  options.validate(dataset);
  impl_ = std::make_unique<Impl>(std::move(dataset), std::move(options));
}

Loader::~Loader() = default;

std::int64_t Loader::batches() const { return impl_->batches(); }

const Dataset& Loader::dataset() const { return impl_->dataset; }

void Loader::start(std::uint64_t epoch) {
  const Impl* impl = impl_.get();
  const LoaderOptions& options = impl->options;
  auto order =
      std::make_shared<const Positions>(epoch_order(impl->dataset.size(), options.shuffle, options.seed, epoch));
  impl_->prefetcher.start(impl_->batches(), [impl, order, epoch](std::int64_t index) {
    const std::int64_t size = impl->options.batch_size, begin = index * size;
    const std::int64_t end = std::min(begin + size, static_cast<std::int64_t>(order->size()));
    return make_batch(impl->dataset, impl->options, epoch, Positions(order->begin() + begin, order->begin() + end));
  });
}

bool Loader::next(Batch& batch) {
  if (!impl_->prefetcher.next(batch)) return false;
  finish(impl_->options, batch);
  return true;
}

}  // namespace graft::data
