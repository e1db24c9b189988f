# The memory and race checker of the SIMT emulator (kernels/simt/checker.h).
#
# The compiler puts a call before every access of a kernel and a test of every pointer's alignment; what they call is
# kernels/simt/hooks.cpp, so nothing of this appears when linking. -g1 gives reports their lines.

set(GRAFT_SIMT_CHECK_DEFAULT ON)
if(GRAFT_SANITIZE)
  set(GRAFT_SIMT_CHECK_DEFAULT OFF)  # the host's sanitizers take their place
endif()
# Below version 16 clang's copies of structs call memcpy itself, which nothing can check.
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND NOT GRAFT_SANITIZE AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
  set(GRAFT_SIMT_CHECK_DEFAULT OFF)
  if(NOT DEFINED GRAFT_SIMT_CHECK AND (GRAFT_EMULATED_LIBRARY OR GRAFT_WITH_CUDA))
    message(STATUS "graft: emulated kernels are not checked: the checker needs g++, or clang 16 or newer")
  endif()
endif()
option(GRAFT_SIMT_CHECK "Check every memory access of emulated kernels, and look for races" ${GRAFT_SIMT_CHECK_DEFAULT})

set(GRAFT_SIMT_INSTRUMENT)
if(GRAFT_SIMT_CHECK)
  if(GRAFT_SANITIZE)
    message(FATAL_ERROR "graft: GRAFT_SIMT_CHECK and GRAFT_SANITIZE exclude one another: both want the compiler's hooks")
  endif()
  set(GRAFT_SIMT_INSTRUMENT -fsanitize=thread -fsanitize=alignment -fsanitize-recover=alignment -g1)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND GRAFT_SIMT_INSTRUMENT --param=tsan-instrument-func-entry-exit=0)
  elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # clang instruments after it has optimised, and leaves out a read that a write to the same place follows: which may be
    # of memory that nobody wrote. Vectors would make one access of several.
    # addr2line of binutils 2.40 finds no inlined functions in clang's DWARF 5.
    list(APPEND GRAFT_SIMT_INSTRUMENT -gdwarf-4 "SHELL:-mllvm -tsan-instrument-func-entry-exit=0"
         "SHELL:-mllvm -tsan-instrument-read-before-write=1" -fno-vectorize -fno-slp-vectorize)
  endif()
endif()

# Without the instruction each fma in the innermost loops of the products is a call. Emulated kernels run where they are built.
# Contraction stays off: the same bits with and without.
include(CheckCXXSourceRuns)
set(GRAFT_SIMT_ARCHITECTURE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64" AND NOT CMAKE_CROSSCOMPILING)
  set(flags ${CMAKE_REQUIRED_FLAGS})
  string(APPEND CMAKE_REQUIRED_FLAGS " -mfma -O1")
  check_cxx_source_runs("#include <cmath>
                         int main(int n, char**) { return std::fma(double(n), 2.0, -2.0 * n) != 0; }" GRAFT_RUNS_FMA)
  set(CMAKE_REQUIRED_FLAGS ${flags})
  if(GRAFT_RUNS_FMA)
    set(GRAFT_SIMT_ARCHITECTURE -mfma -ffp-contract=off)
  endif()
endif()

# graft_emulated_kernels(<target>): its sources hold kernels, in a .cu file or of their own, for the emulator.
function(graft_emulated_kernels target)
  set_target_properties(${target} PROPERTIES GRAFT_HOLDS_KERNELS ON)
  target_include_directories(${target} BEFORE PRIVATE ${PROJECT_SOURCE_DIR}/kernels/simt/include ${PROJECT_BINARY_DIR}/include)
  target_include_directories(${target} SYSTEM PRIVATE ${GRAFT_CUDA_INCLUDE})
  target_compile_options(${target} PRIVATE -Wno-unknown-pragmas -Wno-psabi -fno-strict-aliasing ${GRAFT_SIMT_ARCHITECTURE}
                                           ${GRAFT_SIMT_INSTRUMENT})
endfunction()
