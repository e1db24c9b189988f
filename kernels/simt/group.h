// The blocks that run together, one or a cluster, and the state of their threads. Internal to the emulator.
//
// Nothing in here is a container of a common type: the linker may take std::vector<int>'s functions from a kernel's
// object file, where each access is instrumented, and the checker would be asked about the emulator's own memory.
#pragma once

#include <graft/kernels/simt/checker.h>
#include <graft/kernels/simt/core.h>
#include <graft/kernels/simt/device_calls.h>
#include <graft/kernels/simt/fibers.h>

#include <concepts>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace graft::simt {

inline constexpr unsigned kWarpLanes = 32, kMostWarps = 32, kMostBlocks = 8, kBarriers = 16;

inline bool same_place(Loc a, Loc b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}
struct Thread {
  uint3 index;
  unsigned block, warp, lane;  // rank of its block in the group, warp in the group, lane in the warp
  Fiber* fiber = nullptr;      // while it is under way
  Loc where{};                 // where it waits, and in what; nullptr while it runs
  const char* waits = nullptr;
  bool done = false;
};

/// Lanes that are in one collective of a warp.
struct WarpCall {
  unsigned mask = 0, arrived = 0;
  const void* kind = nullptr;  // what tells one operation from another
  const char* what = nullptr;
  Loc where{};
};

struct Warp {
  unsigned exist = 0, ready = 0, spinning = 0, done = 0;  // masks of lanes
  unsigned last = 0;                                      // the lane that ran last
  WarpCall calls[8];                                      // disjoint groups of lanes
  std::uint64_t value[kWarpLanes];                        // what the lanes bring to a collective, and get from it
  int argument[kWarpLanes];
  void* pointer[kWarpLanes];
};

struct Barrier {
  unsigned arrived = 0, needed = 0;
  unsigned votes = 0, result = 0;
  bool split = false;  // somebody arrived without waiting
  Loc where{};
  const char* what = nullptr;
  unsigned waiting[kMostWarps] = {};  // masks of the lanes that wait
};

struct Block {
  uint3 index;
  unsigned done = 0;
  Barrier barriers[kBarriers];
};

struct ClusterBarrier {
  unsigned arrived = 0, done = 0;
  std::uint64_t phase = 0;
  Loc where{};
};

struct Group {
  LaunchDims dims;
  const std::function<void()>* body = nullptr;
  unsigned blocks = 0, block_threads = 0, block_warps = 0;  // block_*: of each block
  unsigned threads = 0, warps = 0, done = 0;                // of the group
  std::vector<Thread> thread;
  std::vector<Warp> warp;
  std::vector<Block> block;
  Thread* current = nullptr;  // whose accesses happen
  unsigned current_warp = 0;
  Fiber* fiber = nullptr;  // that runs
  bool running = false, failed = false;
  unsigned idle_rounds = 0;  // how often all that could run were spinning, with nothing done in between

  unsigned number(const Thread& t) const { return static_cast<unsigned>(&t - thread.data()); }
  Block& block_of(const Thread& t) { return block[t.block]; }
  Thread& lane(const Thread& of, unsigned lane) { return thread[number(of) - of.lane + lane]; }
};
extern Group group;

/// What kernels read as threadIdx and so on, and must take for constant.
struct Coordinates {
  uint3 *thread, *block;
  dim3 *block_dims, *grid_dims;
};
extern const Coordinates coordinates;
extern Stats statistics;
extern Options settings;

/// A random number for the schedule.
std::uint64_t schedule_random();

// --- scheduler.cpp --------------------------------------------------------------------------------------------------

/// The running thread waits until wake_lanes names it.
void wait_here(Loc where, const char* what);
void wake_lanes(unsigned warp, unsigned lanes);

/// Keeps the first report of a grid and stops the grid. Of a thread, when one is to blame.
void fail(const Thread* thread, Loc where, std::string_view what);

/// Marks that what runs is not the kernel, so that the checker's hooks stay quiet in library code that they may be in.
struct OutsideKernel {
  Thread* const running = std::exchange(group.current, nullptr);
  OutsideKernel() = default;
  OutsideKernel(const OutsideKernel&) = delete;
  OutsideKernel& operator=(const OutsideKernel&) = delete;
  ~OutsideKernel() { group.current = running; }
};

struct Hex {
  unsigned value;
};
void append(std::string& text, const char* piece);
void append(std::string& text, long long piece);
void append(std::string& text, Hex piece);
void append(std::string& text, Loc piece);
template <std::integral T>
void append(std::string& text, T piece) {
  append(text, static_cast<long long>(piece));
}

/// fail() with a text of several pieces.
template <class... Pieces>
void blame(const Thread& thread, Loc where, const Pieces&... pieces) {
  const OutsideKernel outside;
  std::string text;
  (append(text, pieces), ...);
  fail(&thread, where, text);
}
/// device_fail() with a text of several pieces.
template <class... Pieces>
[[noreturn]] void refuse(Loc where, const Pieces&... pieces) {
  blame(*group.current, where, pieces...);
  abandon_thread();
}

// --- sites.cpp ------------------------------------------------------------------------------------------------------

/// Notes that a site ran; true when it is to do nothing.
bool omitted(Loc where, const char* what);
void prepare_sites(const char* kernel);

// --- shared_memory.cpp ----------------------------------------------------------------------------------------------

/// Fresh shared memory for the group: NaN everywhere, nothing but the dynamic part declared.
void prepare_shared_memory();
char* shared_pointer(std::uint32_t address);
bool is_shared(const void* p);
/// The rank of the block whose shared memory p is in.
unsigned shared_rank(const void* p);

// --- barriers.cpp ---------------------------------------------------------------------------------------------------

void prepare_barriers();
/// A thread has returned: somebody may wait for it.
void barriers_without(Thread& thread);

// --- warps.cpp ------------------------------------------------------------------------------------------------------

/// All lanes of the mask bring `pointer`; the last to arrive runs `combine` on all of them. `ordered`: memory too.
using Combine = void (*)(void** pointers, unsigned mask);
void warp_collective(unsigned mask, void* pointer, Combine combine, const char* what, Loc where);
void warp_without(Thread& thread);

// --- async_copy.cpp, mbarrier.cpp, tma.cpp, wgmma.cpp ---------------------------------------------------------------

void prepare_cp_async();
void drop_cp_async(const Thread& thread);

void prepare_mbarriers();
/// Whether a bulk copy that the running thread starts may complete on the barrier; refuses it where not.
void check_completes_on(std::uint64_t* barrier, Loc where);
/// A bulk copy of `thread` has brought the barrier its bytes.
void mbarrier_bytes(std::uint64_t* barrier, unsigned bytes, const checker::Operation& operation, const Thread& thread,
                    Loc where);
/// " (phase 0: 1 of 2 arrivals missing)" where the thread waits for an mbarrier, else "".
std::string mbarrier_state(const Thread& thread);

void prepare_tma();
/// Performs one bulk load that is under way; false when there is none.
bool perform_one_load();
void check_stores_waited(const Thread& thread);
/// The threads of the block have all returned: no load into its shared memory may be under way.
void check_loads_done(const Thread& last);

void prepare_wgmma();
void check_wgmma_waited(const Thread& thread);
/// The running thread touches its registers, or what lies between them: may it? `place` as the checker has it.
void registers_touched(const void* p, std::size_t bytes, bool writes, std::uint32_t place);

}  // namespace graft::simt
