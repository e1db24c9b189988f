# The programs that scripts/gpu_pack carries to a machine with a GPU: device tests, benchmarks and the demo, linked with one
# shared library over the real device, in <binary dir>/gpu/{bin,lib}. They are made of the objects that the library and the
# tests are made of anyway, so that they cost link time only.
#
# oneDNN stays behind: its library is larger than all the rest together, and on such a machine the device does the work.
# libcudart is shared here, since kernels of the tests and kernels of the library must be registered with the same runtime.

set(GRAFT_GPU_PROGRAMS OFF CACHE STRING "Make the programs that scripts/gpu_pack carries to a GPU: AUTO (where nvcc is), ON or OFF")

set(wanted ${GRAFT_GPU_PROGRAMS})
if(NOT GRAFT_WITH_CUDA OR NOT GRAFT_DEVICE STREQUAL "real" OR NOT GRAFT_BUILD_TESTS OR NOT GRAFT_BUILD_BENCH OR NOT GRAFT_BUILD_APPS)
  if(wanted AND NOT wanted STREQUAL "AUTO")
    message(FATAL_ERROR "graft: GRAFT_GPU_PROGRAMS=${wanted} needs nvcc (set CUDA_HOME), GRAFT_DEVICE=real, and tests, benchmarks and "
                        "applications (GRAFT_BUILD_TESTS, GRAFT_BUILD_BENCH, GRAFT_BUILD_APPS)")
  endif()
  set(wanted OFF)
endif()
if(wanted)
  add_library(graft_gpu SHARED EXCLUDE_FROM_ALL)
  set_target_properties(graft_gpu PROPERTIES OUTPUT_NAME graft LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/gpu/lib)
  target_link_libraries(graft_gpu PRIVATE CUDA::cudart)
  add_custom_target(gpu_programs ALL)
endif()

# graft_gpu_program(<name> <source or object>...): one of them; nothing where they are not wanted.
function(graft_gpu_program name)
  if(NOT TARGET graft_gpu)
    return()
  endif()
  add_executable(${name}_gpu EXCLUDE_FROM_ALL ${ARGN})
  set_target_properties(${name}_gpu PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/gpu/bin
                                               BUILD_RPATH_USE_ORIGIN ON)
  target_link_libraries(${name}_gpu PRIVATE graft_gpu graft_options)
  add_dependencies(gpu_programs ${name}_gpu)
endfunction()
