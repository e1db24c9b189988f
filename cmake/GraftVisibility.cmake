# What a shared library graft exports: GRAFT_API of kernels/api/export.h, and nothing else.
#
# The library's objects are compiled with hidden visibility also where the library is static. There it decides nothing, so
# tests reach the library's parts; and the shared library that the tests look at (graft_shared_check) costs link time only.

set(GRAFT_EXPORT_INTERNALS_DEFAULT OFF)
if(BUILD_SHARED_LIBS AND (GRAFT_BUILD_TESTS OR GRAFT_BUILD_BENCH OR GRAFT_BUILD_APPS))
  set(GRAFT_EXPORT_INTERNALS_DEFAULT ON)  # our own programs call what others cannot
endif()
option(GRAFT_EXPORT_INTERNALS "Export everything from a shared library, not the API alone" ${GRAFT_EXPORT_INTERNALS_DEFAULT})
if(GRAFT_EXPORT_INTERNALS_DEFAULT AND NOT GRAFT_EXPORT_INTERNALS)
  message(FATAL_ERROR "graft: tests, benchmarks and applications over a shared library need GRAFT_EXPORT_INTERNALS=ON; or build it "
                      "without them (GRAFT_BUILD_TESTS, GRAFT_BUILD_BENCH, GRAFT_BUILD_APPS)")
endif()

if(TARGET graft_gpu)  # the same objects, whose tests call what programs cannot
  set(GRAFT_EXPORT_INTERNALS ON)
endif()

# graft_hide(<target>): its objects.
function(graft_hide target)
  if(NOT GRAFT_EXPORT_INTERNALS)
    set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  endif()
endfunction()

# graft_shared_library(<library>): name, version and exports of a shared library graft that programs link.
function(graft_shared_library library)
  # Before 1.0 a new minor version may change anything, so that it is part of the name that programs ask the loader for;
  # patches keep it.
  set_target_properties(${library} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  if(NOT GRAFT_EXPORT_INTERNALS AND UNIX AND NOT APPLE)
    # What visibility does not reach: instances of the standard library's templates, and archives (cudart).
    target_link_options(${library} PRIVATE LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/graft.map)
    set_property(TARGET ${library} APPEND PROPERTY LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/graft.map)
  endif()
endfunction()

# The shared library of the objects of a static build: tests/package installs and links it.
set(GRAFT_SHARED_CHECK OFF)
if(GRAFT_BUILD_TESTS AND GRAFT_INSTALL AND NOT GRAFT_SANITIZE AND UNIX AND NOT APPLE)
  if(BUILD_SHARED_LIBS OR GRAFT_EXPORT_INTERNALS OR (GRAFT_WITH_CUDA AND NOT GRAFT_DEVICE STREQUAL "real"))
    message(STATUS "graft: the exports of the shared library are not tested in this build (they are in one without BUILD_SHARED_LIBS, "
                   "GRAFT_EXPORT_INTERNALS, GRAFT_GPU_PROGRAMS and GRAFT_DEVICE=emulated)")
  else()
    set(GRAFT_SHARED_CHECK ON)
    add_library(graft_shared_check SHARED)
    set_target_properties(graft_shared_check PROPERTIES OUTPUT_NAME graft LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/shared_check)
  endif()
endif()
