# Building the kernels with nvcc, without CMake's CUDA language: the flags (GraftToolkit.cmake), the architectures and ptxas's
# report are ours.

# graft_nvcc_compile(<variable> <source.cu>...): objects of the sources, with what ptxas said of each kernel in
# <binary dir>/ptxas/<source>.log (the test of register spills reads it).
function(graft_nvcc_compile variable)
  graft_nvcc_flags(flags)
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
              ${GRAFT_CUDA_HOST_FLAGS} ${flags} "$<$<BOOL:${GRAFT_WERROR}>:-Werror=all-warnings>" -I${PROJECT_BINARY_DIR}/include
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

# graft_nvcc_objects(<name> <source.cu>...): the same, linked into graft (and graft_gpu, graft_shared_check). No
# program calls what is in them, so that it can always be hidden.
function(graft_nvcc_objects name)
  graft_nvcc_compile(objects ${ARGN})
  add_custom_target(${name} DEPENDS ${objects})
  foreach(library graft graft_gpu graft_shared_check)
    if(TARGET ${library})
      graft_link_nvcc_objects(${library} ${name} ${objects})
    endif()
  endforeach()
endfunction()
