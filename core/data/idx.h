// IDX files, the format of MNIST: plain or gzip.
#pragma once

#include <string>

#include <graft/core/data/dataset.h>
#include <graft/kernels/api/export.h>

namespace graft::data {

/// Any IDX file of unsigned bytes (type 0x08), rank 1 to 4. Gzip is told by its magic. Throws Error naming the file and
/// what is wrong: magic, type, rank, a size that overflows, too few or too many bytes, a broken gzip stream.
GRAFT_API Tensor read_idx(const std::string& path);

/// Writes a u8 tensor of rank 1 to 4 row-major, plain. To a temporary file, then renamed.
GRAFT_API void write_idx(const std::string& path, const Tensor& t);

/// MNIST or one of its kin with ten classes: <folder>/{train,t10k}-{images-idx3,labels-idx1}-ubyte, with or without
/// .gz. Images (N, 1, H, W). Throws Error naming the files looked for.
GRAFT_API Dataset load_mnist(const std::string& folder, bool train);

}  // namespace graft::data
