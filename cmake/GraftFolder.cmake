# graft_folder(<name>): one object library for the sources of the current folder, collected into the library `graft`.
function(graft_folder name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/*/*.cpp)
  graft_objects(${name} ${sources})
endfunction()

# graft_objects(<name> <source>...): the same for sources that are named.
function(graft_objects name)
  add_library(graft_${name} OBJECT ${ARGN})
  target_include_directories(graft_${name} PRIVATE ${PROJECT_BINARY_DIR}/include)
  target_link_libraries(graft_${name} PRIVATE graft_options)
  graft_hide(graft_${name})
  foreach(library graft graft_emulated graft_shared_check)
    if(TARGET ${library})
      target_sources(${library} PRIVATE $<TARGET_OBJECTS:graft_${name}>)
    endif()
  endforeach()
  if(TARGET graft_gpu AND NOT name MATCHES "^kernels_(cpu|registry)$")  # kernels/registry makes its own
    target_sources(graft_gpu PRIVATE $<TARGET_OBJECTS:graft_${name}>)
  endif()
endfunction()

# What a library as a whole needs and offers: graft; graft_emulated, the same objects over the emulator; graft_gpu
# (GraftGpu.cmake); graft_shared_check (GraftVisibility.cmake). Only who links a static library needs what it stands on.
function(graft_finish_library library)
  target_include_directories(
    ${library} PUBLIC $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${library} PUBLIC cxx_std_20)
  set(needs OpenMPRuntime::OpenMPRuntime ZLIB::ZLIB Threads::Threads)
  if(GRAFT_WITH_CUDA AND GRAFT_DEVICE STREQUAL "real" AND library MATCHES "^graft(_shared_check)?$")
    list(APPEND needs CUDA::cudart_static)  # static: the only thing needed at run time is the driver
  endif()
  if(GRAFT_WITH_ONEDNN AND NOT library STREQUAL "graft_gpu")
    list(APPEND needs DNNL::dnnl)
    # The tests look at this backend's parts where it is built; installed users see no such definition.
    target_compile_definitions(${library} INTERFACE $<BUILD_INTERFACE:GRAFT_WITH_ONEDNN>)
  endif()
  if(GRAFT_WITH_CUDA)
    target_compile_definitions(${library} INTERFACE $<BUILD_INTERFACE:GRAFT_WITH_CUDA>)
  endif()
  get_target_property(type ${library} TYPE)
  if(type STREQUAL "SHARED_LIBRARY")
    list(TRANSFORM needs REPLACE "(.+)" "$<BUILD_INTERFACE:\\1>")
    if(NOT library STREQUAL "graft_gpu")
      graft_shared_library(${library})
    endif()
  endif()
  target_link_libraries(${library} PRIVATE ${needs} $<BUILD_INTERFACE:graft_options>)
  if(GRAFT_SANITIZE)
    target_link_options(${library} INTERFACE $<BUILD_INTERFACE:-fsanitize=${GRAFT_SANITIZE}>)
  endif()
endfunction()
