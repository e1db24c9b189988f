// Which backends serve an op on a device, in which order; running an op on the first that can.
#pragma once

#include <span>

#include <graft/kernels/api/table.h>
#include <graft/kernels/registry/backend_scope.h>

namespace graft::kernels {

/// The backends of a device in the order they are asked. CPU: cpu (oneDNN and vector loops: f32, and bf16 products),
/// then reference (every dtype, slowly: f64 and the arithmetic of bf16 and f16 land there). CUDA: our own kernels.
std::span<const BackendTable* const> backends(DeviceType device);

/// The table of one backend, built in or offered (api/offered.h), or nullptr when there is none.
const BackendTable* find_backend(BackendId id);

/// Runs `args` on the first backend of stream.device that supports it (or on the one BackendScope asks for, which may
/// be one that was offered). Throws Error that lists every backend's reason when none does.
template <class Args>
void run(const Args& args, Stream& stream);

}  // namespace graft::kernels
