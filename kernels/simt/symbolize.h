// Where in the source an instruction came from.
#pragma once

#include <cstdint>
#include <string>

namespace graft::simt {

struct SourcePlace {
  std::string file;  // empty: not known
  int line = 0;
  std::string caller{};  // "file:line" of the kernel's own line when `file` is of an inlined helper; else empty
};

/// The place of the call that returns to `address`. Asks addr2line (binutils, which stands beside every g++), one
/// process that is kept; libbacktrace would spare the process but is not packaged alike by the distributions.
SourcePlace source_place(std::uintptr_t address);

}  // namespace graft::simt
