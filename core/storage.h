// A block of memory on a device, shared by the tensors that view it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <graft/kernels/api/device.h>

namespace graft {

class Storage {
 public:
  /// Uninitialised memory; at least one byte's worth is never assumed for an empty tensor (data() is then nullptr).
  Storage(std::size_t bytes, Device device);
  /// Memory that somebody else owns; `owner` is kept alive as long as the storage.
  Storage(void* data, std::size_t bytes, Device device, std::shared_ptr<void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

  /// Goes up by one with every in-place change of any tensor on this storage.
  std::uint64_t version() const { return version_; }
  void bump_version() { version_ = next_stamp(); }

  /// Unique among all contents that any storage of the process has had: what packed copies of a weight are keyed by.
  std::uint64_t content_tag() const { return version_; }

 private:
  static std::uint64_t next_stamp();

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_;
  std::shared_ptr<void> owner_;
  std::uint64_t version_ = next_stamp();
};

}  // namespace graft
