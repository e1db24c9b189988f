// A block of memory on a device, shared by the tensors that view it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <graft/kernels/api/device.h>
#include <graft/kernels/api/export.h>

namespace graft {

class GRAFT_API Storage {
 public:
  /// Uninitialised memory; at least one byte's worth is never assumed for an empty tensor (data() is then nullptr). On
  /// a CUDA device it comes from the caching allocator for the thread's current stream, and goes back to it. Throws
  /// Error where the device cannot be used or has no more.
  Storage(std::size_t bytes, Device device);
  /// Memory that somebody else owns; `owner` is kept alive as long as the storage.
  Storage(void* data, std::size_t bytes, Device device, std::shared_ptr<void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  /// Changes with every in-place op on any tensor of this storage: what saved tensors are checked by.
  std::uint64_t version() const { return version_; }
  void bump_version() {
    ++version_;
    touch();
  }

  /// Unique among all contents that any storage of the process has had, as far as this class is told: in-place ops and
  /// handing out a mutable pointer both change it. What packed copies of a weight are keyed by.
  std::uint64_t content_tag() const { return content_tag_; }
  void touch() { content_tag_ = next_tag(); }

 private:
  static std::uint64_t next_tag();

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_;
  std::shared_ptr<void> owner_;
  std::uint64_t version_ = 0;
  std::uint64_t content_tag_ = next_tag();
};

}  // namespace graft
