// graft::vendor: NVIDIA's libraries, cuBLASLt and cuDNN, as a backend of the CUDA device. A library of its own.
//
// It is the baseline that our kernels are measured against, and an optional backend; nothing needs it. The libraries
// are opened when enable() is called and not before: a program that links graft::vendor starts on machines without
// them.
#pragma once

#include <cstdint>

#include <graft/kernels/api/export.h>
#include <graft/kernels/api/support.h>

namespace graft::vendor {

/// Which of the libraries' engines may be chosen. Float accumulation is promised by both, and f32 never goes through
/// TF32 or a lower precision.
enum class Engines : std::uint8_t {
  /// Direct sums that give the same bits again: what our own kernels promise, and what the tests compare.
  strict,
  /// Also Winograd and Fourier transforms, additions in no fixed order, batch norm kernels that restrict the range of
  /// the data, and ReLU in cuBLASLt's epilogue, which may lose a NaN: the fastest that the libraries have, for
  /// benchmarks.
  fastest,
};

struct GRAFT_API Options {
  Engines engines = Engines::strict;
};

/// Opens the libraries and makes the backend known to the registry: yes, or the reason why not (no usable GPU, a
/// library that is missing or too old, with its name and where it was looked for). From then on
///
///   kernels::BackendScope scope(kernels::BackendId::vendor);
///
/// runs the calling thread's ops on it; without a scope it is never asked. It serves f32, bf16 and f16: matmul, conv2d
/// and its gradients, softmax, pooling and batch norm, where the libraries' semantics are those of kernels/api; else
/// the op is refused with the reason. A shape's first call tries several engines and times them (a graph that is being
/// captured takes the first one untimed): run a step once before it is captured or measured.
///
/// Thread-safe; may be called again, with other options too. The libraries are looked for in the folder that
/// GRAFT_VENDOR_LIBRARIES names if it is set, else where the system's loader looks, else in the CUDA toolkit and
/// the cuDNN that this library was built with.
GRAFT_API kernels::Support enable(const Options& options = {});

}  // namespace graft::vendor
