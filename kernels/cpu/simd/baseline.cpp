// The vector kernels for the baseline instruction set (options: ../CMakeLists.txt).
#define GRAFT_ISA baseline
#include <graft/kernels/cpu/simd/all.inc>
