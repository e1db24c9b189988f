# cpack: a Debian package of what is installed. Configured with the preset install and CMAKE_INSTALL_PREFIX=/usr, so that the
# library goes to Debian's folder for this architecture.
#
# It is one package, the shared library with its headers: as long as every minor version has a library of its own name that
# only programs built against it use, a second package for the library alone would serve nobody.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME graft-dev)
set(CPACK_PACKAGE_CONTACT "The Graft authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "g++")
if(BUILD_SHARED_LIBS)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # what the library is linked with; its users link nothing but it
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
else()
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "zlib1g-dev")
  if(GRAFT_WITH_ONEDNN)
    string(APPEND CPACK_DEBIAN_PACKAGE_DEPENDS ", libdnnl-dev")
  endif()
endif()
# Where Debian looks for a package's licence.
file(WRITE ${PROJECT_BINARY_DIR}/debian_copyright.cmake
     "configure_file(\"${PROJECT_SOURCE_DIR}/LICENSE\"
  \"\${CPACK_TEMPORARY_INSTALL_DIRECTORY}\${CPACK_PACKAGING_INSTALL_PREFIX}/share/doc/\${CPACK_PACKAGE_NAME}/copyright\" COPYONLY)\n")
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_BINARY_DIR}/debian_copyright.cmake)
include(CPack)
