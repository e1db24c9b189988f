// Safetensors files by hand, right or wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace graft::test {

/// The eight little-endian bytes of a header length.
inline std::string length_field(std::uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i));
  return bytes;
}

inline std::string safetensors_bytes(std::string_view header, std::size_t data_bytes) {
  return length_field(header.size()) + std::string(header) + std::string(data_bytes, '\1');
}

}  // namespace graft::test
