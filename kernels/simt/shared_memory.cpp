// Shared memory: each block of the group has an arena, one after another, so that an offset is the address PTX sees.
//
//   arena: [1024 bytes nobody owns][dynamic][red zone][variable][red zone]...
//
// A variable is filled with 0xff (NaN in every floating format, -1 as an integer) when it is made, anew for each block.
#include <graft/kernels/simt/group.h>
#include <graft/kernels/simt/memory.h>

#include <utility>

namespace graft::simt {
namespace {

// Of each arena as much is used as the 14 address bits of a wgmma descriptor reach.
constexpr std::size_t kWindow = 256 * 1024, kDynamic = 1024, kRedZone = 64, kMostStatic = 48 * 1024;
static_assert(kWindow <= kArenaBytes && kMostBlocks <= kArenas);

struct Variable {
  const void* key;
  std::size_t offset;
};

struct Arena {
  std::size_t used = 0;
  std::size_t statics = 0;  // bytes of the static variables
  std::vector<Variable> variables;
};
Arena arenas[kMostBlocks];
std::size_t most_statics = 0;  // of any block, until they are taken

void own(char* begin, std::size_t bytes) {
  checker::declare_shared(begin, bytes);
  std::memset(begin, 0xff, bytes);
}

std::size_t offset_in_window(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(shared_arena(0));
}

}  // namespace

void prepare_shared_memory() {
  const std::size_t dynamic = group.dims.smem;
  if (dynamic > settings.shared_limit || kDynamic + dynamic + kRedZone > kWindow)
    return blame(group.thread[0], {}, "the launch asks for ", dynamic,
                 " bytes of dynamic shared memory, a block may have ", settings.shared_limit);
  for (unsigned b = 0; b < group.blocks; ++b) {
    if (dynamic != 0) own(shared_arena(b) + kDynamic, dynamic);
    arenas[b].variables.clear();
    arenas[b].statics = 0;
    arenas[b].used = kDynamic + dynamic + kRedZone;
  }
}

void* static_shared(const void* key, std::size_t bytes, std::size_t alignment) {
  const unsigned rank = group.current->block;
  Arena& arena = arenas[rank];
  char* const begin = shared_arena(rank);
  for (const Variable& variable : arena.variables)
    if (variable.key == key) return begin + variable.offset;
  arena.statics += bytes;
  if (arena.statics > kMostStatic)
    refuse({}, "the block's static shared variables take ", arena.statics, " bytes, at most ", kMostStatic,
           " are allowed");
  most_statics = std::max(most_statics, arena.statics);
  if (arena.statics + group.dims.smem > group.dims.shared_limit)
    refuse({}, "the block's shared memory takes ", arena.statics + group.dims.smem, " bytes (", arena.statics,
           " static), it may have ", group.dims.shared_limit,
           group.dims.shared_limit < settings.shared_limit ? " without opting in (cudaFuncSetAttribute)" : "");
  if (alignment < 16) alignment = 16;
  const std::size_t offset = (arena.used + alignment - 1) / alignment * alignment;
  if (offset + bytes + kRedZone > kWindow)
    refuse({}, "the emulator's shared memory is full: too many variables for its red zones");
  arena.variables.push_back({key, offset});
  arena.used = offset + bytes + kRedZone;
  own(begin + offset, bytes);
  return begin + offset;
}

std::size_t take_static_bytes() { return std::exchange(most_statics, 0); }

void* dynamic_shared() { return shared_arena(group.current->block) + kDynamic; }

bool is_shared(const void* p) { return offset_in_window(p) < group.blocks * kArenaBytes; }
unsigned shared_rank(const void* p) { return static_cast<unsigned>(offset_in_window(p) / kArenaBytes); }

std::uint32_t shared_address(const void* p) {
  if (!is_shared(p)) refuse({}, "shared_address of a pointer that does not point to shared memory");
  return static_cast<std::uint32_t>(offset_in_window(p));
}

void require_global(const void* p, const char* what, Loc where) {
  if (is_shared(p)) refuse(where, what, " writes to global memory, the pointer lies in shared memory");
}

char* shared_pointer(std::uint32_t address) { return shared_arena(0) + address; }

void* map_shared(const void* p, unsigned rank, Loc where) {
  if (!is_shared(p)) refuse(where, "map_shared of a pointer that does not point to shared memory");
  if (rank >= group.blocks) refuse(where, "map_shared to block ", rank, " of a cluster of ", group.blocks);
  return shared_arena(rank) + offset_in_window(p) % kArenaBytes;
}

}  // namespace graft::simt
