// The safetensors format (github.com/huggingface/safetensors): 8 bytes of header length, a JSON header, the tensors'
// bytes.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>

namespace graft::io {

/// Named tensors in the order of the header, and the free text of "__metadata__".
struct GRAFT_API SafetensorsFile {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::map<std::string, std::string> metadata;

  /// Throws Error naming what is there when the name is not.
  const Tensor& at(const std::string& name) const;
  bool contains(const std::string& name) const;
};

/// Reads a whole file; tensors lie on the CPU, row-major. F32, F64, BF16, F16, I64, I32, U8 and BOOL; the format's
/// other dtypes are refused as not supported. Strict: throws Error, naming the file, the tensor and the rule, for a
/// header length over 100 MB or past the end, a header that is not UTF-8 JSON starting with '{', duplicate keys,
/// missing, unknown or mistyped fields, unknown dtypes, negative or overflowing sizes, offsets that do not match the
/// shape, overlap, leave holes or pass the end, bytes left over, and BOOL elements other than 0 and 1.
GRAFT_API SafetensorsFile read_safetensors(const std::string& path);

/// Writes to a temporary file beside `path`, syncs it and renames it: `path` is the old file or the new one, whole.
/// Tensors are written row-major in the order given, one directly behind the other as the format demands; the first
/// begins at a multiple of
/// 8. Throws Error for duplicate names, the name "__metadata__", text that is not UTF-8, or a failed write (which
/// leaves nothing behind).
GRAFT_API void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                                 const std::map<std::string, std::string>& metadata = {});

}  // namespace graft::io
