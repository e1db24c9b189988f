# Language level, warnings, sanitizers and ccache for the targets of this project. As a subproject it changes nothing of its
# parent's (tests/subproject): variables without CACHE end with this folder, and what is left is a target of ours or is set
# for a top-level project alone.
include(CheckCXXSourceCompiles)

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)  # there are none, and each file would be read once more
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# Sources may have helpers of one name in unnamed namespaces, and the files of an instruction set must stay apart.
set(CMAKE_UNITY_BUILD OFF)
if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  find_program(GRAFT_CCACHE ccache)
endif()
if(GRAFT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${GRAFT_CCACHE})
endif()

add_library(graft_options INTERFACE)
target_compile_options(graft_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wunused
                                               $<$<BOOL:${GRAFT_WERROR}>:-Werror>)
# clang warns of what libstdc++ 12 itself uses in std::stable_sort. Nothing of ours is deprecated.
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  set(flags ${CMAKE_REQUIRED_FLAGS})
  string(APPEND CMAKE_REQUIRED_FLAGS " -Werror=deprecated-declarations")
  check_cxx_source_compiles("#include <algorithm>
                             int main() { int x[2] = {1, 0}; std::stable_sort(x, x + 2); }" GRAFT_STABLE_SORT_IS_NOT_DEPRECATED)
  set(CMAKE_REQUIRED_FLAGS ${flags})
  if(NOT GRAFT_STABLE_SORT_IS_NOT_DEPRECATED)
    target_compile_options(graft_options INTERFACE -Wno-deprecated-declarations)
  endif()
endif()
if(GRAFT_SANITIZE)
  # Instrumented code at -O2 takes g++ two to five times as long to compile, and runs little faster.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1 -DNDEBUG")
  target_compile_options(graft_options INTERFACE -fsanitize=${GRAFT_SANITIZE} -fno-sanitize-recover=undefined
                                                 -fno-omit-frame-pointer)
  target_link_options(graft_options INTERFACE -fsanitize=${GRAFT_SANITIZE})
endif()
