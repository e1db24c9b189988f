// Memory of the device and of the host, copies, fills; and what a caching allocator tells.
#include <graft/kernels/simt/runtime_state.h>

#include <cstdio>
#include <cstring>
#include <type_traits>

#include <graft/kernels/runtime/memory_observer.h>
#include <graft/kernels/simt/memory.h>

using namespace graft::simt;
using namespace graft::simt::runtime;

namespace {

cudaError_t no_stream() { return refuse(cudaErrorInvalidResourceHandle, "no such stream (destroyed?)"); }

std::string text(const void* p) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%p", p);
  return buffer;
}

void report_damage(const std::string& damage) {
  if (damage.empty()) return;
  std::fprintf(stderr, "SIMT emulator: found when it was freed: %s\n", damage.c_str());
  fail_for_good("found when it was freed: " + damage);
}

cudaError_t allocate(void** result, std::size_t bytes) {
  if (result == nullptr) return remember(cudaErrorInvalidValue);
  *result = nullptr;
  if (bytes == 0) return cudaSuccess;
  const std::size_t held = device_bytes_held();
  if (held > host_options().memory || bytes > host_options().memory - held ||
      (*result = allocate_device(bytes)) == nullptr)
    return refuse(cudaErrorMemoryAllocation, std::to_string(bytes) + " bytes were asked for, " + std::to_string(held) +
                                                 " of " + std::to_string(host_options().memory) + " are in use");
  return cudaSuccess;
}

cudaError_t freed(Freed outcome, const char* call, const void* p) {
  switch (outcome) {
    case Freed::yes:
      return remember(obstacle());
    case Freed::already:
      return refuse(cudaErrorInvalidValue, std::string(call) + " of " + text(p) + ", which has been freed already");
    default:
      return refuse(cudaErrorInvalidValue, std::string(call) + " of " + text(p) + ", which was not allocated");
  }
}

// --- copies ---------------------------------------------------------------------------------------------------------

// Rows of `width` bytes, each side with its pitch.
struct Copy {
  const char* call;
  void* to;
  std::size_t to_pitch;
  const void* from;
  std::size_t from_pitch;
  std::size_t width, height;
  cudaMemcpyKind kind;
};

// Empty when `side` is what the copy's kind says and inside one allocation.
std::string wrong_side(const Copy& copy, const void* p, std::size_t pitch, bool on_device, bool either,
                       const char* name) {
  const std::size_t bytes = (copy.height - 1) * pitch + copy.width;
  if (p == nullptr) return std::string(copy.call) + ": the " + name + " is a null pointer";
  if (is_device_address(p)) {
    if (!on_device && !either)
      return std::string(copy.call) + ": the " + name + " is device memory, the kind of the copy says host";
    std::string why;
    if (!is_held(p, bytes, why)) return std::string(copy.call) + ": the " + name + " is " + why;
  } else if (on_device && !either && find_host(p) == nullptr) {
    return std::string(copy.call) + ": the " + name + " is host memory, the kind of the copy says device";
  }
  return {};
}

void perform(const Copy& copy) {
  for (std::size_t row = 0; row < copy.height; ++row) {
    char* const to = static_cast<char*>(copy.to) + row * copy.to_pitch;
    const char* const from = static_cast<const char*>(copy.from) + row * copy.from_pitch;
    std::memmove(to, from, copy.width);
    copy_written(to, from, copy.width);
  }
}

// `wait`: a call without a stream.
cudaError_t start(Copy copy, cudaStream_t handle, bool wait) {
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (wait)
    if (const cudaError_t error = unsafe_in_capture(copy.call); error != cudaSuccess) return error;
  // As a number: what the caller gave need not be a value of the enumeration.
  std::underlying_type_t<cudaMemcpyKind> kind;
  std::memcpy(&kind, &copy.kind, sizeof kind);
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
    return remember(cudaErrorInvalidMemcpyDirection);
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  if (copy.to_pitch < copy.width || copy.from_pitch < copy.width) return remember(cudaErrorInvalidPitchValue);
  const bool either = copy.kind == cudaMemcpyDefault;
  const bool from_device = copy.kind == cudaMemcpyDeviceToHost || copy.kind == cudaMemcpyDeviceToDevice;
  const bool to_device = copy.kind == cudaMemcpyHostToDevice || copy.kind == cudaMemcpyDeviceToDevice;
  std::string wrong = wrong_side(copy, copy.to, copy.to_pitch, to_device, either, "destination");
  if (wrong.empty()) wrong = wrong_side(copy, copy.from, copy.from_pitch, from_device, either, "source");
  if (!wrong.empty()) {
    if (stream->capture != nullptr) invalidate(*stream->capture, wrong);
    return refuse(cudaErrorInvalidValue, std::move(wrong));
  }

  const auto is_pageable = [](const void* p) { return !is_device_address(p) && find_host(p) == nullptr; };
  const bool captured = stream->capture != nullptr;
  Work work;
  if (is_pageable(copy.from) && !captured && !wait) {  // read before the call returns, as CUDA does
    const auto bytes = std::make_shared<std::vector<char>>(copy.width * copy.height);
    for (std::size_t row = 0; row < copy.height; ++row)
      std::memcpy(bytes->data() + row * copy.width, static_cast<const char*>(copy.from) + row * copy.from_pitch,
                  copy.width);
    copy.from = bytes->data();
    copy.from_pitch = copy.width;
    work = [copy, bytes] { perform(copy); };
  } else {
    work = [copy] { perform(copy); };
  }
  const cudaError_t error = queue(*stream, std::move(work), cudaGraphNodeTypeMemcpy, copy.call);
  if (error == cudaSuccess && !captured && (wait || is_pageable(copy.to))) complete(*stream);
  return error != cudaSuccess ? error : remember(obstacle());
}

