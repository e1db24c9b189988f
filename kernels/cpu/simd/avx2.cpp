// The vector kernels for the avx2 instruction set (options: ../CMakeLists.txt).
#if defined(__x86_64__)
#define GRAFT_ISA avx2
#include <graft/kernels/cpu/simd/all.inc>
#endif
