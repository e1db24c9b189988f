// A backend's answer to "can you run this?": yes, or the reason why not.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <graft/kernels/api/export.h>

namespace graft::kernels {

enum class BackendId : std::uint8_t { cpu, reference, cuda, vendor };

GRAFT_API const char* name(BackendId id);

struct GRAFT_API Support {
  bool ok = true;
  std::string reason;  // empty when ok

  static Support yes() { return {}; }
  static Support no(std::string why) { return {false, std::move(why)}; }
};

}  // namespace graft::kernels
