#include <cstdlib>
#include <string_view>

#include <graft/kernels/api/error.h>
#include <graft/kernels/cpu/simd/kernels.h>

namespace graft::kernels::cpu {
namespace {

#if defined(__x86_64__)
// x86-64-v3 and -v4 as the psABI defines them; the compiler may use any part of a level.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

const VectorKernels& choose() {
  const char* asked = std::getenv("GRAFT_CPU_ISA");
  const std::string_view isa = asked == nullptr ? "" : asked;
  if (isa == "baseline") return baseline::kernels;
#if defined(__x86_64__)
  if (isa == "avx2") {
    check(has_avx2(), "GRAFT_CPU_ISA=avx2: this processor has no AVX2 with FMA and BMI; use baseline");
    return avx2::kernels;
  }
  if (isa == "avx512") {
    check(has_avx512(),
          "GRAFT_CPU_ISA=avx512: this processor has no AVX-512 F, BW, CD, DQ and VL; use avx2 or baseline");
    return avx512::kernels;
  }
  check(isa.empty(), "GRAFT_CPU_ISA=", isa, ": expected baseline, avx2 or avx512");
  if (has_avx512()) return avx512::kernels;
  if (has_avx2()) return avx2::kernels;
#else
  check(isa.empty(), "GRAFT_CPU_ISA=", isa, ": this processor has only baseline");
#endif
  return baseline::kernels;
}

}  // namespace

const VectorKernels& vector_kernels() {
  static const VectorKernels& chosen = choose();
  return chosen;
}

}  // namespace graft::kernels::cpu
