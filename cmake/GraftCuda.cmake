# Building the kernels with nvcc, without CMake's CUDA language: the flags, the architectures and ptxas's report are ours.

set(GRAFT_CUDA_ARCHITECTURES "80;90a" CACHE STRING "Architectures to build for: real code for each, and PTX of the first")

# graft_nvcc_compile(<variable> <source.cu>...): objects of the sources, with what ptxas said of each kernel in
# <binary dir>/ptxas/<source>.log (the test of register spills reads it).
function(graft_nvcc_compile variable)
  list(GET GRAFT_CUDA_ARCHITECTURES 0 oldest)
  set(generate -gencode arch=compute_${oldest},code=compute_${oldest})
  foreach(architecture ${GRAFT_CUDA_ARCHITECTURES})
    list(APPEND generate -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  # A fifth of the size. CUDA 12.4 and later have the option; drivers of their time unpack it.
  execute_process(COMMAND ${GRAFT_NVCC} --help OUTPUT_VARIABLE help)
  if(help MATCHES "--compress-mode")
    list(APPEND generate --compress-mode=size)
  endif()
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/device ${CMAKE_CURRENT_BINARY_DIR}/ptxas)
  foreach(source ${ARGN})
    get_filename_component(stem ${source} NAME_WE)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/device/${stem}.o)
    set(log ${CMAKE_CURRENT_BINARY_DIR}/ptxas/${stem}.log)
    add_custom_command(
      OUTPUT ${object}
      BYPRODUCTS ${log}
      COMMAND ${CMAKE_COMMAND} -E env bash ${PROJECT_SOURCE_DIR}/cmake/nvcc_with_log.sh ${log}
              "$<$<BOOL:${GRAFT_CCACHE}>:${GRAFT_CCACHE}>" ${GRAFT_NVCC}
              -std=c++20 -O3 -lineinfo --expt-relaxed-constexpr -Xcompiler=-fPIC -Xptxas=-v
              "$<$<BOOL:${GRAFT_WERROR}>:-Werror=all-warnings>" ${generate} -I${PROJECT_BINARY_DIR}/include
              -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source}
      DEPFILE ${object}.d
      COMMENT "Building CUDA object ${stem}.o (${GRAFT_CUDA_ARCHITECTURES})"
      COMMAND_EXPAND_LISTS VERBATIM)  # an option that is not wanted is no argument then, not an empty one
    list(APPEND objects ${object})
  endforeach()
  set(${variable} ${objects} PARENT_SCOPE)
endfunction()

# graft_link_nvcc_objects(<target> <custom target that makes them> <object>...)
function(graft_link_nvcc_objects target made_by)
  add_dependencies(${target} ${made_by})
  set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target} PROPERTIES GENERATED TRUE EXTERNAL_OBJECT TRUE)
  target_sources(${target} PRIVATE ${ARGN})
endfunction()

# graft_nvcc_objects(<name> <source.cu>...): the same, linked into graft (and graft_gpu, GraftGpu.cmake).
function(graft_nvcc_objects name)
  graft_nvcc_compile(objects ${ARGN})
  add_custom_target(${name} DEPENDS ${objects})
  foreach(library graft graft_gpu)
    if(TARGET ${library})
      graft_link_nvcc_objects(${library} ${name} ${objects})
    endif()
  endforeach()
  target_link_libraries(graft PRIVATE CUDA::cudart_static)  # static: the only thing needed at run time is the driver
endfunction()
