// wgmma: products of a warpgroup, four warps whose first has a number divisible by 4. Each warp computes the 16 rows of
// d that are its own; that the four do the same is checked by their sequences of instructions. Eager, a product is
// computed when it is issued; lazy, when the warp waits for its group. Either way the registers are nobody's until
// then.
//
// With g = lane / 4 and t = lane % 4, of the warp's 16 rows (as of mma.sync):
//   d[4 j + i]: row g + 8 (i / 2), column 8 j + 2 t + i % 2
//   a[i], 16 bit: row g + 8 (i % 2), columns 2 t + 8 (i / 2) and one more;  tf32: row g + 8 (i % 2), column t + 4 (i /
//   2)
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <graft/kernels/simt/checker_report.h>
#include <graft/kernels/simt/group.h>
#include <graft/kernels/simt/memory.h>
#include <graft/kernels/simt/wgmma_matrix.h>

#include <bit>

namespace graft::simt {
namespace {

constexpr unsigned kAllLanes = 0xffffffffu, kWarps = 4, kMostN = 256, kRows = 16;

// --- registers ------------------------------------------------------------------------------------------------------

struct Registers {
  const char* begin;
  std::size_t bytes;
  bool are_input;      // of a, else of d
  unsigned in_flight;  // products that have not been waited for
  bool touched;        // since the last fence
  std::uint32_t touched_at;
  Loc begun;  // the last product

