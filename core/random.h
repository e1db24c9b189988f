// Counter-based random numbers: what a generator gives depends on its seed and on how many draws came before, never on
// threads.
#pragma once

#include <cstdint>

#include <graft/core/tensor.h>
#include <graft/kernels/api/export.h>
#include <graft/kernels/api/philox.h>

namespace graft {

class GRAFT_API Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : key_{seed, 0} {}

  std::uint64_t seed() const { return key_.seed; }
  std::uint64_t offset() const { return key_.offset; }
  void set_offset(std::uint64_t offset) { key_.offset = offset; }

  /// The key for one op call; each call gets its own. While a StepGraph captures a step (core/step_graph.h) the key
  /// follows the step's counter, so that each replay draws what an eager step would.
  kernels::RandomKey next();
  /// A generator whose numbers have nothing to do with this one's: a function of (seed, stream) only.
  Generator fork(std::uint64_t stream) const;

  /// A number in [0, n), n >= 1, without bias. One draw.
  std::uint64_t below(std::uint64_t n);
  /// A number in [0, 1). One draw.
  double uniform();
  /// A standard normal number. One draw.
  double normal();

 private:
  kernels::RandomKey draw();  // for a number on the host

  kernels::RandomKey key_;
};

/// The generator that layers use for initial weights and dropout when they are given none. One a thread.
GRAFT_API Generator& default_generator();
/// Resets the calling thread's default generator.
GRAFT_API void manual_seed(std::uint64_t seed);

/// The generator lives on the host; the numbers are made on the device, the same ones on each (to the last bits of the
/// logarithm and the cosine of normal numbers).
GRAFT_API Tensor rand(const Shape& shape, Generator& generator = default_generator(), DType dtype = DType::f32,
                      Device device = Device::cpu());
GRAFT_API Tensor randn(const Shape& shape, Generator& generator = default_generator(), DType dtype = DType::f32,
                       Device device = Device::cpu());
/// In place: uniform on [low, high), then rounded to t's dtype, so that high itself can occur (in rand of bf16: 1, once
/// in 512). Initialisers: a leaf that requires grad may be filled, a tensor inside the graph not.
GRAFT_API void uniform_(Tensor& t, double low, double high, Generator& generator = default_generator());
GRAFT_API void normal_(Tensor& t, double mean, double deviation, Generator& generator = default_generator());
/// A permutation of 0..n-1 as i64 (Fisher-Yates, on the host).
GRAFT_API Tensor randperm(std::int64_t n, Generator& generator = default_generator(), Device device = Device::cpu());

}  // namespace graft
