// What the stand-ins for libcublasLt and libcudnn share. They do on the host what NVIDIA documents, in double, over the
// emulated device, and are strict about what a caller must keep to: each library checks sizes, alignments, workspaces
// and the stream's order, so that the rows of kernels/vendor can be tested without a GPU. Written from the libraries'
// documentation, and independent of graft's own kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>

namespace graft::stand_in {

enum class Element { f32, f16, bf16 };

inline std::size_t bytes_of(Element e) { return e == Element::f32 ? 4 : 2; }

inline double load(const void* base, Element e, std::int64_t i) {
  if (e == Element::f32) return static_cast<const float*>(base)[i];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(base)[i];
  if (e == Element::f16) return static_cast<double>(std::bit_cast<_Float16>(bits));
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline void store(void* base, Element e, std::int64_t i, double value) {
  const auto single = static_cast<float>(value);
  if (e == Element::f32) {
    static_cast<float*>(base)[i] = single;
    return;
  }
  std::uint16_t bits;
  if (e == Element::f16) {
    bits = std::bit_cast<std::uint16_t>(static_cast<_Float16>(single));
  } else {
    const auto u = std::bit_cast<std::uint32_t>(single);
    bits = single != single ? 0x7fc0 : static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  static_cast<std::uint16_t*>(base)[i] = bits;
}

/// What a test can ask of a stand-in and tell it. Each library has its own.
struct State {
  std::map<std::string, int> calls;  // by the function's name
  std::map<std::string, int> fail;   // the next so many calls fail
  int slow_candidate = -1;           // takes two milliseconds
  int last_candidate = -1;           // what ran last
};
State& state();

/// Counts a call; true when it is to fail.
inline bool fails(const char* function) {
  ++state().calls[function];
  int& left = state().fail[function];
  if (left == 0) return false;
  --left;
  return true;
}

/// Does the work when the stream gets there, also in a graph.
inline bool queue(cudaStream_t stream, std::function<void()> work) {
  auto* kept = new std::function<void()>(std::move(work));  // a captured graph may run it again: never freed
  static auto* all = new std::map<void*, bool>;             // and reachable
  (*all)[kept] = true;
  return cudaLaunchHostFunc(
             stream, [](void* f) { (*static_cast<std::function<void()>*>(f))(); }, kept) == cudaSuccess;
}

/// Writes all over a workspace, as an engine may.
inline void scribble(void* workspace, std::size_t bytes) {
  if (bytes > 0) std::memset(workspace, 0xEE, bytes);
}

}  // namespace graft::stand_in

// For the tests, by dlsym.
extern "C" {
int stand_in_calls(const char* function);
void stand_in_fail(const char* function, int times);
void stand_in_slow(int candidate);
int stand_in_last_candidate();
}
