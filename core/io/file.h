// Whole files: read, and written so that a reader sees the old one or the new one, never half.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft::io {

/// Throws Error with the path and the system's reason.
std::vector<std::uint8_t> read_file(const std::string& path);

/// Gathers writes into a temporary file beside `path`; commit() syncs and renames it. Without commit the destructor removes
/// it.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  std::string path_, temporary_;
  int descriptor_ = -1;
};

}  // namespace graft::io