  bool overlap(const char* p, std::size_t n) const { return p < begin + bytes && begin < p + n; }
};
struct ThreadRegisters {
  std::vector<Registers> all;
};

// --- a warp and its warpgroup ---------------------------------------------------------------------------------------

struct Product {
  Wgmma wgmma;
  float* d[kWarpLanes];
  const std::uint32_t* a[kWarpLanes];
  unsigned group;
  bool done;
  checker::Operation operation;
};

struct WarpState {
  std::vector<Product> products;  // not waited for, oldest first
  unsigned groups = 0;            // committed
  bool fenced = false;
  std::uint64_t step = 0;  // of the warpgroup's sequence
};

// One instruction of a warpgroup, and who has come to it.
struct Step {
  const char* what;
  Loc where;
  std::uint64_t arguments[3];
  unsigned first;  // warp that came first
};
struct Warpgroup {
  std::vector<Step> steps;  // not yet taken by all four
  std::uint64_t first = 0;  // the number of steps[0]
  unsigned ended = 0;       // threads
};

struct State {
  std::vector<ThreadRegisters> registers;  // of each thread
  std::vector<WarpState> warp;
  std::vector<Warpgroup> warpgroup;
  bool used = false;
};
State& state() {
  static auto* const s = new State;
  return *s;
}

unsigned warpgroups_of_block() { return (group.block_warps + kWarps - 1) / kWarps; }
unsigned warpgroup_of(const Thread& t) {
  return t.block * warpgroups_of_block() + (t.warp - t.block * group.block_warps) / kWarps;
}
unsigned warp_in_group(const Thread& t) { return (t.warp - t.block * group.block_warps) % kWarps; }
WarpState& warp_of(const Thread& t) { return state().warp[t.warp]; }

// What a lane brings to fence, commit and wait.
struct Call {
  const char* what;
  int argument;
  Loc where;
};

void take_step(const char* what, Loc where, const std::uint64_t (&arguments)[3]) {
  const Thread& me = *group.current;
  const unsigned mine = warp_in_group(me), first_warp = me.warp - mine;
  if ((me.warp - me.block * group.block_warps) / kWarps * kWarps + kWarps > group.block_warps)
    refuse(where, what, ": the block's last ", group.block_warps % kWarps, " warp(s) are no whole warpgroup");
  Warpgroup& w = state().warpgroup[warpgroup_of(me)];
  WarpState& warp = warp_of(me);
  if (warp.step == w.first + w.steps.size()) {
    w.steps.push_back({what, where, {arguments[0], arguments[1], arguments[2]}, mine});
  } else {
    const Step& s = w.steps[warp.step - w.first];
    if (std::strcmp(s.what, what) != 0 || !same_place(s.where, where))
      refuse(where, what, ": warp ", mine, " of the warpgroup is here where warp ", s.first, " was in ", s.what, " at ",
             s.where, " (the four warps of a warpgroup must execute wgmma alike)");
    if (std::memcmp(s.arguments, arguments, sizeof arguments) != 0)
      refuse(where, what, ": warp ", mine, " and warp ", s.first,
             " of the warpgroup give different descriptors or flags");
  }
  ++warp.step;
  std::uint64_t least = warp.step;
  for (unsigned i = 0; i < kWarps; ++i) least = std::min(least, state().warp[first_warp + i].step);
  w.steps.erase(w.steps.begin(), w.steps.begin() + static_cast<std::ptrdiff_t>(least - w.first));
  w.first = least;
}

template <class Each>
void for_lanes(Each each) {
  const unsigned first = group.number(*group.current) - group.current->lane;
  for (unsigned lane = 0; lane < kWarpLanes; ++lane) each(lane, first + lane);
}

void watch(unsigned thread) {
  if (!checker::enabled()) return;
  const char *begin = nullptr, *end = nullptr;
  for (const Registers& r : state().registers[thread].all) {
    if (begin == nullptr || r.begin < begin) begin = r.begin;
    if (end == nullptr || r.begin + r.bytes > end) end = r.begin + r.bytes;
  }
  checker::watch_registers(thread, begin, static_cast<std::size_t>(end - begin));
}

// A product takes the thread's registers.
void take_registers(unsigned thread, const void* p, std::size_t bytes, bool are_input, Loc where) {
  std::vector<Registers>& all = state().registers[thread].all;
  const char* const begin = static_cast<const char*>(p);
  Registers* mine = nullptr;
  for (std::size_t i = 0; i < all.size();) {
    Registers& r = all[i];
    if (r.begin == begin && r.bytes == bytes && r.are_input == are_input) {
      mine = &r;
    } else if (r.overlap(begin, bytes)) {
      if (r.in_flight != 0)
        refuse(where, "wgmma: its registers are also those of another shape in the product begun at ", r.begun,
               ", which wgmma_wait has not waited for");
      r = all.back();  // what used to be there is no more
      all.pop_back();
      mine = nullptr;
      i = 0;
      continue;
    }
    ++i;
  }
  if (mine == nullptr) {
    all.push_back({begin, bytes, are_input, 0, false, 0, where});
    mine = &all.back();
  }
  if (mine->touched) {
    {
      const OutsideKernel outside;
      std::string text = "wgmma: ";
      text += are_input ? "the registers of a" : "the accumulators";
      text += " were accessed at " + checker::text_of(mine->touched_at) + ", and no wgmma_fence has come since";
      fail(&group.thread[thread], where, text);
    }
    abandon_thread();
  }
  ++mine->in_flight;
  mine->begun = where;
  watch(thread);
}

void give_registers_back(const Product& product) {
  for_lanes([&](unsigned lane, unsigned thread) {
    for (Registers& r : state().registers[thread].all)
      if (r.in_flight != 0 && (r.begin == reinterpret_cast<const char*>(product.d[lane]) ||
                               r.begin == reinterpret_cast<const char*>(product.a[lane])))
        --r.in_flight;
  });
}

// --- products -------------------------------------------------------------------------------------------------------

const char* shared_chunk(std::uint32_t address) { return shared_arena(group.current->block) + address; }

// tf32: the upper 19 bits count.
float to_float(std::uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000u); }
float half_of(MmaType type, std::uint16_t bits) {
  if (type == MmaType::bf16) return std::bit_cast<float>(std::uint32_t{bits} << 16);
  __half value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof bits);
  return static_cast<float>(value);
}

// Calls each(chunk address, row, chunk) of the rows [first, first + rows) of a matrix (of its depth, by columns: all
// 16).
template <class Each>
void for_chunks(std::uint64_t bits, bool by_columns, unsigned first, unsigned rows, Each each) {
  const MatrixDescriptor m(bits);
  if (!by_columns) {
    for (unsigned r = first; r < first + rows; ++r)
      for (unsigned c = 0; c < 2; ++c) each(m.chunk(r, c, false), r, c);
  } else {
    for (unsigned k = 0; k < 16; ++k)
      for (unsigned c = first / 8; c < (first + rows) / 8; ++c) each(m.chunk(k, c, true), k, c);
  }
}

