// The emulated device's memory: where it lies, who holds which part of it, and what has been written to it. Internal to
// the emulator.
//
// All of it, the blocks' shared memory first and the device's memory after it, is carved from one big reservation of
// address space, of which only touched pages are real. So two instructions tell whether an address concerns the
// checker, and the checker's own record of an address is found by arithmetic (shadow.h).
//
// Every allocation is followed by at least kDeviceRedZone bytes that belong to nobody, and freed memory rests for a
// while before it is handed out again, so that an access out of bounds or after a free hits nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace graft::simt {

// --- shared memory --------------------------------------------------------------------------------------------------

/// Each block of a cluster has an arena for its shared memory; page-aligned.
inline constexpr std::size_t kArenaBytes = 512 * 1024;
inline constexpr unsigned kArenas = 16;
char* shared_arena(unsigned index);

/// A shared variable begins, at a multiple of 8, and ends: outside of them shared memory may not be touched.
void make_shared_touchable(const void* begin, std::size_t bytes);
void make_shared_untouchable(const void* begin, std::size_t bytes);

// --- the reservation ------------------------------------------------------------------------------------------------

inline constexpr std::size_t kSharedBytes = kArenas * kArenaBytes;
inline constexpr std::size_t kDeviceRedZone = 256;

/// Where the reservation lies: shared memory in its first kSharedBytes, then the device's memory.
struct Reservation {
  char* begin = nullptr;
  std::size_t bytes = 0;
};
const Reservation& reservation();

/// An address as the distance from the reservation's begin; at least reservation().bytes when it is outside.
inline std::size_t watched_offset(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(reservation().begin);
}
bool is_device_address(const void* p);

// --- allocations ----------------------------------------------------------------------------------------------------
// All of these are called under the runtime's lock.

/// 512-byte aligned; nullptr when the device is full. The content is NaN in every floating type, and uninitialised.
void* allocate_device(std::size_t bytes);

enum class Freed { yes, unknown, already };
/// `damaged` gets a text when the red zone behind the block was overwritten.
Freed free_device(void* block, std::string& damaged);
/// The program gives a block up that the device may still use: free_device follows.
Freed give_up_device(void* block);

/// Blocks that a caching allocator cuts out of an allocation: from the first on, only memory in a live block may be
/// touched.
void begin_block(void* block, std::size_t bytes);
void end_block(void* block, std::string& damaged);
/// The same, without a change to what the memory holds or what is said about it: which blocks the program holds at this
/// moment, where the two above follow the streams.
void hold_block(void* block, std::size_t bytes);
void drop_block(void* block);

/// Whether [p, p + bytes) lies in one allocation (or one block of it) that the program holds; else `why` says what is
/// wrong.
bool is_held(const void* p, std::size_t bytes, std::string& why);

/// What an address is, for reports: "24 bytes after an allocation of 4000 bytes".
std::string describe_device_address(const void* p);
/// Whether the address lies in memory that was freed.
bool was_freed(const void* p);

std::size_t device_bytes_held();
/// Frees everything.
void forget_device_memory();

/// "3 allocations of device memory (4096 bytes)": what was never freed, but for allocations that a caching allocator
/// holds with no live block inside. Empty when there is nothing.
std::string leaked_device_memory();

/// Memory of the host that the runtime gave out (page-locked).
void* allocate_host(std::size_t bytes);
bool free_host(void* block);
/// The begin of the host block that p lies in, nullptr where there is none.
void* find_host(const void* p);
std::string leaked_host_memory();
void forget_host_memory();

// --- what is known of the bytes -------------------------------------------------------------------------------------

/// The host or a copy wrote these bytes.
void mark_written(const void* p, std::size_t bytes);
/// The bytes at `to` are now as initialised as those at `from`.
void copy_written(const void* to, const void* from, std::size_t bytes);
/// A grid ran unwatched: whatever it could write counts as written.
void mark_all_written();

}  // namespace graft::simt
