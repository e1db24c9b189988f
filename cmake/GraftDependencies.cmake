# The libraries that graft stands on.

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(ZLIB REQUIRED)
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)

find_package(OneDNN 2.6 QUIET)
if(OneDNN_FOUND)
  set(GRAFT_WITH_ONEDNN ON)
  message(STATUS "graft: oneDNN ${OneDNN_VERSION} found: the CPU runs on the cpu backend")
else()
  set(GRAFT_WITH_ONEDNN OFF)
  message(STATUS "graft: oneDNN not found (Debian: libdnnl-dev): the CPU runs on the slow reference backend only")
endif()

find_program(GRAFT_NVCC nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(GRAFT_NVCC)
  message(STATUS "graft: CUDA toolkit found (${GRAFT_NVCC}); this version has no CUDA kernels yet: building the CPU library")
else()
  message(STATUS "graft: no CUDA toolkit: building the CPU library")
endif()
