# graft_folder(<name>): one object library for the sources of the current folder, collected into the library `graft`.
function(graft_folder name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/*/*.cpp)
  graft_objects(${name} ${sources})
endfunction()

# graft_objects(<name> <source>...): the same for sources that are named.
function(graft_objects name)
  add_library(graft_${name} OBJECT ${ARGN})
  target_include_directories(graft_${name} PRIVATE ${PROJECT_BINARY_DIR}/include)
  target_link_libraries(graft_${name} PRIVATE graft_options OpenMP::OpenMP_CXX)
  target_sources(graft PRIVATE $<TARGET_OBJECTS:graft_${name}>)
endfunction()

# What the library as a whole needs and offers.
function(graft_finish_library)
  target_include_directories(
    graft PUBLIC $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(graft PUBLIC cxx_std_20)
  target_link_libraries(graft PRIVATE OpenMP::OpenMP_CXX ZLIB::ZLIB Threads::Threads
                                      $<BUILD_INTERFACE:graft_options>)
  if(GRAFT_WITH_ONEDNN)
    target_link_libraries(graft PRIVATE DNNL::dnnl)
  endif()
  if(GRAFT_SANITIZE)
    target_link_options(graft INTERFACE $<BUILD_INTERFACE:-fsanitize=${GRAFT_SANITIZE}>)
  endif()
endfunction()
