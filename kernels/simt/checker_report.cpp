#include <graft/kernels/simt/checker_knowledge.h>
#include <graft/kernels/simt/checker_report.h>

#include <dlfcn.h>
#include <link.h>

#include <map>
#include <set>
#include <string>

#include <graft/kernels/simt/symbolize.h>

namespace graft::simt::checker {
namespace {

std::uintptr_t find_anchor() {
  Dl_info info{};
  link_map* map = nullptr;
  static const char here = 0;
  if (dladdr1(&here, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0) return 0;
  return reinterpret_cast<std::uintptr_t>(info.dli_fbase);
}

// Places that are no instruction nearby.
struct Named {
  Loc where{};
  std::uintptr_t address = 0;
  bool copy = false;
};
struct Tables {
  std::vector<Named> named;
  std::map<std::tuple<const char*, int, bool>, Place> numbers;
  std::map<std::uintptr_t, Place> far;
  std::set<std::string> files;  // keeps the names that reports point to
  LaunchDims dims;
  std::uint32_t first_serial = 0;
  std::uint64_t block = 0;
  std::vector<std::uint64_t> blocks;  // of each serial number from first_serial on
};
Tables& tables() {
  static auto* const t = new Tables;
  return *t;
}

Place add(const Named& named) {
  tables().named.push_back(named);
  return kNamed + static_cast<Place>(tables().named.size() - 1);
}

Place number_of(Loc where, bool copy) {
  static thread_local Loc last{};
  static thread_local Place last_place = 0;
  static thread_local bool last_copy = false;
  if (last.file == where.file && last.line == where.line && last_copy == copy && last.file != nullptr)
    return last_place;
  const auto [i, added] = tables().numbers.try_emplace({where.file, where.line, copy}, 0);
  if (added) i->second = add({where, 0, copy});
  last = where;
  last_copy = copy;
  return last_place = i->second;
}

struct Where {
  Loc loc{};
  std::string text;  // "file:line (called from file:line)"
};

Where resolve(Place place) {
  std::uintptr_t address = anchor + place;
  if (place >= kNamed) {
    const Named& named = tables().named[place - kNamed];
    if (named.address == 0)
      return {named.where, std::string(named.where.file) + ":" + std::to_string(named.where.line)};
    address = named.address;
  }
  const SourcePlace found = source_place(address);
  if (found.file.empty()) return {{}, "an unknown place (compile with -g1; is addr2line installed?)"};
  Where result{{tables().files.insert(found.file).first->c_str(), found.line},
               found.file + ":" + std::to_string(found.line)};
  if (!found.caller.empty()) result.text += " (in " + found.caller + ")";
  return result;
}

const void* address_of(std::size_t offset) { return reservation().begin + offset; }

std::string words(const Access& access) {
  const char* const verb = access.kind == Kind::read    ? "read of "
                           : access.kind == Kind::write ? "write of "
                                                        : "atomic change of ";
  return verb + std::to_string(access.bytes) + (access.bytes == 1 ? " byte" : " bytes");
}

// The nearest touchable run of shared memory, "12 bytes after a variable of 64 bytes".
std::string describe_shared(std::size_t offset) {
  const auto touchable = [](std::size_t at) { return (shadow.state[at / 4] >> at % 4 & 1) != 0; };
  const std::size_t arena = offset / kArenaBytes * kArenaBytes, end = arena + kArenaBytes;
  if (watch.left >> offset / kArenaBytes & 1) return "of a block that has returned";
  std::size_t below = offset, above = offset;
  while (below > arena && !touchable(below - 1)) --below;
  while (above < end && !touchable(above)) ++above;
  const auto size_down = [&](std::size_t at) {
    std::size_t first = at;
    while (first > arena && touchable(first - 1)) --first;
    return at - first;
  };
  const auto size_up = [&](std::size_t at) {
    std::size_t last = at;
    while (last < end && touchable(last)) ++last;
    return last - at;
  };
  if (below == arena && above == end) return "the block has no shared variable";
  if (below > arena && (above == end || offset - below <= above - offset))
    return std::to_string(offset - below) + " bytes after a variable of " + std::to_string(size_down(below)) + " bytes";
  return std::to_string(above - offset) + " bytes before a variable of " + std::to_string(size_up(above)) + " bytes";
}

std::string block_text(std::uint64_t linear) {
  const dim3 &grid = tables().dims.grid, &of = tables().dims.cluster;
  const std::uint64_t blocks = static_cast<std::uint64_t>(of.x) * of.y * of.z, cluster = linear / blocks,
                      rank = linear % blocks;
  const std::uint64_t across = grid.x / of.x, down = grid.y / of.y;
  const std::uint64_t x = cluster % across * of.x + rank % of.x,
                      y = cluster / across % down * of.y + rank / of.x % of.y,
                      z = cluster / across / down * of.z + rank / of.x / of.y;
  return "block (" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
}

std::string name_of(Moment moment, bool is_set) {
  const bool known = !is_set && clock_of(moment) != 0;
  if (known && thread_of(moment) >= watch.first_agent) {
    const std::string of = serial_of(moment) >= watch.group_serial
                               ? thread_name(knowledge().issuer[thread_of(moment) - watch.first_agent])
                               : block_text(tables().blocks[serial_of(moment) - tables().first_serial]);
    return "an asynchronous operation of " + of;
  }
  if (known && serial_of(moment) >= watch.group_serial) return thread_name(thread_of(moment));
  const dim3& block = tables().dims.block;
  const unsigned threads = block.x * block.y * block.z;
  const std::uint64_t first = tables().blocks[serial_of(moment) - tables().first_serial];
  if (!known) return block_text(first);
  const unsigned t = thread_of(moment) % threads;
  return block_text(first + thread_of(moment) / threads) + ", thread (" + std::to_string(t % block.x) + "," +
         std::to_string(t / block.x % block.y) + "," + std::to_string(t / block.x / block.y) + ")";
}

void say_state(const Access& access) {
  std::size_t bad = access.offset;
  const std::size_t end = access.offset + access.bytes;
  const auto bit = [](std::size_t at, unsigned shift) { return (shadow.state[at / 4] >> (at % 4 + shift) & 1) != 0; };
  while (bad < end && bit(bad, 0)) ++bad;
  const bool shared = access.offset < kSharedBytes;
  const Where where = resolve(access.place);
  std::string text;
  if (bad < end) {
    if (shared)
      text = "out of bounds: " + words(access) + " of shared memory, " + describe_shared(bad);
    else if (was_freed(address_of(bad)))
      text = "use after free: " + words(access) + ", " + describe_device_address(address_of(bad));
    else
      text = "out of bounds: " + words(access) + " of device memory, " + describe_device_address(address_of(bad));
  } else {
    bad = access.offset;
    while (bad < end && bit(bad, 4)) ++bad;
    const Cell& cell = shadow.words[bad / 4];
    const std::uint32_t oldest = oldest_at(bad);
    if (serial_of(cell.write) >= oldest && (cell.write & kSplit) == 0 && is_copy(cell.write_site))
      text =
          words(access) + " that the asynchronous copy begun at " + resolve(cell.write_site).text + " has yet to write";
    else
      text = "uninitialised: " + words(access) + (shared ? " of shared memory" : " of device memory") +
             " that nothing has written" + (shared ? "" : ", " + describe_device_address(address_of(bad)));
  }
  if (where.loc.file != nullptr && where.text.find(" (in ") != std::string::npos) text += " at " + where.text;
  report_failure(where.loc, text);
}

void say_race(const Access& access, Moment earlier, Place earlier_place, bool earlier_reads) {
  const Where where = resolve(access.place);
  const bool elsewhere = serial_of(earlier) < watch.group_serial;
  const bool is_set = earlier_reads && (earlier & kFlag) != 0;
  const bool was_atomic = !earlier_reads && (earlier & kFlag) != 0;
  std::string text = elsewhere ? "race between blocks: " : "race: ";
  text += words(access) + (access.offset < kSharedBytes ? " of shared memory" : " of device memory");
  if (where.loc.file != nullptr && where.text.find(" (in ") != std::string::npos) text += " at " + where.text;
  text += std::string(", and the ") +
          (earlier_reads ? "read"
           : was_atomic  ? "atomic change"
                         : "write") +
          " at " + resolve(earlier_place).text + " by " + name_of(earlier, is_set) +
          (elsewhere ? ": blocks of one launch are not ordered but by tickets and their fences" : ": nothing orders the two");
  report_failure(where.loc, text);
}

void say_misaligned(const Access& access, unsigned alignment) {
  const Where where = resolve(access.place);
  report_failure(where.loc, "misaligned: " + words(access) + " at an address that is " +
                                std::to_string(access.offset % alignment) + " bytes past a multiple of " +
                                std::to_string(alignment));
}

}  // namespace

std::uintptr_t anchor = find_anchor();

bool is_copy(Place place) { return place >= kNamed && tables().named[place - kNamed].copy; }
std::string text_of(Place place) { return resolve(place).text; }

Place place_of(Loc where) { return number_of(where, false); }
Place place_of_copy(Loc where) { return number_of(where, true); }

Place place_of_far(std::uintptr_t address) {
  const auto [i, added] = tables().far.try_emplace(address, 0);
  if (added) i->second = add({{}, address, false});
  return i->second;
}

void begin_groups(const LaunchDims& dims, std::uint32_t first_serial) {
  tables().dims = dims;
  tables().first_serial = first_serial;
  tables().blocks.clear();
}
void group_is(std::uint64_t first_block) { tables().block = first_block; }
std::uint64_t first_block_of(std::uint32_t serial) { return tables().blocks[serial - tables().first_serial]; }
void note_group(std::uint32_t serial) { tables().blocks.resize(serial - tables().first_serial + 1, tables().block); }

void report_state(const Access& access) {
  say_state(access);
  abandon_thread();
}
void report_race(const Access& access, Moment earlier, Place earlier_place, bool earlier_reads) {
  say_race(access, earlier, earlier_place, earlier_reads);
  abandon_thread();
}
void report_misaligned(const Access& access, unsigned alignment) {
  say_misaligned(access, alignment);
  abandon_thread();
}

namespace {

void say_unfenced(const Access& access, Moment write, Place write_place) {
  report_failure(resolve(access.place).loc, "asynchronous " + words(access) +
                                                " of shared memory, and the ordinary write at " +
                                                resolve(write_place).text + " by " + name_of(write, false) +
                                                ": that thread has not executed fence_proxy_async since");
}
void say_use_after_block(unsigned rank, Moment use, Place use_place, bool reads) {
  const Where where = resolve(use_place);
  const bool by_agent = thread_of(use) >= watch.first_agent;
  report_failure(where.loc, std::string("the shared memory of ") + block_name(rank) + " is " +
                                (reads ? "read" : "written") + " by " + name_of(use, false) +
                                ", and nothing orders that before the block's end" +
                                (by_agent ? " (nobody of the block has waited for it)" : ""));
}

}  // namespace

void say_at(Place place, const std::string& text) {
  const Where where = resolve(place);
  report_failure(where.loc, where.text.find(" (in ") == std::string::npos ? text : text + " at " + where.text);
}

// The texts' memory is given back before the thread is abandoned, which unwinds nothing.
void report_unfenced(const Access& access, Moment write, Place write_place) {
  say_unfenced(access, write, write_place);
  abandon_thread();
}
void report_use_after_block(unsigned rank, Moment use, Place use_place, bool reads) {
  say_use_after_block(rank, use, use_place, reads);
  abandon_thread();
}

}  // namespace graft::simt::checker
