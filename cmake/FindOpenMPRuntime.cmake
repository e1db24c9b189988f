# The OpenMP runtime as a library alone: the target OpenMPRuntime::OpenMPRuntime, and OpenMPRuntime_LIBRARY.
#
# The compiler's -fopenmp is not asked, because clang's brings a runtime of its own (libomp) into a process where oneDNN
# has GCC's (libgomp): two sets of threads on the same cores, and two answers to "how many". Our loops call the functions
# that the compiler would have called (kernels/runtime/openmp.h); every runtime has them. Taken is the runtime that oneDNN
# is linked with, else GCC's, else LLVM's, else Intel's. -DOpenMPRuntime_LIBRARY=FILE takes another.

set(_openmp_names libgomp.so.1 gomp omp libomp.so.5 iomp5)
set(OpenMPRuntime_OF_ONEDNN)
if(OneDNN_LIBRARY AND CMAKE_OBJDUMP)
  execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${OneDNN_LIBRARY} OUTPUT_VARIABLE _openmp_needed ERROR_QUIET)
  if(_openmp_needed MATCHES "NEEDED +(lib(gomp|i?omp)[^\n ]*)")
    set(OpenMPRuntime_OF_ONEDNN ${CMAKE_MATCH_1})
    list(PREPEND _openmp_names ${OpenMPRuntime_OF_ONEDNN})
  endif()
  get_filename_component(_openmp_hint ${OneDNN_LIBRARY} DIRECTORY)
endif()
find_library(OpenMPRuntime_LIBRARY NAMES ${_openmp_names} NAMES_PER_DIR HINTS ${_openmp_hint}
             PATHS ${CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES})
mark_as_advanced(OpenMPRuntime_LIBRARY)

if(OpenMPRuntime_LIBRARY)
  if(NOT OpenMPRuntime_CHECKED STREQUAL OpenMPRuntime_LIBRARY)
    unset(OpenMPRuntime_LINKS CACHE)
    set(OpenMPRuntime_CHECKED ${OpenMPRuntime_LIBRARY} CACHE INTERNAL "The library that OpenMPRuntime_LINKS is about")
  endif()
  include(CheckCXXSourceCompiles)
  set(_openmp_libraries ${CMAKE_REQUIRED_LIBRARIES})
  set(CMAKE_REQUIRED_LIBRARIES ${OpenMPRuntime_LIBRARY})
  check_cxx_source_compiles(
    "extern \"C\" void GOMP_parallel(void (*)(void*), void*, unsigned, unsigned);
     extern \"C\" int omp_get_max_threads();
     void body(void*) {}
     int main() { GOMP_parallel(body, nullptr, omp_get_max_threads(), 0); }" OpenMPRuntime_LINKS)
  set(CMAKE_REQUIRED_LIBRARIES ${_openmp_libraries})
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  OpenMPRuntime REQUIRED_VARS OpenMPRuntime_LIBRARY OpenMPRuntime_LINKS
  REASON_FAILURE_MESSAGE "needed is libgomp (Debian: libgomp1), libomp or libiomp5, with GOMP_parallel")

if(OpenMPRuntime_FOUND AND NOT TARGET OpenMPRuntime::OpenMPRuntime)
  add_library(OpenMPRuntime::OpenMPRuntime UNKNOWN IMPORTED)
  set_target_properties(OpenMPRuntime::OpenMPRuntime PROPERTIES IMPORTED_LOCATION ${OpenMPRuntime_LIBRARY})
endif()
