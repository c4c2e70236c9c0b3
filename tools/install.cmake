# What `cmake --install` puts where: the tools, the libraries, their headers, and what other builds
# need to find them: a CMake package `tkc` with tkc::tkc, tkc::kernels, and the launch half alone as
# tkc::rt (shared) and tkc::rt_static; tkc.pc, tkcrt.pc.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The layers in one archive: users link libtkc and need not know what it is made of.
add_library(tkc_bundle STATIC $<TARGET_OBJECTS:tkc_compiler> $<TARGET_OBJECTS:tkc_lang>
                              $<TARGET_OBJECTS:tkc_emu> $<TARGET_OBJECTS:tkc_runtime>)
target_link_libraries(tkc_bundle INTERFACE Threads::Threads m ${CMAKE_DL_LIBS})
if(TARGET tkc_cpu)
  target_sources(tkc_bundle PRIVATE $<TARGET_OBJECTS:tkc_cpu>)
endif()
# What the emitter needs of LLVM, our own targets left out.
set(llvm_flags "")
if(TARGET tkc_gpu)
  target_sources(tkc_bundle PRIVATE $<TARGET_OBJECTS:tkc_gpu>)
  get_target_property(llvm_link tkc_gpu INTERFACE_LINK_LIBRARIES)
  get_target_property(llvm_folders tkc_gpu INTERFACE_LINK_DIRECTORIES)
  list(FILTER llvm_link EXCLUDE REGEX "^tkc_|::")
  target_link_libraries(tkc_bundle INTERFACE ${llvm_link})
  target_link_directories(tkc_bundle INTERFACE ${llvm_folders})
  foreach(folder ${llvm_folders})
    string(APPEND llvm_flags " -L${folder} -Wl,-rpath,${folder}")
  endforeach()
  foreach(library ${llvm_link})
    if(library MATCHES "^[-/]")
      string(APPEND llvm_flags " ${library}")
    else()
      string(APPEND llvm_flags " -l${library}")
    endif()
  endforeach()
endif()
target_include_directories(tkc_bundle INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(tkc_bundle PROPERTIES OUTPUT_NAME tkc EXPORT_NAME tkc
                      ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/bundle LINKER_LANGUAGE C)

add_library(tkc_kernels_bundle STATIC $<TARGET_OBJECTS:tkc_kernels>)
target_link_libraries(tkc_kernels_bundle INTERFACE tkc_bundle)
set_target_properties(tkc_kernels_bundle PROPERTIES OUTPUT_NAME tkc_kernels EXPORT_NAME kernels
                      ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/bundle LINKER_LANGUAGE C)

add_library(tkcrt_bundle STATIC $<TARGET_OBJECTS:tkcrt_static>)
target_link_libraries(tkcrt_bundle INTERFACE Threads::Threads m ${CMAKE_DL_LIBS})
target_include_directories(tkcrt_bundle INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(tkcrt_bundle PROPERTIES OUTPUT_NAME tkcrt EXPORT_NAME rt_static
                      ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/bundle LINKER_LANGUAGE C)
target_include_directories(tkcrt_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(tkcrt_shared PROPERTIES EXPORT_NAME rt)

# Installed headers lie in one folder: kernels/NAME.h is tkc_NAME.h there, and they include each
# other by those names. Those that kernels.h includes are public.
set(kernel_headers ${CMAKE_SOURCE_DIR}/kernels/kernels.h)
file(STRINGS ${CMAKE_SOURCE_DIR}/kernels/kernels.h lines REGEX "^#include \"kernels/")
foreach(line ${lines})
  string(REGEX REPLACE ".*\"(.*)\".*" "${CMAKE_SOURCE_DIR}/\\1" header "${line}")
  list(APPEND kernel_headers ${header})
endforeach()
set(installed_headers ${CMAKE_SOURCE_DIR}/runtime/tkc.h)
set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
             ${kernel_headers})
foreach(header ${kernel_headers})
  get_filename_component(name ${header} NAME)
  file(READ ${header} text)
  string(REPLACE "#include \"runtime/tkc.h\"" "#include <tkc.h>" text "${text}")
  string(REGEX REPLACE "#include \"kernels/([a-z_]+\\.h)\"" "#include <tkc_\\1>" text "${text}")
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/include/tkc_${name} CONTENT "${text}" @ONLY)
  list(APPEND installed_headers ${CMAKE_BINARY_DIR}/include/tkc_${name})
endforeach()

# tkc.pc finds the prefix from where it lies, so that the tree can be installed anywhere.
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_SOURCE_DIR}/tools/tkc.pc.in ${CMAKE_BINARY_DIR}/tkc.pc @ONLY)
configure_file(${CMAKE_SOURCE_DIR}/tools/tkcrt.pc.in ${CMAKE_BINARY_DIR}/tkcrt.pc @ONLY)
configure_package_config_file(
  ${CMAKE_SOURCE_DIR}/tools/tkcConfig.cmake.in ${CMAKE_BINARY_DIR}/tkcConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tkc)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/tkcConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)

install(TARGETS tkc tkbench)
install(TARGETS tkc_bundle tkc_kernels_bundle tkcrt_bundle tkcrt_shared EXPORT tkcTargets)
install(FILES ${installed_headers} TYPE INCLUDE)
install(EXPORT tkcTargets NAMESPACE tkc:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tkc)
install(FILES ${CMAKE_BINARY_DIR}/tkcConfig.cmake ${CMAKE_BINARY_DIR}/tkcConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tkc)
install(FILES ${CMAKE_BINARY_DIR}/tkc.pc ${CMAKE_BINARY_DIR}/tkcrt.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
