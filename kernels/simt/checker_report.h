// Names for what the checker found. Internal to the checker.
#pragma once

#include <graft/kernels/simt/checker_access.h>

#include <cstdint>
#include <string>

namespace graft::simt::checker {

/// The number of the place that an instruction is: of the call that returns to `address`.
Place place_of_far(std::uintptr_t address);
extern std::uintptr_t anchor;  // where the program's (the library's) code begins
inline Place place_of(const void* return_address) {
  const std::uintptr_t distance = reinterpret_cast<std::uintptr_t>(return_address) - anchor;
  return distance < kNamed ? static_cast<Place>(distance)
                           : place_of_far(reinterpret_cast<std::uintptr_t>(return_address));
}
Place place_of(Loc where);
/// The same for the start of an asynchronous copy.
Place place_of_copy(Loc where);

/// Whether the place is the start of an asynchronous copy.
bool is_copy(Place place);

/// An operation sees, or overwrites, what was written with no proxy fence after it.
[[noreturn]] void report_unfenced(const Access& access, Moment write, Place write_place);
/// A block has returned while others may use its shared memory.
[[noreturn]] void report_use_after_block(unsigned rank, Moment use, Place use_place, bool reads);
/// Any other text about an access of the running thread; abandon_thread() is the caller's to call.
void say_at(Place place, const std::string& text);
/// "file:line" of a place.
std::string text_of(Place place);

/// Which block a serial number stands for.
void begin_groups(const LaunchDims& dims, std::uint32_t first_serial);
void group_is(std::uint64_t first_block);
void note_group(std::uint32_t serial);
std::uint64_t first_block_of(std::uint32_t serial);

}  // namespace graft::simt::checker