// Rows [first, first + rows) of the matrix as value[k][row - first], k below 16 or (tf32) 8.
template <unsigned Most>
void gather(float (&value)[16][Most], std::uint64_t bits, bool by_columns, unsigned first, unsigned rows,
            MmaType type) {
  for_chunks(bits, by_columns, first, rows, [&](std::uint32_t address, unsigned row, unsigned chunk) {
    const char* const p = shared_chunk(address);
    if (type == MmaType::tf32) {
      std::uint32_t element[4];
      std::memcpy(element, p, sizeof element);
      for (unsigned i = 0; i < 4; ++i) value[chunk * 4 + i][row - first] = to_float(element[i]);
      return;
    }
    std::uint16_t element[8];
    std::memcpy(element, p, sizeof element);
    for (unsigned i = 0; i < 8; ++i) {
      const unsigned k = by_columns ? row : chunk * 8 + i, r = (by_columns ? chunk * 8 + i : row) - first;
      value[k][r] = half_of(type, element[i]);
    }
  });
}

void gather_registers(float (&a)[16][kRows], const Product& p) {
  for (unsigned lane = 0; lane < kWarpLanes; ++lane)
    for (unsigned i = 0; i < 4; ++i) {
      const std::uint32_t bits = p.a[lane][i];
      const unsigned row = lane / 4 + i % 2 * 8, t = lane % 4;
      if (p.wgmma.type == MmaType::tf32) {
        a[t + i / 2 * 4][row] = to_float(bits);
        continue;
      }
      for (unsigned h = 0; h < 2; ++h)
        a[2 * t + i / 2 * 8 + h][row] = half_of(p.wgmma.type, static_cast<std::uint16_t>(bits >> 16 * h));
    }
}

// Of the running thread's warp.
void compute(Product& p) {
  static float a[16][kRows], b[16][kMostN], d[kRows][kMostN];
  const Wgmma& w = p.wgmma;
  const auto n = static_cast<unsigned>(w.n);
  const unsigned depth = w.type == MmaType::tf32 ? 8 : 16;
  if (w.a == nullptr)
    gather(a, w.a_descriptor, w.a_columns, warp_in_group(*group.current) * kRows, kRows, w.type);
  else
    gather_registers(a, p);
  gather(b, w.b_descriptor, w.b_rows, 0, n, w.type);
  const auto each = [&](auto action) {
    for (unsigned lane = 0; lane < kWarpLanes; ++lane)
      for (unsigned i = 0; i < n / 2; ++i)
        action(d[lane / 4 + i % 4 / 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2], p.d[lane][i]);
  };
  if (w.accumulate)
    each([](float& tile, const float& registers) { tile = registers; });
  else
    std::memset(d, 0, sizeof d);
  for (unsigned m = 0; m < kRows; ++m)
    for (unsigned k = 0; k < depth; ++k)
      for (unsigned c = 0; c < n; ++c) d[m][c] += a[k][m] * b[k][c];
  each([](const float& tile, float& registers) { registers = tile; });
  p.done = true;
}

void check_matrix(std::uint64_t bits, const char* name, bool by_columns, unsigned first, unsigned rows, MmaType type,
                  Loc where) {
  const MatrixDescriptor m(bits);
  if (!m.is_valid) refuse(where, "wgmma: the descriptor of ", name, " has bits that must be 0 (a base offset?)");
  if (!m.begins_a_pattern())
    refuse(where, "wgmma: ", name, " begins inside a swizzle's pattern: its address must be a multiple of ", 8 * m.span,
           " (misaligned)");
  if (by_columns && type == MmaType::tf32) refuse(where, "wgmma: ", name, " of tf32 must lie with the depth innermost");
  for_chunks(bits, by_columns, first, rows, [&](std::uint32_t address, unsigned, unsigned) {
    if (address + 16 > kArenaBytes) refuse(where, "wgmma: ", name, " reaches beyond the block's shared memory");
  });
}

