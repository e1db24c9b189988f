# Finding the CUDA toolkit, for the build and for graft-config.cmake.
#
# On a system with a second toolkit (Debian's, in /usr) FindCUDAToolkit takes from it what the first one lacks, and libraries
# that come first in its search: of two versions nothing fits together.

# graft_one_toolkit(): what belongs to the first include folder that was found. Sets GRAFT_CUDA_INCLUDE, GRAFT_CUDA_HEADERS
# (the version that the headers say: 12.4) and GRAFT_CUDART_STATIC (its libcudart_static.a, or empty), and corrects CUDA::cudart
# and CUDA::cudart_static.
macro(graft_one_toolkit)
  list(GET CUDAToolkit_INCLUDE_DIRS 0 graft_headers)
  set(GRAFT_CUDA_INCLUDE)
  foreach(graft_folder ${CUDAToolkit_INCLUDE_DIRS})  # newer CMakes name CCCL's folder too
    string(FIND "${graft_folder}/" "${graft_headers}/" graft_at)
    if(graft_at EQUAL 0)
      list(APPEND GRAFT_CUDA_INCLUDE ${graft_folder})
    endif()
  endforeach()
  set(GRAFT_CUDA_HEADERS unknown)
  if(EXISTS ${graft_headers}/cuda_runtime_api.h)
    file(STRINGS ${graft_headers}/cuda_runtime_api.h graft_line REGEX "^#define CUDART_VERSION +[0-9]+" LIMIT_COUNT 1)
    if(graft_line MATCHES "([0-9]+)$")
      math(EXPR graft_major "${CMAKE_MATCH_1} / 1000")
      math(EXPR graft_minor "${CMAKE_MATCH_1} % 1000 / 10")
      set(GRAFT_CUDA_HEADERS ${graft_major}.${graft_minor})
    endif()
  endif()
  file(REAL_PATH ${graft_headers} graft_root)
  get_filename_component(graft_root ${graft_root} DIRECTORY)
  if(graft_root MATCHES "/include$")  # of headers in /usr/include/cuda
    get_filename_component(graft_root ${graft_root} DIRECTORY)
  endif()
  foreach(graft_name cudart cudart_static)
    unset(graft_library)
    unset(graft_library CACHE)
    find_library(graft_library ${graft_name} PATHS ${graft_root} PATH_SUFFIXES lib64 lib lib/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu
                 NO_DEFAULT_PATH)
    if(graft_library AND TARGET CUDA::${graft_name})
      get_target_property(graft_found CUDA::${graft_name} IMPORTED_LOCATION)
      file(REAL_PATH ${graft_found} graft_found)
      file(REAL_PATH ${graft_library} graft_real)
      if(NOT graft_found STREQUAL graft_real)
        set_target_properties(CUDA::${graft_name} PROPERTIES IMPORTED_LOCATION ${graft_library})
      endif()
    endif()
  endforeach()
  set(GRAFT_CUDART_STATIC)
  if(graft_library AND TARGET CUDA::cudart_static)
    set(GRAFT_CUDART_STATIC ${graft_library})
  endif()
  unset(graft_library CACHE)
endmacro()

# graft_forget_toolkit(): as on the first configuring, for what FindCUDAToolkit has found once it keeps; but what a project
# found that graft is a part of is that project's.
macro(graft_forget_toolkit)
  set(graft_cached)
  if(NOT GRAFT_TOOLKIT_IS_THEIRS)
    get_cmake_property(graft_cached CACHE_VARIABLES)
  endif()
  foreach(graft_name ${graft_cached})
    if(graft_name MATCHES "^(_cmake_CUDAToolkit_.*|CUDAToolkit_.*|CUDA_CUDART|CUDA_.*_LIBRARY|GRAFT_(NVCC_SAID|CUBLASLT_INCLUDE|CUDNN_INCLUDE))$" AND
       NOT graft_name STREQUAL "CUDAToolkit_ROOT")
      unset(${graft_name} CACHE)
    endif()
  endforeach()
endmacro()

# graft_find_toolkit(): nvcc and what belongs to it. nvcc may be a wrapper that stands elsewhere, or part of a system that has
# the headers in /usr/include: `nvcc -v`, which FindCUDAToolkit runs, knows the folder.
macro(graft_find_toolkit)
  set(GRAFT_TOOLKIT_IS_THEIRS OFF)
  if(CUDAToolkit_FOUND OR CMAKE_CUDA_COMPILER_ID STREQUAL "NVIDIA")
    set(GRAFT_TOOLKIT_IS_THEIRS ON)
  endif()
  if(CMAKE_CUDA_COMPILER_ID STREQUAL "NVIDIA")  # the project has the language CUDA: its toolkit is ours
    set(GRAFT_NVCC ${CMAKE_CUDA_COMPILER} CACHE FILEPATH "nvcc")
  elseif(CUDAToolkit_NVCC_EXECUTABLE)
    set(GRAFT_NVCC ${CUDAToolkit_NVCC_EXECUTABLE} CACHE FILEPATH "nvcc")
  endif()
  find_program(GRAFT_NVCC nvcc HINTS ${CUDAToolkit_ROOT} ENV CUDAToolkit_ROOT ENV CUDA_HOME ENV CUDA_PATH
               PATHS /usr/local/cuda /opt/cuda PATH_SUFFIXES bin)
  if(GRAFT_NVCC)
    # The same path may lead to another toolkit than last time.
    execute_process(COMMAND ${GRAFT_NVCC} -v __graft OUTPUT_VARIABLE graft_said ERROR_VARIABLE graft_said)
    execute_process(COMMAND ${GRAFT_NVCC} --version OUTPUT_VARIABLE graft_version ERROR_QUIET)
    string(REGEX MATCH "#\\$ TOP=[^\r\n]*" graft_top "${graft_said}")
    string(SHA1 graft_key "${GRAFT_NVCC} ${graft_top} ${graft_version}")
    if(DEFINED GRAFT_NVCC_SAID AND NOT GRAFT_NVCC_SAID STREQUAL graft_key)
      graft_forget_toolkit()
    endif()
    set(GRAFT_NVCC_SAID ${graft_key} CACHE INTERNAL "Which toolkit was found last")
    set(CUDAToolkit_NVCC_EXECUTABLE ${GRAFT_NVCC} CACHE FILEPATH "nvcc")
    find_package(CUDAToolkit QUIET)
    if(NOT CUDAToolkit_FOUND)
      # conda's packages have headers and libraries in targets/ alone, which FindCUDAToolkit of older CMakes overlooks.
      if(graft_said MATCHES "#\\$ TOP=([^\r\n]*)")
        set(GRAFT_CUDA_ROOT ${CMAKE_MATCH_1})
      else()
        get_filename_component(GRAFT_CUDA_ROOT ${GRAFT_NVCC} DIRECTORY)
        get_filename_component(GRAFT_CUDA_ROOT ${GRAFT_CUDA_ROOT} DIRECTORY)
      endif()
      file(GLOB graft_target ${GRAFT_CUDA_ROOT}/targets/${CMAKE_SYSTEM_PROCESSOR}-linux)
      if(graft_target)
        get_filename_component(CUDAToolkit_TARGET_DIR ${graft_target} ABSOLUTE)
        list(PREPEND CMAKE_PREFIX_PATH ${CUDAToolkit_TARGET_DIR})
        find_package(CUDAToolkit QUIET)
        list(POP_FRONT CMAKE_PREFIX_PATH)
      endif()
    endif()
  endif()
  if(CUDAToolkit_FOUND)
    graft_one_toolkit()
  endif()
endmacro()
