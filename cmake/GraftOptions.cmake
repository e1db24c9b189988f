# Language level, warnings, sanitizers and ccache for the targets of this project.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)  # there are none, and each file would be read once more
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(GRAFT_CCACHE ccache)
if(GRAFT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${GRAFT_CCACHE})
endif()

add_library(graft_options INTERFACE)
target_compile_options(graft_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wunused
                                               $<$<BOOL:${GRAFT_WERROR}>:-Werror>)
if(GRAFT_SANITIZE)
  # Instrumented code at -O2 takes g++ two to five times as long to compile, and runs little faster.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1 -DNDEBUG")
  target_compile_options(graft_options INTERFACE -fsanitize=${GRAFT_SANITIZE} -fno-sanitize-recover=undefined
                                                 -fno-omit-frame-pointer)
  target_link_options(graft_options INTERFACE -fsanitize=${GRAFT_SANITIZE})
endif()
