# The libraries that graft stands on.

find_package(ZLIB REQUIRED)
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)

option(GRAFT_REQUIRE_ONEDNN "Stop where oneDNN is not usable, rather than build with the slow reference backend alone" OFF)
find_package(OneDNN 2.6 QUIET)
if(OneDNN_FOUND)
  set(GRAFT_WITH_ONEDNN ON)
  set(GRAFT_CPU_SUMMARY "oneDNN ${OneDNN_VERSION} and vector kernels")
else()
  if(GRAFT_REQUIRE_ONEDNN)
    message(FATAL_ERROR "graft: GRAFT_REQUIRE_ONEDNN, but oneDNN 2.6 or newer was not found (Debian: libdnnl-dev)")
  endif()
  set(GRAFT_WITH_ONEDNN OFF)
  set(GRAFT_CPU_SUMMARY "the slow reference backend only: oneDNN 2.6 or newer was not found (Debian: libdnnl-dev)")
endif()
find_package(OpenMPRuntime REQUIRED)  # after oneDNN: its runtime is ours
message(STATUS "graft: OpenMP runtime: ${OpenMPRuntime_LIBRARY}")
if(OpenMPRuntime_OF_ONEDNN AND NOT OpenMPRuntime_LIBRARY MATCHES "/${OpenMPRuntime_OF_ONEDNN}$")
  message(WARNING "graft: oneDNN is linked with ${OpenMPRuntime_OF_ONEDNN}: programs will have two OpenMP runtimes, whose threads get in each other's way")
endif()

include(GraftToolkit)
if(GRAFT_WITH_CUDA AND (GRAFT_DEVICE STREQUAL "emulated" OR GRAFT_BUILD_TESTS))
  find_package(Boost 1.74 REQUIRED CONFIG COMPONENTS context)  # the emulator's fibers
endif()
include(GraftVendor)

# What is in this build, and why the rest is not: said here, and kept for scripts/test, whose last lines repeat it.
set(lines "CPU: ${GRAFT_CPU_SUMMARY}" "CUDA device: ${GRAFT_CUDA_SUMMARY}" "graft::vendor: ${GRAFT_VENDOR_SUMMARY}")
foreach(line IN LISTS lines)
  message(STATUS "graft: ${line}")
endforeach()
list(JOIN lines "\n" lines)
file(WRITE ${PROJECT_BINARY_DIR}/graft-summary.txt "${lines}\n")