// What the product reads, as the warpgroup's agent.
void note_reads(Product& p) {
  const Wgmma& w = p.wgmma;
  p.operation = checker::begin(warpgroup_of(*group.current));
  const auto read = [&](std::uint32_t address, unsigned, unsigned) {
    checker::async_read(shared_chunk(address), 16, w.where);
  };
  if (w.a == nullptr) for_chunks(w.a_descriptor, w.a_columns, warp_in_group(*group.current) * kRows, kRows, read);
  for_chunks(w.b_descriptor, w.b_rows, 0, static_cast<unsigned>(w.n), read);
  checker::end();
}

// --- what the last lane to arrive does for its warp -----------------------------------------------------------------

void issue(void** lanes, unsigned) {
  const auto of = [&](unsigned lane) -> const Wgmma& { return *static_cast<const Wgmma*>(lanes[lane]); };
  const Wgmma& mine = of(group.current->lane);
  for (unsigned lane = 0; lane < kWarpLanes; ++lane)
    if (of(lane).b_descriptor != mine.b_descriptor || of(lane).accumulate != mine.accumulate ||
        (mine.a == nullptr && of(lane).a_descriptor != mine.a_descriptor))
      refuse(mine.where, "wgmma: the lanes of a warp give different descriptors or flags");
  take_step("wgmma", mine.where, {mine.a == nullptr ? mine.a_descriptor : 0, mine.b_descriptor, mine.accumulate});
  WarpState& warp = warp_of(*group.current);
  if (!warp.fenced) refuse(mine.where, "wgmma: no wgmma_fence has come before the first product");
  if (mine.a == nullptr)
    check_matrix(mine.a_descriptor, "a", mine.a_columns, warp_in_group(*group.current) * kRows, kRows, mine.type,
                 mine.where);
  check_matrix(mine.b_descriptor, "b", mine.b_rows, 0, static_cast<unsigned>(mine.n), mine.type, mine.where);
  Product p{mine, {}, {}, warp.groups, false, {}};
  for_lanes([&](unsigned lane, unsigned thread) {
    p.d[lane] = of(lane).d;
    p.a[lane] = of(lane).a;
    take_registers(thread, of(lane).d, static_cast<std::size_t>(mine.n) / 2 * sizeof(float), false, mine.where);
    if (mine.a != nullptr) take_registers(thread, of(lane).a, 4 * sizeof(std::uint32_t), true, mine.where);
  });
  if (checker::enabled()) note_reads(p);
  if (!settings.lazy_async) compute(p);
  warp.products.push_back(std::move(p));
}

const Call& my_call(void** lanes) { return *static_cast<const Call*>(lanes[group.current->lane]); }

void fence(void** lanes, unsigned) {
  take_step("wgmma_fence", my_call(lanes).where, {});
  warp_of(*group.current).fenced = true;
  for_lanes([](unsigned, unsigned thread) {
    for (Registers& r : state().registers[thread].all) r.touched = false;
  });
}

void commit(void** lanes, unsigned) {
  take_step("wgmma_commit", my_call(lanes).where, {});
  ++warp_of(*group.current).groups;
}

void wait(void** lanes, unsigned) {
  const auto keep = static_cast<unsigned>(my_call(lanes).argument);
  take_step("wgmma_wait", my_call(lanes).where, {keep});
  WarpState& warp = warp_of(*group.current);
  std::size_t finished = 0;
  for (Product& p : warp.products) {
    if (p.group + keep >= warp.groups) break;
    if (!p.done) compute(p);
    give_registers_back(p);
    ++finished;
  }
  if (checker::enabled() && finished != 0)  // the last one began with what those before it were
    for_lanes([&](unsigned, unsigned thread) { checker::learn(warp.products[finished - 1].operation, thread); });
  warp.products.erase(warp.products.begin(), warp.products.begin() + static_cast<std::ptrdiff_t>(finished));
}

void together(Call call, Combine combine) {
  state().used = true;
  warp_collective(kAllLanes, &call, combine, call.what, call.where);
}

}  // namespace

