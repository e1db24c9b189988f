# Configures the project beside this file anew, as a user of graft would who sets nothing and as one who asks for the CUDA device, and
# looks at what is left.
#   cmake -D SOURCE=<graft> -D BINARY=<folder> -D GENERATOR=<name> -D COMPILER=<c++> -P check.cmake
cmake_minimum_required(VERSION 3.22)
file(REMOVE_RECURSE ${BINARY})
function(check_subproject binary)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env --unset=CMAKE_BUILD_TYPE --unset=CMAKE_EXPORT_COMPILE_COMMANDS ${CMAKE_COMMAND} -S
            ${CMAKE_CURRENT_LIST_DIR} -B ${binary} -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER} -DGRAFT_SOURCE=${SOURCE} ${ARGN}
    RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "the parent project was not configured as it must be (see above): ${ARGN}")
  endif()
  file(STRINGS ${binary}/CMakeCache.txt build_type REGEX "^CMAKE_BUILD_TYPE:")
  if(NOT build_type MATCHES "=$")
    message(SEND_ERROR "the parent has a build type that it never chose: ${build_type}")
  endif()
  if(EXISTS ${binary}/compile_commands.json)
    message(SEND_ERROR "the parent has a compile_commands.json that it never asked for")
  endif()
  file(GLOB_RECURSE unity ${binary}/graft/*unity_*.cxx)
  if(unity)
    message(SEND_ERROR "graft is built in unity files: ${unity}")
  endif()
endfunction()
check_subproject(${BINARY}/plain)
check_subproject(${BINARY}/device -DGRAFT_CUDA=AUTO)
