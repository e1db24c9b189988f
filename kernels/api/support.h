// A backend's answer to "can you run this?": yes, or the reason why not.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace graft::kernels {

enum class BackendId : std::uint8_t { cpu, reference, cuda, vendor };

const char* name(BackendId id);

struct Support {
  bool ok = true;
  std::string reason;  // empty when ok

  static Support yes() { return {}; }
  static Support no(std::string why) { return {false, std::move(why)}; }
};

}  // namespace graft::kernels
