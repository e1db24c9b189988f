// The part of an OpenMP runtime that we call, without the compiler's -fopenmp: so that g++ and clang both run on the one
// runtime that oneDNN has too (cmake/FindOpenMPRuntime.cmake). GOMP_parallel is the documented ABI of GCC's libgomp,
// what g++ makes of `#pragma omp parallel`; LLVM's libomp and Intel's libiomp5 have it as well. <omp.h> is the
// compiler's and not there without its runtime; a source includes that or this.
#pragma once

extern "C" {

/// Calls body(data) on a team of `threads` threads, the caller's among them, and waits for all. 0 threads: as many as
/// omp_get_max_threads. The body must not throw. No flags: 0.
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);

int omp_get_thread_num();
int omp_get_num_threads();
int omp_get_max_threads();
int omp_get_num_procs();
int omp_in_parallel();
void omp_set_num_threads(int count);

}  // extern "C"

namespace graft::detail {
/// Work that is not parallel_for's (oneDNN's) is about to use several of OpenMP's threads.
void note_threads();
}  // namespace graft::detail
