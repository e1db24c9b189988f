# Finding the CUDA toolkit, for the build and for graft-config.cmake.
#
# graft_find_toolkit(): nvcc and what belongs to it. nvcc may be a wrapper that stands elsewhere, or part of a system that has
# the headers in /usr/include: `nvcc -v`, which FindCUDAToolkit runs, knows the folder.
macro(graft_find_toolkit)
  find_program(GRAFT_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda /opt/cuda PATH_SUFFIXES bin)
  if(GRAFT_NVCC)
    set(CUDAToolkit_NVCC_EXECUTABLE ${GRAFT_NVCC} CACHE FILEPATH "nvcc")
    find_package(CUDAToolkit QUIET)
    if(NOT CUDAToolkit_FOUND)
      # conda's packages have headers and libraries in targets/ alone, which FindCUDAToolkit of older CMakes overlooks.
      execute_process(COMMAND ${GRAFT_NVCC} -v __graft OUTPUT_VARIABLE said ERROR_VARIABLE said)
      if(said MATCHES "#\\$ TOP=([^\r\n]*)")
        set(GRAFT_CUDA_ROOT ${CMAKE_MATCH_1})
      else()
        get_filename_component(GRAFT_CUDA_ROOT ${GRAFT_NVCC} DIRECTORY)
        get_filename_component(GRAFT_CUDA_ROOT ${GRAFT_CUDA_ROOT} DIRECTORY)
      endif()
      file(GLOB target ${GRAFT_CUDA_ROOT}/targets/${CMAKE_SYSTEM_PROCESSOR}-linux)
      if(target)
        get_filename_component(CUDAToolkit_TARGET_DIR ${target} ABSOLUTE)
        list(PREPEND CMAKE_PREFIX_PATH ${CUDAToolkit_TARGET_DIR})
        find_package(CUDAToolkit QUIET)
        list(POP_FRONT CMAKE_PREFIX_PATH)
      endif()
    endif()
  endif()
endmacro()