cudaError_t fill(const char* call, void* p, std::size_t pitch, int value, std::size_t width, std::size_t height,
                 cudaStream_t handle, bool wait) {
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (wait)
    if (const cudaError_t error = unsafe_in_capture(call); error != cudaSuccess) return error;
  if (width == 0 || height == 0) return cudaSuccess;
  if (pitch < width) return remember(cudaErrorInvalidPitchValue);
  std::string why;
  if (!is_device_address(p)) {
    if (find_host(p) == nullptr) why = "memory of the host";
  } else if (is_held(p, (height - 1) * pitch + width, why)) {
    why.clear();
  }
  if (!why.empty()) {
    if (stream->capture != nullptr) invalidate(*stream->capture, std::string(call) + " of " + why);
    return refuse(cudaErrorInvalidValue, std::string(call) + " of " + why);
  }
  const auto work = [=] {
    for (std::size_t row = 0; row < height; ++row) {
      std::memset(static_cast<char*>(p) + row * pitch, value, width);
      mark_written(static_cast<char*>(p) + row * pitch, width);
    }
  };
  const cudaError_t error = queue(*stream, work, cudaGraphNodeTypeMemset, call);
  if (error == cudaSuccess && wait) complete(*stream);
  return error;
}

// --- the caching allocator's blocks ---------------------------------------------------------------------------------

void end_and_check(void* block) {
  std::string damage;
  end_block(block, damage);
  report_damage(damage);
}

// In a capture the block is used now, at least by what follows the capture, and each time the graph runs.
void block_allocated(void* block, std::size_t bytes) {
  const Lock guard = lock();
  if (block == nullptr || bytes == 0) return;
  hold_block(block, bytes);
  change_memory([=] { begin_block(block, bytes); });
  if (Capture* const capture = capture_of_thread()) {
    capture->blocks.insert(block);
    add_silent_step(*capture, [=] { begin_block(block, bytes); });
  }
}

void block_freed(void* block, std::size_t) {
  const Lock guard = lock();
  if (block == nullptr) return;
  drop_block(block);
  change_memory([=] { end_and_check(block); });
  Capture* const capture = capture_of_thread();
  if (capture != nullptr && capture->blocks.erase(block) > 0) add_silent_step(*capture, [=] { end_and_check(block); });
}

[[maybe_unused]] const bool observing = [] {
  graft::runtime::set_memory_observer({kDeviceRedZone, block_allocated, block_freed});
  return true;
}();

}  // namespace

