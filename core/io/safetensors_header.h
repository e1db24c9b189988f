// The JSON header of a safetensors file: what it says of each tensor, and whether that is allowed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <graft/kernels/api/dtype.h>
#include <graft/kernels/api/shape.h>

namespace graft::io {

/// The format's own limit.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t begin = 0, end = 0;  // in bytes, from the end of the header
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the text
  std::map<std::string, std::string> metadata;
};

/// Parses a header in front of `data_bytes` bytes of data and checks every rule of the format. Throws Error that names
/// the tensor and the rule; the caller adds the file.
SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes);

/// "F32", "BOOL", ...: the format's name.
const char* safetensors_name(DType dtype);

/// The header's text, without padding. Throws Error for text that is not UTF-8.
std::string format_safetensors_header(const SafetensorsHeader& header);

/// "'conv1.weight'" for error messages; a long name is cut.
std::string in_quotes(std::string_view name);

}  // namespace graft::io
