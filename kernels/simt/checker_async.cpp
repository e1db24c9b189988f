// Asynchronous operations as the checker sees them, fences between the proxies, and the end of a block's shared memory.
#include <graft/kernels/simt/checker.h>

#include <algorithm>

#include <graft/kernels/simt/checker_knowledge.h>
#include <graft/kernels/simt/checker_report.h>
#include <graft/kernels/simt/group.h>

namespace graft::simt::checker {
namespace {

unsigned issuing_thread = 0;
unsigned copies = 0;  // started in this group

bool is_of_now(Moment m) { return serial_of(m) >= watch.serial; }

// The cells that say something of a word, and how many.
struct Cells {
  const Cell* first;
  unsigned count;
};
Cells cells_of(std::size_t word) {
  const Cell& cell = shadow.words[word];
  const Moment grain = serial_of(cell.write) >= watch.group_serial ? cell.write & kSplit : 0;
  if (grain == kSplitHalves) return {shadow.halves + 2 * word, 2};
  if (grain == kSplitBytes) return {shadow.bytes + 4 * word, 4};
  return {&cell, 1};
}

// Ordinary writes that the operation may see but that lack a fence. A write that nothing orders before it is a race,
// which the check of the access tells.
void look_for_fences(std::size_t offset, std::size_t bytes, Kind kind, Place place) {
  if (offset >= kSharedBytes) return;
  for (std::size_t word = offset / 4; word < (offset + bytes + 3) / 4; ++word) {
    const Cells cells = cells_of(word);
    for (unsigned i = 0; i < cells.count; ++i) {
      const Moment write = cells.first[i].write;
      if (!is_of_now(write) || is_fenced(write) || is_copy(cells.first[i].write_site) || !happened_before(write))
        continue;
      report_unfenced({offset, static_cast<unsigned>(bytes), kind, place}, write, cells.first[i].write_site);
    }
  }
}

std::size_t watched(const void* p) { return reinterpret_cast<std::uintptr_t>(p) - watch.begin; }

// Somebody outside the block who may still be at it.
void look_for_users(const SharedRange& range, unsigned rank) {
  const std::size_t offset = watched(range.begin);
  for (std::size_t word = offset / 4; word < (offset + range.bytes + 3) / 4; ++word) {
    const Cells cells = cells_of(word);
    for (unsigned i = 0; i < cells.count; ++i) {
      const Cell& cell = cells.first[i];
      if (is_of_now(cell.write) && !happened_before(cell.write))
        report_use_after_block(rank, cell.write, cell.write_site, false);
      if (cell.read == 0 || !is_of_now(cell.read)) continue;
      if ((cell.read & kFlag) == 0) {
        if (!happened_before(cell.read)) report_use_after_block(rank, cell.read, cell.read_site, true);
      } else if (!is_history(cell.read)) {
        const unsigned reader = unordered_reader(cell.read);
        if (reader != kMostThreads)
          report_use_after_block(rank, Moment{serial_of(cell.read)} << kSerialBit | Moment{1} << kThreadBits | reader,
                                 cell.read_site, true);
      }
    }
  }
}

}  // namespace

void begin_agents() {
  Knowledge& k = knowledge();
  k.agent_base.assign(kAgents, 0);
  k.issuer.assign(kAgents, 0);
  k.fenced.assign(watch.first_agent, 0);
  k.registers.assign(watch.first_agent, {});
  watch.agent_base = k.agent_base.data();
  watch.has_agents = false;
  watch.left = 0;
  copies = 0;
}

unsigned copy_agent() { return kWarpgroupAgents + copies++ % kCopyAgents; }

Operation begin(unsigned agent) {
  Knowledge& k = knowledge();
  watch.has_agents = true;
  const unsigned issuer = watch.thread, number = watch.first_agent + agent;
  const std::uint32_t clock = tick();
  const auto known = std::make_shared<Vector>(watch.threads, 0u);
  add_knowledge(*known, issuer, true);
  k.clock[number] = (*known)[number] = clock;
  k.issuer[agent] = issuer;
  if (!k.drawn.empty()) k.drawn[number] = k.drawn[issuer];
  k.clock[issuer] = tick();  // what the issuer does from here on is not known to the operation
  issuing_thread = issuer;
  watch.thread = number;
  watch.warp = ~0u;
  watch.now = Moment{watch.serial} << kSerialBit | Moment{clock} << kThreadBits | number;
  watch.warp_base = 0;
  watch.overlay = known->data();
  return {known, watch.serial};
}

void end() {
  watch.thread = issuing_thread;
  watch.warp = issuing_thread / 32;
  refresh();
}

void async_read(const void* p, std::size_t bytes, Loc where) {
  if (watched(p) >= watch.bytes || bytes == 0) return;
  check_range<Kind::read>(watched(p), bytes, place_of(where));
  look_for_fences(watched(p), bytes, Kind::read, place_of(where));
}

void async_write(const void* p, std::size_t bytes, Loc where) {
  if (watched(p) >= watch.bytes || bytes == 0) return;
  look_for_fences(watched(p), bytes, Kind::write, place_of(where));
  will_write(p, bytes, where);
}

void arrived(const void* p, std::size_t bytes) {
  const std::size_t offset = watched(p);
  if (offset >= watch.bytes) return;
  for (std::size_t at = offset; at < offset + bytes; ++at)
    shadow.state[at / 4] |= static_cast<std::uint8_t>(0x10u << at % 4);
}

void tell(const Operation& operation, const void* object) {
  if (operation.serial == watch.serial) raise(known_by(object), *operation.known);
}

void learn(const Operation& operation, unsigned thread) {
  if (operation.serial == watch.serial) learn(operation.known, thread);
}

void fence(unsigned thread) {
  Knowledge& k = knowledge();
  k.fenced[thread] = k.clock[thread];
  const std::uint32_t now = tick();
  k.clock[thread] = now;
  refresh();
}

bool is_fenced(Moment write) {
  const unsigned thread = thread_of(write);
  return thread >= watch.first_agent || clock_of(write) <= knowledge().fenced[thread];
}

void block_leaves(unsigned rank) {
  if (!watch.has_agents && group.blocks == 1) return;
  // Everybody of the block has ended: what any of them knows counts.
  Knowledge& k = knowledge();
  const auto known = std::make_shared<Vector>(watch.threads, 0u);
  const Vector* added = nullptr;
  unsigned added_warp = ~0u;
  for (unsigned t = rank * group.block_threads; t < (rank + 1) * group.block_threads; ++t) {
    add_knowledge(*known, t, t / 32 != added_warp || k.overlay[t].get() != added);
    added_warp = t / 32;
    added = k.overlay[t].get();
  }
  const unsigned thread = watch.thread;
  watch.overlay = known->data();
  for (const SharedRange& range : declared())
    if (watched(range.begin) / kArenaBytes == rank) look_for_users(range, rank);
  running(thread);
  if (group.blocks == 1) return;
  watch.left |= 1u << rank;
  for (const SharedRange& range : declared())
    if (watched(range.begin) / kArenaBytes == rank) make_shared_untouchable(range.begin, range.bytes);
}

void watch_registers(unsigned thread, const void* begin, std::size_t bytes) {
  knowledge().registers[thread] = {reinterpret_cast<std::uintptr_t>(begin), bytes};
  if (watch.thread == thread) {
    watch.registers = reinterpret_cast<std::uintptr_t>(begin);
    watch.register_bytes = bytes;
  }
}

void touch_registers(const void* p, std::size_t bytes, Kind kind, Place place) {
  registers_touched(p, bytes, kind != Kind::read, place);
}

}  // namespace graft::simt::checker