void prepare_wgmma() {
  State& s = state();
  if (!s.used && s.registers.size() == group.threads && s.warp.size() == group.warps) return;
  s.used = false;
  s.registers.resize(group.threads);
  for (ThreadRegisters& r : s.registers) r.all.clear();
  s.warp.resize(group.warps);
  for (WarpState& w : s.warp) {
    w.products.clear();
    w.groups = 0;
    w.fenced = false;
    w.step = 0;
  }
  s.warpgroup.resize(group.blocks * warpgroups_of_block());
  for (Warpgroup& w : s.warpgroup) {
    w.steps.clear();
    w.first = 0;
    w.ended = 0;
  }
}

void wgmma(const Wgmma& operation) {
  state().used = true;
  if (operation.n < 8 || operation.n > static_cast<int>(kMostN) || operation.n % 8 != 0)
    refuse(operation.where, "wgmma of ", operation.n, " columns: expected a multiple of 8 up to 256");
  Wgmma mine = operation;
  warp_collective(kAllLanes, &mine, issue, "wgmma", operation.where);
}

void wgmma_fence(Loc where) {
  if (!omitted(where, "wgmma_fence")) together({"wgmma_fence", 0, where}, fence);
}
void wgmma_commit(Loc where) { together({"wgmma_commit", 0, where}, commit); }
void wgmma_wait(int keep, Loc where) {
  if (!omitted(where, "wgmma_wait")) together({"wgmma_wait", keep, where}, wait);
}

void check_wgmma_waited(const Thread& thread) {
  if (!state().used) return;
  if (const std::vector<Product>& products = warp_of(thread).products; !products.empty())
    return blame(thread, products.front().wgmma.where,
                 "the thread returns while the product begun here has not been waited for (wgmma_wait)");
  Warpgroup& w = state().warpgroup[warpgroup_of(thread)];
  if (++w.ended < kWarps * kWarpLanes || w.steps.empty()) return;
  const Thread* const of_first = &group.lane(thread, 0) - warp_in_group(thread) * kWarpLanes;
  for (unsigned i = 0; i < kWarps; ++i) {
    const Thread& late = of_first[i * kWarpLanes];
    if (warp_of(late).step == w.first)
      return blame(late, w.steps[0].where, "warp ", i, " of the warpgroup has returned without this ", w.steps[0].what,
                   ", which warp ", w.steps[0].first, " executed (the four warps must execute wgmma alike)");
  }
}

void registers_touched(const void* p, std::size_t bytes, bool writes, std::uint32_t place) {
  // No thread runs: host code. The linker may have taken an inline function of a kernel's object for it, with its hooks.
  if (group.current == nullptr) return;
  const char* const begin = static_cast<const char*>(p);
  for (Registers& r : state().registers[group.number(*group.current)].all) {
    if (!r.overlap(begin, bytes)) continue;
    if (r.in_flight == 0) {
      r.touched = true;
      r.touched_at = place;
      continue;
    }
    {
      std::string text = writes ? "write of " : "read of ";
      text += r.are_input ? "the registers of a" : "accumulators";
      text += " that belong to the wgmma begun at ";
      append(text, r.begun);
      text += " until wgmma_wait";
      checker::say_at(place, text);
    }
    abandon_thread();
  }
}

// --- one lane for all, registers for the taking ---------------------------------------------------------------------

namespace {

struct Election {
  bool elected;
};

void elect(void** lanes, unsigned) {
  const unsigned leader = settings.order == Order::Forward ? 0
                          : settings.order == Order::Reverse
                              ? 31
                              : static_cast<unsigned>(settings.seed * 7 + 3) % kWarpLanes;
  for (unsigned lane = 0; lane < kWarpLanes; ++lane) static_cast<Election*>(lanes[lane])->elected = lane == leader;
}

void nothing_more(void**, unsigned) {}

}  // namespace

bool elect_one(Loc where) {
  Election mine{false};
  warp_collective(kAllLanes, &mine, elect, "elect_one", where);
  return mine.elected;
}

void set_register_count(int count, Loc where) {
  if (count < 24 || count > 256 || count % 8 != 0)
    refuse(where, "setmaxnreg ", count, ": expected a multiple of 8 from 24 to 256");
  warp_collective(kAllLanes, &count, nothing_more, "setmaxnreg", where);
}

}  // namespace graft::simt
