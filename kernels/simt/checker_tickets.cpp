// Order between the blocks of a launch. Blocks are not ordered, but for one way: a block writes, executes
// __threadfence, and changes a word of device memory by an atomic operation; another block changes the same word after
// it, executes __threadfence in the same thread, and reads. So "the last block to draw a number adds up what all have
// written" is right, and is reported when a fence is missing, or when something is read before the ticket was drawn.
//
// What a thread knows at a fence is its view (of all threads of its block, as barriers have told it). Each atomic
// operation after the fence releases the view at its address; each address counts its releases. An atomic operation
// reads all releases at its address so far: the next fence of its thread makes them known. Barriers pass on what
// threads have learnt. Whether a moment of another block is known is asked only where a race would be reported
// otherwise.
//
// Two things are missed: failed comparisons (atomicCAS) count as changes; and of the blocks that have read a word since
// its last write only the last one, besides the present, is asked for.
#include <graft/kernels/simt/checker.h>

#include <optional>
#include <unordered_map>
#include <utility>

#include <graft/kernels/simt/checker_knowledge.h>
#include <graft/kernels/simt/checker_report.h>

namespace graft::simt::checker {
namespace {

struct View {
  std::uint32_t serial = 0, clock = 0, base = 0, warp_base = 0;
  unsigned thread = 0, warp = 0;
  SharedVector overlay;
  Vector agents;  // what all threads of the block know of each; empty where none were at work
  SharedDrawn drawn;

