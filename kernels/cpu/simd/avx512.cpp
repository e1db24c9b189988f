// The vector kernels for the avx512 instruction set (options: ../CMakeLists.txt).
#if defined(__x86_64__)
#define GRAFT_ISA avx512
#include <graft/kernels/cpu/simd/all.inc>
#endif
