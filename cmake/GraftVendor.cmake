# graft::vendor, cuBLASLt and cuDNN as a backend: a library of its own, which opens theirs at run time. Their headers are
# enough to build it. Where the toolkit has none, NVIDIA's wheels on PyPI (nvidia-cublas, nvidia-cudnn-cu13; PyTorch brings
# them) carry headers and libraries: in a Python environment that is active, or in a folder that GRAFT_VENDOR_ROOT names.
#
# Sets GRAFT_WITH_VENDOR, GRAFT_CUBLASLT_INCLUDE, GRAFT_CUDNN_INCLUDE and GRAFT_VENDOR_FOLDERS (libraries, apart by colons).

set(GRAFT_VENDOR AUTO CACHE STRING "Build graft::vendor (cuBLASLt and cuDNN): AUTO (where their headers are found), ON or OFF")
set(GRAFT_VENDOR_ROOT "$ENV{GRAFT_VENDOR_ROOT}" CACHE STRING
    "Folders to look for cuBLASLt and cuDNN in: an installation, a Python environment, or the folder that has the wheels' nvidia/")

# graft_vendor_places(<variable>): prefixes that may have include/ and lib/ with either.
function(graft_vendor_places variable)
  set(places)
  foreach(root ${GRAFT_VENDOR_ROOT} $ENV{CUDNN_HOME} $ENV{CUDNN_PATH} ${GRAFT_CUDA_ROOT} $ENV{VIRTUAL_ENV} $ENV{CONDA_PREFIX})
    file(GLOB wheels ${root}/nvidia/* ${root}/lib/python3*/site-packages/nvidia/*)
    list(APPEND places ${root} ${wheels})
  endforeach()
  set(${variable} ${places} PARENT_SCOPE)
endfunction()

set(GRAFT_WITH_VENDOR OFF)
set(reason)
if(NOT GRAFT_VENDOR)
  set(reason "GRAFT_VENDOR=OFF")
elseif(NOT GRAFT_WITH_CUDA)
  set(reason "it needs the CUDA device")
else()
  graft_vendor_places(places)
  # Not from just anywhere: the one in /usr/include may be of another toolkit.
  find_path(GRAFT_CUBLASLT_INCLUDE cublasLt.h PATHS ${GRAFT_CUDA_INCLUDE} ${places} PATH_SUFFIXES include NO_DEFAULT_PATH)
  find_path(GRAFT_CUDNN_INCLUDE cudnn_graph.h HINTS ${places} PATH_SUFFIXES include)
  if(NOT GRAFT_CUBLASLT_INCLUDE)
    set(reason "the toolkit has no cuBLAS (no cublasLt.h in ${headers})")
  elseif(NOT GRAFT_CUDNN_INCLUDE)
    set(reason "cuDNN 9 was not found (cudnn_graph.h)")
  else()
    set(GRAFT_WITH_VENDOR ON)
  endif()
endif()
if(GRAFT_WITH_VENDOR)
  set(GRAFT_VENDOR_SUMMARY "cuBLASLt (${GRAFT_CUBLASLT_INCLUDE}) and cuDNN (${GRAFT_CUDNN_INCLUDE})")
  set(GRAFT_VENDOR_FOLDERS)
  foreach(include ${GRAFT_CUDA_INCLUDE} ${GRAFT_CUBLASLT_INCLUDE} ${GRAFT_CUDNN_INCLUDE})
    foreach(name lib64 lib lib/${CMAKE_LIBRARY_ARCHITECTURE})
      get_filename_component(folder ${include}/../${name} ABSOLUTE)
      if(IS_DIRECTORY ${folder})
        list(APPEND GRAFT_VENDOR_FOLDERS ${folder})
      endif()
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES GRAFT_VENDOR_FOLDERS)
  list(JOIN GRAFT_VENDOR_FOLDERS ":" GRAFT_VENDOR_FOLDERS)
else()
  set(GRAFT_VENDOR_SUMMARY "not built: ${reason}")
  if(GRAFT_VENDOR AND NOT GRAFT_VENDOR STREQUAL "AUTO")
    message(FATAL_ERROR "graft: GRAFT_VENDOR=${GRAFT_VENDOR}, but ${reason}. Name their folder with GRAFT_VENDOR_ROOT: an installation, or \
where the wheels nvidia-cublas and nvidia-cudnn-cu13 are")
  endif()
endif()