  bool covers(std::uint32_t of_serial, std::uint32_t of_clock, unsigned of_thread) const {
    if (of_serial != serial) return of_serial < serial;
    if (of_thread == thread) return of_clock <= clock;
    if (of_thread >= watch.first_agent) {
      if (!agents.empty() && of_clock <= agents[of_thread - watch.first_agent]) return true;
    } else if (of_clock <= base || (of_thread / 32 == warp && of_clock <= warp_base)) {
      return true;
    }
    return overlay != nullptr && of_clock <= (*overlay)[of_thread];
  }
};

struct Release {
  std::uint32_t address, number;
  View view;
};
struct Address {
  std::uint32_t number = 0, releases = 0;
  SharedDrawn drawn;  // what those who released here knew
};

// Of the launch.
struct Tickets {
  std::unordered_map<const void*, Address> addresses;
  std::unordered_map<std::uint64_t, std::vector<Release>> releases;  // of each group of blocks
  // Of the group that runs, and of each thread: its view at its last fence, and what it has read since.
  std::vector<std::optional<View>> fenced;
  std::vector<SharedDrawn> read;
  bool group_takes_part = false;
};
Tickets& tickets() {
  static auto* const t = new Tickets;
  return *t;
}

void take_part() {
  Tickets& t = tickets();
  if (t.group_takes_part) return;
  t.group_takes_part = true;
  t.fenced.assign(watch.first_agent, std::nullopt);
  t.read.assign(watch.first_agent, nullptr);
  knowledge().drawn.assign(watch.threads, nullptr);
}

bool knows(const SharedDrawn& drawn, const Release& release) {
  for (const Drawn& d : *drawn)
    if (d.address == release.address) return d.count > release.number;
  return false;
}

// Whether the running thread knows of a release by the moment's block of which `covers(view)` holds.
template <class Covers>
bool knows_of(std::uint32_t serial, Covers covers) {
  const Knowledge& k = knowledge();
  if (k.drawn.empty() || k.drawn[watch.thread] == nullptr) return false;
  const auto of_block = tickets().releases.find(first_block_of(serial));
  if (of_block == tickets().releases.end()) return false;
  for (const Release& release : of_block->second)
    if (covers(release.view) && knows(k.drawn[watch.thread], release)) return true;
  return false;
}

}  // namespace

OtherMoments& other_moments() {
  static auto* const o = new OtherMoments;
  return *o;
}

// Neighbouring cells have mostly been read at the same moment.
std::uint32_t other_read(Moment read) {
  OtherMoments& kept = other_moments();
  const std::uint64_t next = kept.first + kept.moments.size();
  if (tickets().addresses.empty() || (read & kFlag) != 0 || next >= kOtherMoment) return serial_of(read) << 1;
  if (!kept.moments.empty() && kept.moments.back() == read) return kOtherMoment + static_cast<std::uint32_t>(next - 1);
  kept.moments.push_back(read);
  return kOtherMoment + static_cast<std::uint32_t>(next);
}

bool other_known_by_ticket(std::uint32_t other) {
  return (other & kOtherMoment) != 0 ? known_by_ticket(other_moment(other)) : known_by_ticket_of(other >> 1);
}

void begin_launch_tickets() {
  OtherMoments& kept = other_moments();
  kept.first += static_cast<std::uint32_t>(kept.moments.size());
  kept.moments.clear();
  tickets().addresses.clear();
  tickets().releases.clear();
}

void begin_group_tickets() {
  tickets().group_takes_part = false;
  knowledge().drawn.clear();
}

SharedDrawn both(const SharedDrawn& a, const SharedDrawn& b) {
  if (a == b || b == nullptr) return a;
  if (a == nullptr) return b;
  std::vector<Drawn> merged;
  auto i = a->begin(), j = b->begin();
  while (i != a->end() || j != b->end()) {
    if (j == b->end() || (i != a->end() && i->address < j->address))
      merged.push_back(*i++);
    else if (i == a->end() || j->address < i->address)
      merged.push_back(*j++);
    else
      merged.push_back({i->address, std::max(i->count, (j++)->count)}), ++i;
  }
  return std::make_shared<const std::vector<Drawn>>(std::move(merged));
}

void share_drawn() {
  std::vector<SharedDrawn>& drawn = knowledge().drawn;
  SharedDrawn all;
  for (unsigned t = 0; t < watch.first_agent; ++t) all = both(all, drawn[t]);
  for (unsigned t = 0; t < watch.first_agent; ++t) drawn[t] = all;
}

void device_fence() {
  take_part();
  Knowledge& k = knowledge();
  const unsigned thread = watch.thread;
  k.drawn[thread] = both(k.drawn[thread], std::exchange(tickets().read[thread], nullptr));
  View& view = tickets().fenced[thread].emplace();
  view.serial = watch.serial;
  view.clock = k.clock[thread];
  view.base = watch.base;
  view.warp_base = watch.warp_base;
  view.thread = thread;
  view.warp = watch.warp;
  view.overlay = k.overlay[thread];
  if (watch.has_agents) view.agents = k.agent_base;
  view.drawn = k.drawn[thread];
  k.clock[thread] = tick();  // what comes after the fence is not covered
  refresh();
}

void draw(const void* p) {
  take_part();
  Tickets& t = tickets();
  Address& address = t.addresses[p];
  if (address.number == 0) address.number = static_cast<std::uint32_t>(t.addresses.size());
  SharedDrawn& read = t.read[watch.thread];
  if (address.releases > 0) {
    read = both(read, std::make_shared<const std::vector<Drawn>>(1, Drawn{address.number, address.releases}));
    read = both(read, address.drawn);
  }
  const std::optional<View>& view = t.fenced[watch.thread];
  if (!view) return;
  t.releases[first_block_of(watch.group_serial)].push_back({address.number, address.releases++, *view});
  address.drawn = both(address.drawn, view->drawn);
}

bool known_by_ticket(Moment earlier) {
  return knows_of(serial_of(earlier), [&](const View& view) {
    return view.covers(serial_of(earlier), clock_of(earlier), thread_of(earlier));
  });
}

bool known_by_ticket_of(std::uint32_t serial) {
  return knows_of(serial, [&](const View& view) { return view.serial >= serial; });
}

}  // namespace graft::simt::checker
