// Which of the host's sanitizers this file is compiled for: g++ defines macros, clang (to version 20) answers questions.
#pragma once

#if defined(__has_feature)
#define GRAFT_SIMT_HAS_FEATURE(feature) __has_feature(feature)
#else
#define GRAFT_SIMT_HAS_FEATURE(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || GRAFT_SIMT_HAS_FEATURE(address_sanitizer)
#define GRAFT_SIMT_ASAN 1
#else
#define GRAFT_SIMT_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || GRAFT_SIMT_HAS_FEATURE(thread_sanitizer)
#define GRAFT_SIMT_TSAN 1
#else
#define GRAFT_SIMT_TSAN 0
#endif