extern "C" {

cudaError_t CUDARTAPI cudaMalloc(void** result, std::size_t bytes) {
  GRAFT_SIMT_ENTER();
  if (const cudaError_t error = unsafe_in_capture("cudaMalloc"); error != cudaSuccess) return error;
  return allocate(result, bytes);
}

cudaError_t CUDARTAPI cudaFree(void* p) {
  GRAFT_SIMT_ENTER();
  if (p == nullptr) return cudaSuccess;
  if (const cudaError_t error = unsafe_in_capture("cudaFree"); error != cudaSuccess) return error;
  complete_all();
  std::string damage;
  const Freed outcome = free_device(p, damage);
  report_damage(damage);
  return freed(outcome, "cudaFree", p);
}

// The memory is there at once; it is the stream's order only that ends its life.
cudaError_t CUDARTAPI cudaMallocAsync(void** result, std::size_t bytes, cudaStream_t handle) {
  GRAFT_SIMT_ENTER();
  const CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (stream->capture != nullptr) {
    invalidate(*stream->capture, "cudaMallocAsync, which the emulator cannot capture");
    return refuse(cudaErrorNotSupported, "the emulator cannot capture cudaMallocAsync");
  }
  return allocate(result, bytes);
}

cudaError_t CUDARTAPI cudaFreeAsync(void* p, cudaStream_t handle) {
  GRAFT_SIMT_ENTER();
  CUstream_st* const stream = find_stream(handle);
  if (stream == nullptr) return no_stream();
  if (p == nullptr) return cudaSuccess;
  if (stream->capture != nullptr) {
    invalidate(*stream->capture, "cudaFreeAsync, which the emulator cannot capture");
    return refuse(cudaErrorNotSupported, "the emulator cannot capture cudaFreeAsync");
  }
  if (const Freed outcome = give_up_device(p); outcome != Freed::yes) return freed(outcome, "cudaFreeAsync", p);
  const auto work = [p] {
    std::string damage;
    free_device(p, damage);
    report_damage(damage);
  };
  return queue(*stream, work, cudaGraphNodeTypeMemFree, "cudaFreeAsync");
}

cudaError_t CUDARTAPI cudaHostAlloc(void** result, std::size_t bytes, unsigned flags) {
  GRAFT_SIMT_ENTER();
  if (result == nullptr || (flags & ~(cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined)) != 0)
    return remember(cudaErrorInvalidValue);
  *result = nullptr;
  if (const cudaError_t error = unsafe_in_capture("cudaHostAlloc"); error != cudaSuccess) return error;
  if (bytes == 0) return cudaSuccess;
  *result = allocate_host(bytes);
  return *result != nullptr ? cudaSuccess : remember(cudaErrorMemoryAllocation);
}
cudaError_t CUDARTAPI cudaMallocHost(void** result, std::size_t bytes) {
  return cudaHostAlloc(result, bytes, cudaHostAllocDefault);
}

cudaError_t CUDARTAPI cudaFreeHost(void* p) {
  GRAFT_SIMT_ENTER();
  if (p == nullptr) return cudaSuccess;
  if (const cudaError_t error = unsafe_in_capture("cudaFreeHost"); error != cudaSuccess) return error;
  complete_all();
  if (!free_host(p))
    return refuse(cudaErrorInvalidValue,
                  "cudaFreeHost of " + text(p) + ", which cudaMallocHost did not give (or was freed)");
  return remember(obstacle());
}

cudaError_t CUDARTAPI cudaHostGetDevicePointer(void** result, void* p, unsigned flags) {
  GRAFT_SIMT_ENTER();
  if (result == nullptr || flags != 0) return remember(cudaErrorInvalidValue);
  if (find_host(p) == nullptr)
    return refuse(cudaErrorInvalidValue, "cudaHostGetDevicePointer of memory that is not page-locked");
  *result = p;
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  GRAFT_SIMT_ENTER();
  if (free == nullptr || total == nullptr) return remember(cudaErrorInvalidValue);
  *total = host_options().memory;
  *free = *total - std::min(*total, device_bytes_held());
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  GRAFT_SIMT_ENTER();
  if (attributes == nullptr) return remember(cudaErrorInvalidValue);
  *attributes = {};
  std::string why;
  void* const address = const_cast<void*>(p);
  attributes->device = 0;
  if (is_device_address(p) && is_held(p, 1, why)) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->devicePointer = address;
  } else if (!is_device_address(p) && find_host(p) != nullptr) {
    attributes->type = cudaMemoryTypeHost;
    attributes->devicePointer = attributes->hostPointer = address;
  } else {
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = cudaInvalidDeviceId;
    attributes->hostPointer = is_device_address(p) ? nullptr : address;
  }
  return cudaSuccess;
}

cudaError_t CUDARTAPI cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                                      cudaStream_t stream) {
  GRAFT_SIMT_ENTER();
  return start({"cudaMemcpyAsync", to, bytes, from, bytes, bytes, 1, kind}, stream, false);
}
cudaError_t CUDARTAPI cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  GRAFT_SIMT_ENTER();
  return start({"cudaMemcpy", to, bytes, from, bytes, bytes, 1, kind}, nullptr, true);
}
cudaError_t CUDARTAPI cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                                        std::size_t width, std::size_t height, cudaMemcpyKind kind,
                                        cudaStream_t stream) {
  GRAFT_SIMT_ENTER();
  return start({"cudaMemcpy2DAsync", to, to_pitch, from, from_pitch, width, height, kind}, stream, false);
}
cudaError_t CUDARTAPI cudaMemcpy2D(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                                   std::size_t width, std::size_t height, cudaMemcpyKind kind) {
  GRAFT_SIMT_ENTER();
  return start({"cudaMemcpy2D", to, to_pitch, from, from_pitch, width, height, kind}, nullptr, true);
}

cudaError_t CUDARTAPI cudaMemsetAsync(void* p, int value, std::size_t bytes, cudaStream_t stream) {
  GRAFT_SIMT_ENTER();
  return fill("cudaMemsetAsync", p, bytes, value, bytes, 1, stream, false);
}
cudaError_t CUDARTAPI cudaMemset(void* p, int value, std::size_t bytes) {
  GRAFT_SIMT_ENTER();
  return fill("cudaMemset", p, bytes, value, bytes, 1, nullptr, true);
}
cudaError_t CUDARTAPI cudaMemset2DAsync(void* p, std::size_t pitch, int value, std::size_t width, std::size_t height,
                                        cudaStream_t stream) {
  GRAFT_SIMT_ENTER();
  return fill("cudaMemset2DAsync", p, pitch, value, width, height, stream, false);
}

}  // extern "C"
