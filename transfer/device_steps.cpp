#include <graft/transfer/device_steps.h>

#include <utility>

#include <graft/core/ops/nn.h>
#include <graft/core/stream.h>
#include <graft/kernels/runtime/cuda.h>

namespace graft::transfer {
namespace {

std::shared_ptr<double> pinned_memory(std::size_t count, Device device) {
  if (device.is_cpu()) return nullptr;
  return {static_cast<double*>(runtime::pinned_allocate(count * sizeof(double))), runtime::pinned_free};
}

}  // namespace

DeviceSteps::DeviceSteps(Setup setup, Device device)
    : setup_(std::move(setup)),
      device_(device),
      state_(setup_.state, device),
      graph_(
          state_.step(), [this] { step(); }, setup_.fingerprint, setup_.graph),
      host_losses_(pinned_memory(setup_.state.lr_factor.size(), device)) {
  setup_.optimizer->follow(state_.clock());
}

DeviceSteps::~DeviceSteps() {
  if (device_.is_cpu()) return;
  // What is under way writes to memory that goes now.
  try {
    for (const Arrival& arrival : arriving_) arrival.event->synchronize();
  } catch (const std::exception&) {  // the device is lost, and its memory with it
  }
}

void DeviceSteps::step() {
  const data::Batch batch = setup_.batch(state_.step());
  const Tensor loss = cross_entropy(setup_.forward(batch.x), batch.y, {.label_smoothing = setup_.label_smoothing});
  loss.backward(state_.loss_scale());
  state_.scale_gradients(setup_.parameters);
  setup_.optimizer->step();
  setup_.optimizer->zero_grad();
  state_.finish(loss);
}

void DeviceSteps::run(std::int64_t count) {
  try {
    graph_.run(count);
  } catch (const Error& error) {
    if (!graph_.refused_capture()) throw;
    graph_.stop_capturing();
    if (setup_.log) setup_.log(cat("captured steps: off, ", error.what()));
    graph_.run(given_ + count - graph_.done());
  }
  // A replay changes what the host does not see being changed.
  for (Tensor& tensor : setup_.changing) tensor.bump_version();
  fetch(given_, given_ + count);
  given_ += count;
  while (!arriving_.empty() && arriving_.front().end + kAhead < given_) {
    arriving_.front().event->synchronize();
    arrived_ = arriving_.front().end;
    arriving_.pop_front();
  }
}

void DeviceSteps::fetch(std::int64_t begin, std::int64_t end) {
  if (device_.is_cpu() || begin == end) return;
  const Stream& stream = current_stream(device_);
  const auto* losses = static_cast<const double*>(state_.losses().ref().data);
  runtime::copy_to_host(host_losses_.get() + begin, losses + begin,
                        static_cast<std::size_t>(end - begin) * sizeof(double), stream);
  arriving_.push_back({end, std::make_unique<runtime::Event>(device_.index)});
  arriving_.back().event->record(stream);
}

std::span<const double> DeviceSteps::new_losses(bool wait) {
  const double* losses = host_losses_.get();
  if (device_.is_cpu()) {
    losses = std::as_const(state_).losses().data<double>();
    arrived_ = given_;
  } else if (wait) {
    runtime::synchronize(current_stream(device_));
    arrived_ = given_;
    arriving_.clear();
  }
  for (; !arriving_.empty() && arriving_.front().event->is_done(); arriving_.pop_front())
    arrived_ = arriving_.front().end;
  return {losses + std::exchange(told_, arrived_), losses + arrived_};
}

void DeviceSteps::finish() {
  if (device_.is_cuda()) runtime::synchronize(current_stream(device_));
  setup_.optimizer->unfollow();
}

}  // namespace graft::transfer
