# cmake --install, and find_package(graft) for those who link the library.
include(CMakePackageConfigHelpers)

# The library carries all of its own objects; what it stands on is found again by graft-config.cmake.
install(TARGETS graft EXPORT graft-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT graft-targets NAMESPACE graft:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft)

install(FILES ${PROJECT_SOURCE_DIR}/graft.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/graft)
foreach(folder kernels/api kernels/runtime kernels/registry core layers models transfer)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/graft/${folder}/..
          FILES_MATCHING PATTERN "*.h")
endforeach()

# graft::vendor is a component of its own: find_package(graft COMPONENTS vendor).
if(TARGET graft_vendor)
  install(TARGETS graft_vendor EXPORT graft-vendor-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT graft-vendor-targets NAMESPACE graft:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft)
  install(FILES ${PROJECT_SOURCE_DIR}/kernels/vendor/vendor.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/graft/kernels/vendor)
endif()

set(GRAFT_LINKS_CUDART OFF)
if(GRAFT_WITH_CUDA AND GRAFT_DEVICE STREQUAL "real")
  set(GRAFT_LINKS_CUDART ON)
endif()
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/graft-config.cmake.in ${PROJECT_BINARY_DIR}/graft-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/graft-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/graft-config.cmake ${PROJECT_BINARY_DIR}/graft-config-version.cmake
              ${PROJECT_SOURCE_DIR}/cmake/FindOneDNN.cmake ${PROJECT_SOURCE_DIR}/cmake/FindOpenMPRuntime.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/graft)
