# cmake --install and the target uninstall; find_package(graft) and pkg-config for those who link the library; cpack.
include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/graft)
set(header_roots graft.h)
if(TARGET graft_vendor)
  list(APPEND header_roots kernels/vendor/vendor.h)
endif()

# graft_package_libraries(<variable>): the libraries that a static graft needs, as arguments of a linker.
function(graft_package_libraries variable)
  set(paths ${ZLIB_LIBRARIES})
  if(GRAFT_WITH_ONEDNN)
    list(APPEND paths ${OneDNN_LIBRARY})
  endif()
  if(GRAFT_WITH_CUDA AND GRAFT_DEVICE STREQUAL "real")
    list(APPEND paths ${GRAFT_CUDART_STATIC})
  endif()
  list(APPEND paths ${OpenMPRuntime_LIBRARY})
  set(folders)
  set(names)
  foreach(path ${paths})
    get_filename_component(folder ${path} DIRECTORY)
    get_filename_component(name ${path} NAME_WE)
    string(REGEX REPLACE "^lib" "" name ${name})
    if(path MATCHES "/(lib[^/]*\\.so\\.[0-9]+)$")  # a library without the link that compilers look for
      set(name :${CMAKE_MATCH_1})
    endif()
    if(NOT folder IN_LIST CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
      string(REPLACE " " "\\ " folder "${folder}")
      list(APPEND folders -L${folder})
    endif()
    list(APPEND names -l${name})
  endforeach()
  list(APPEND names ${CMAKE_THREAD_LIBS_INIT})
  foreach(library ${CMAKE_DL_LIBS})
    list(APPEND names -l${library})
  endforeach()
  if(GRAFT_WITH_CUDA AND GRAFT_DEVICE STREQUAL "real")
    list(APPEND names -lrt)
  endif()
  list(REMOVE_DUPLICATES folders)
  list(REMOVE_DUPLICATES names)
  list(JOIN folders " " folders)
  list(JOIN names " " names)
  string(STRIP "${folders} ${names}" text)
  set(${variable} ${text} PARENT_SCOPE)
endfunction()

# graft_package_folders(): GRAFT_PC_PREFIX, _LIBDIR and _INCLUDEDIR for pkg-config, found from where the file itself is, so
# that a prefix may be moved.
macro(graft_package_folders)
  set(GRAFT_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
  set(GRAFT_PC_LIBDIR ${CMAKE_INSTALL_LIBDIR})
  set(GRAFT_PC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
  if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
    file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    string(REGEX REPLACE "/$" "" up ${up})
    set(GRAFT_PC_PREFIX "\${pcfiledir}/${up}")
    set(GRAFT_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  endif()
  if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
    set(GRAFT_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
  endif()
endmacro()

# graft_install(<library> <folder> [<argument of install>...]): the package with this library; its files are made in
# <folder>.
function(graft_install library folder)
  get_target_property(type ${library} TYPE)
  set(GRAFT_PACKAGE_STATIC ON)
  if(type STREQUAL "SHARED_LIBRARY")
    set(GRAFT_PACKAGE_STATIC OFF)
  endif()

  # The library carries all of its own objects; what a static one stands on is found again by graft-config.cmake.
  set_target_properties(${library} PROPERTIES EXPORT_NAME graft)
  if(GRAFT_PACKAGE_STATIC AND UNIX AND NOT APPLE)
    # A shared library that a static graft is linked into does not offer it to others, who may have one of their own.
    set(own_type $<TARGET_PROPERTY:TYPE>)
    set(embeds $<OR:$<STREQUAL:${own_type},SHARED_LIBRARY>,$<STREQUAL:${own_type},MODULE_LIBRARY>>)
    target_link_options(${library} INTERFACE $<INSTALL_INTERFACE:$<${embeds}:LINKER:--exclude-libs,libgraft.a>>)
  endif()
  install(TARGETS ${library} EXPORT ${library}-targets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} ${ARGN}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ${ARGN})
  install(EXPORT ${library}-targets NAMESPACE graft:: DESTINATION ${package_folder} ${ARGN})

  # The headers: what a program reaches from the public ones. It is looked up when they are installed, so that no list of
  # them grows old.
  install(CODE "
    set(GRAFT_SOURCE \"${PROJECT_SOURCE_DIR}\")
    set(GRAFT_HEADERS \"${header_roots}\")
    set(GRAFT_HEADERS_DESTINATION \"${CMAKE_INSTALL_INCLUDEDIR}/graft\")
    set(GRAFT_INSTALL_RECORD \"${folder}/installed_to.txt\")
    include(\"${PROJECT_SOURCE_DIR}/cmake/InstallHeaders.cmake\")" ${ARGN})

  # An installation has one library, so that pkg-config's --static changes nothing: what a static one needs it needs always
  # (Libs, not Libs.private), and a shared one asks for nothing.
  set(GRAFT_PC_LIBRARIES)
  if(GRAFT_PACKAGE_STATIC)
    graft_package_libraries(GRAFT_PC_LIBRARIES)
    string(PREPEND GRAFT_PC_LIBRARIES " ")
  endif()
  graft_package_folders()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/graft.pc.in ${folder}/graft.pc @ONLY)
  install(FILES ${folder}/graft.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig ${ARGN})

  set(GRAFT_LINKS_CUDART OFF)
  if(GRAFT_WITH_CUDA AND GRAFT_DEVICE STREQUAL "real")
    set(GRAFT_LINKS_CUDART ON)
  endif()
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/graft-config.cmake.in ${folder}/graft-config.cmake
                                INSTALL_DESTINATION ${package_folder} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
  write_basic_package_version_file(${folder}/graft-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${folder}/graft-config.cmake ${folder}/graft-config-version.cmake DESTINATION ${package_folder} ${ARGN})
  if(GRAFT_PACKAGE_STATIC)
    install(FILES ${PROJECT_SOURCE_DIR}/cmake/FindOneDNN.cmake ${PROJECT_SOURCE_DIR}/cmake/FindOpenMPRuntime.cmake
                  ${PROJECT_SOURCE_DIR}/cmake/GraftFindToolkit.cmake
            DESTINATION ${package_folder} ${ARGN})
  endif()

  set(documents ${CMAKE_INSTALL_DATAROOTDIR}/doc/graft)
  install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${documents} ${ARGN})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs DESTINATION ${documents} ${ARGN} FILES_MATCHING PATTERN "*.md")
endfunction()

graft_install(graft ${PROJECT_BINARY_DIR})
if(TARGET graft_shared_check)  # for tests/package: cmake --install --component shared_check
  graft_install(graft_shared_check ${PROJECT_BINARY_DIR}/shared_check COMPONENT shared_check EXCLUDE_FROM_ALL)
endif()

# graft::vendor is a component of its own: find_package(graft COMPONENTS vendor).
if(TARGET graft_vendor)
  install(TARGETS graft_vendor EXPORT graft-vendor-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT graft-vendor-targets NAMESPACE graft:: DESTINATION ${package_folder})
  get_target_property(type graft_vendor TYPE)
  set(GRAFT_PC_LIBRARIES)  # the shared library graft holds it
  if(type STREQUAL "STATIC_LIBRARY")
    set(GRAFT_PC_LIBRARIES "-lgraft_vendor")
    foreach(library ${CMAKE_DL_LIBS})
      string(APPEND GRAFT_PC_LIBRARIES " -l${library}")
    endforeach()
  endif()
  graft_package_folders()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/graft-vendor.pc.in ${PROJECT_BINARY_DIR}/graft-vendor.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/graft-vendor.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

if(PROJECT_IS_TOP_LEVEL)
  add_custom_target(uninstall COMMAND ${CMAKE_COMMAND} -DRECORD=${PROJECT_BINARY_DIR}/installed_to.txt
                                      -DMANIFEST=${PROJECT_BINARY_DIR}/install_manifest.txt -P ${PROJECT_SOURCE_DIR}/cmake/Uninstall.cmake
                    VERBATIM)
  include(GraftPackage)
endif()
