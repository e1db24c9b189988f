// SIMT block scheduler: one fiber per CUDA thread. Never compile this file with -fsanitize=thread.
#include <graft/kernels/simt/core.h>
#include <boost/context/detail/fcontext.hpp>
#include <sys/mman.h>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <algorithm>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SIMT_ASAN 1
#else
#define SIMT_ASAN 0
#endif
#if defined(SIMT_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" { void __tsan_acquire(void*); void __tsan_release(void*); void __tsan_read_range(void*, unsigned long); void __tsan_write_range(void*, unsigned long); }
#define TRD(p, n) __tsan_read_range((void*)(p), n)
#define TWR(p, n) __tsan_write_range((void*)(p), n)
#define TACQ(p) __tsan_acquire((void*)(p))
#define TREL(p) __tsan_release((void*)(p))
#else
#define TACQ(p) ((void)0)
#define TREL(p) ((void)0)
#define TRD(p, n) ((void)0)
#define TWR(p, n) ((void)0)
#endif
namespace bc = boost::context::detail;
uint3 threadIdx{}, blockIdx{};
dim3 blockDim, gridDim;

namespace graft::simt {
static Options g_opt = [] {
  Options o;
  if (const char* e = getenv("SIMT_ORDER")) o.order = e[0] == 'r' && e[1] == 'e' ? Order::Reverse : e[0] == 'r' ? Order::Random : Order::Forward;
  if (const char* e = getenv("SIMT_SEED")) o.seed = strtoull(e, nullptr, 10);
  if (const char* e = getenv("SIMT_STREAMS")) o.lazy_streams = !strcmp(e, "lazy");
  if (const char* e = getenv("SIMT_ASYNC")) o.lazy_async = strcmp(e, "eager") != 0;
  return o;
}();
Options& options() { return g_opt; }
static Stats g_stats;
Stats& stats() { return g_stats; }
static std::string g_report;   // FIXME fixed buffer
const std::string& last_report() { return g_report; }
void clear_report() { g_report.clear(); }

enum St : uint8_t { Ready, AtBarrier, AtWarp, Spin, Done };
struct PendingCopy { void* dst; const void* src; int bytes, src_bytes; };
struct Fiber {
  bc::fcontext_t ctx{};
  char* stack = nullptr; size_t stack_size = 0;
  void* fake = nullptr; void* tsan = nullptr;
};
struct Thread {
  uint3 tid; unsigned lin, warp, lane;
  St st; Fiber* fiber; Loc loc; const char* what;
  int bar_id; unsigned mask; void* arg; Combine fn; uint64_t val; int aux, aux2;
  std::vector<std::function<void()>> wg_open; std::deque<std::vector<std::function<void()>>> wg_groups;
  std::vector<PendingCopy> open; std::deque<std::vector<PendingCopy>> groups;
};
struct Bar { int arrived = 0, need = 0, pred_count = 0, result = 0; Loc loc{}; char sync; };
struct SharedVar { const void* key; size_t off; };
static constexpr size_t ARENA = 512 * 1024, RED = 64;
struct Block {
  std::vector<Thread> t; unsigned n = 0, done = 0, exited_before_bar = 0;
  Bar bar[16]; char warp_sync[64];
  Thread* cur = nullptr; bool failed = false;
  struct WarpOp { unsigned mask = 0, arrived = 0; Combine fn; Loc loc; const char* what; } wop[32][4];
  std::deque<std::pair<std::function<void()>, int>> tma; char tma_sync;
  char* arena; size_t used; size_t dyn_off, dyn_bytes; std::vector<SharedVar> vars;
  char start_sync, end_sync;
};
static Block B;
static std::vector<std::unique_ptr<Fiber>> g_fibers;
static std::vector<Fiber*> g_free;
static bc::fcontext_t g_hub; [[maybe_unused]] static void* g_hub_fake; [[maybe_unused]] static void* g_hub_tsan;
[[maybe_unused]] static const void* g_hub_bottom; [[maybe_unused]] static size_t g_hub_size;
static const std::function<void()>* g_body;
static std::mt19937_64 g_rng;

static void vfail(const char* fmt, va_list ap) {
  char buf[2048]; vsnprintf(buf, sizeof buf, fmt, ap);
  if (g_report.empty()) g_report = buf;
  B.failed = true;
}
static void fail(const char* fmt, ...) { va_list ap; va_start(ap, fmt); vfail(fmt, ap); va_end(ap); }

static void to_hub() {  // from fiber
  [[maybe_unused]] Fiber* f = B.cur->fiber;
#if SIMT_ASAN
  __sanitizer_start_switch_fiber(&f->fake, g_hub_bottom, g_hub_size);
#endif
#if defined(SIMT_TSAN)
  __tsan_switch_to_fiber(g_hub_tsan, __tsan_switch_to_fiber_no_sync);
#endif
  g_hub = bc::jump_fcontext(g_hub, nullptr).fctx;
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(f->fake, &g_hub_bottom, &g_hub_size);
#endif
}
static void to_fiber(Fiber* f) {  // from hub
  ++g_stats.switches;
#if SIMT_ASAN
  __sanitizer_start_switch_fiber(&g_hub_fake, f->stack, f->stack_size);
#endif
#if defined(SIMT_TSAN)
  __tsan_switch_to_fiber(f->tsan, __tsan_switch_to_fiber_no_sync);
#endif
  f->ctx = bc::jump_fcontext(f->ctx, f).fctx;
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(g_hub_fake, nullptr, nullptr);
#endif
}
static void fiber_main(bc::transfer_t tr) {  // a fiber is a worker: it runs many CUDA threads, one after another
  g_hub = tr.fctx;
#if SIMT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &g_hub_bottom, &g_hub_size);
#endif
  for (;;) {
    TACQ(&B.start_sync);
    (*g_body)();
    Thread* me = B.cur;
    if (!me->open.empty() || !me->groups.empty()) cp_async_wait(0);
    TREL(&B.end_sync);
    me->st = Done; ++B.done;
    to_hub();
  }
}
static Fiber* get_fiber() {
  if (!g_free.empty()) { Fiber* f = g_free.back(); g_free.pop_back(); return f; }
  auto f = std::make_unique<Fiber>();
  size_t sz = g_opt.stack_bytes ? g_opt.stack_bytes : (SIMT_ASAN ? 256u : 64u) * 1024;
  char* m = (char*)mmap(nullptr, sz + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (m == MAP_FAILED) { perror("mmap"); abort(); }
  mprotect(m, 4096, PROT_NONE);
  f->stack = m + 4096; f->stack_size = sz;
  size_t colour = g_fibers.size() % 61 * 192;   // page-aligned stacks would all share a few L1 sets
  f->ctx = bc::make_fcontext(f->stack + sz - colour, sz - colour, fiber_main);
#if defined(SIMT_TSAN)
  f->tsan = __tsan_create_fiber(0);
#endif
  g_fibers.push_back(std::move(f));
  return g_fibers.back().get();
}
static void block_on(St s, Loc l, const char* what) {
  Thread* t = B.cur; t->st = s; t->loc = l; t->what = what;
  to_hub();
  if (B.failed) for (;;) { t->st = Done; to_hub(); }   // never resumed after a failure
}
void device_fail(const char* fmt, ...) {
  va_list ap; va_start(ap, fmt); vfail(fmt, ap); va_end(ap);
  for (;;) to_hub();
}
#define ME_FMT "block (%u,%u,%u) thread (%u,%u,%u)"
#define ME_ARG(t) blockIdx.x, blockIdx.y, blockIdx.z, (t)->tid.x, (t)->tid.y, (t)->tid.z

static void release_bar(int id) {
  Bar& b = B.bar[id];
  ++g_stats.barriers;
  b.arrived = 0; b.result = b.pred_count; b.pred_count = 0; b.need = 0;
  for (auto& t : B.t) if (t.st == AtBarrier && t.bar_id == id) t.st = Ready;
}
static void arrive(int id, int nthreads, int pred, Loc l, const char* what) {
  Bar& b = B.bar[id]; Thread* t = B.cur;
  int need = nthreads > 0 ? nthreads : (int)B.n;
  if (nthreads <= 0 && g_opt.strict_barrier && B.done)
    device_fail(ME_FMT " reaches %s at %s:%d but %u thread(s) of the block have already returned", ME_ARG(t), what, l.file, l.line, B.done);
  if (b.arrived && g_opt.strict_barrier && nthreads <= 0 && (b.loc.line != l.line || strcmp(b.loc.file, l.file)))
    device_fail(ME_FMT " reaches %s at %s:%d while other threads wait in one at %s:%d (divergent barrier)", ME_ARG(t), what, l.file, l.line, b.loc.file, b.loc.line);
  b.loc = l; b.pred_count += pred; t->bar_id = id; b.need = need;
  TREL(&b.sync);
  int exited = nthreads <= 0 ? (int)B.done : 0;
  if (++b.arrived + exited >= need) { release_bar(id); }
  else block_on(AtBarrier, l, what);
  TACQ(&b.sync);
}
void block_barrier(int id, int n, Loc l, const char* what) { arrive(id, n, 0, l, what); }
int block_reduce_barrier(int kind, int pred, Loc l) {
  arrive(0, 0, pred != 0, l, "__syncthreads_*");
  int c = B.bar[0].result;
  // result must survive until all have read it: a second arrival would need all threads, so it does
  return kind == 0 ? c : kind == 1 ? c == (int)B.n : c > 0;
}
// --- warp collectives: the last lane to arrive computes for everybody ---
static bool warp_arrive(unsigned mask, Combine fn, const char* what, Loc l, Thread** lanes) {
  Thread* me = B.cur; unsigned w = me->warp, bit = 1u << me->lane, base = w * 32, cnt = std::min(32u, B.n - base);
  Block::WarpOp *op = nullptr, *free_slot = nullptr;
  for (auto& o : B.wop[w]) {
    if (!o.arrived) { if (!free_slot) free_slot = &o; continue; }
    if (!(o.mask & mask)) continue;                       // a disjoint group of lanes
    if (o.mask != mask || o.fn != fn || o.loc.line != l.line || !(o.mask & bit))
      device_fail(ME_FMT ": %s (mask %08x) at %s:%d but lanes %08x wait in %s (mask %08x) at %s:%d", ME_ARG(me), what, mask, l.file, l.line, o.arrived, o.what, o.mask, o.loc.file, o.loc.line);
    op = &o; break;
  }
  if (!op) {                                              // first lane to arrive: validate the mask
    if (!(mask & bit)) device_fail(ME_FMT ": %s at %s:%d: mask %08x does not name the calling lane %u", ME_ARG(me), what, l.file, l.line, mask, me->lane);
    if (cnt < 32 && mask >> cnt) device_fail(ME_FMT ": %s at %s:%d: mask %08x names lanes that do not exist (blockDim not a multiple of 32)", ME_ARG(me), what, l.file, l.line, mask);
    for (unsigned i = 0; i < cnt; ++i) if (mask >> i & 1 && B.t[base + i].st == Done)
      device_fail(ME_FMT ": %s at %s:%d: mask %08x names lane %u, which has returned", ME_ARG(me), what, l.file, l.line, mask, i);
    op = free_slot; *op = {mask, 0, fn, l, what};
  }
  op->arrived |= bit;
  if (op->arrived != mask) return false;
  op->arrived = 0;
  for (unsigned i = 0; i < 32; ++i) lanes[i] = mask >> i & 1 ? &B.t[base + i] : nullptr;
  return true;
}
void warp_collective(unsigned mask, void* arg, Combine fn, const char* what, Loc l, bool mem) {
  Thread* lanes[32]; Thread* me = B.cur; me->arg = arg; me->loc = l;
  if (mem) TREL(&B.warp_sync[me->warp]);
  if (warp_arrive(mask, fn, what, l, lanes)) {
    ++g_stats.collectives;
    void* a[32];
    for (int i = 0; i < 32; ++i) a[i] = lanes[i] ? lanes[i]->arg : nullptr;
    if (mem) TACQ(&B.warp_sync[me->warp]);
    if (fn) fn(a, mask);
    if (mem) TREL(&B.warp_sync[me->warp]);
    for (int i = 0; i < 32; ++i) if (lanes[i] && lanes[i] != me) lanes[i]->st = Ready;
  } else block_on(AtWarp, l, what);
  if (mem) TACQ(&B.warp_sync[me->warp]);
}
static void shfl_tag(void**, unsigned) {}
static void vote_tag(void**, unsigned) {}
uint64_t warp_shfl(int kind, unsigned mask, uint64_t v, int arg, int width, Loc l) {
  Thread* lanes[32]; Thread* me = B.cur; me->val = v; me->aux = arg; me->aux2 = width;
  static const char* names[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync"};
  if (warp_arrive(mask, shfl_tag, names[kind], l, lanes)) {
    ++g_stats.collectives;
    uint64_t out[32];
    for (int i = 0; i < 32; ++i) if (lanes[i]) {
      int a = lanes[i]->aux, wd = lanes[i]->aux2, seg = i & ~(wd - 1), src = i;
      if (kind == 0) src = seg | (a & (wd - 1));
      else if (kind == 1) src = i - a < seg ? i : i - a;
      else if (kind == 2) src = i + a >= seg + wd ? i : i + a;
      else { src = i ^ a; if (src >= seg + wd) src = i; }
      out[i] = lanes[src] ? lanes[src]->val : 0x7ff7fffe7ff7fffeull;  // inactive source lane: garbage
    }
    for (int i = 0; i < 32; ++i) if (lanes[i]) { lanes[i]->val = out[i]; lanes[i]->st = Ready; }
  } else block_on(AtWarp, l, names[kind]);
  return me->val;
}
unsigned warp_vote(unsigned mask, int pred, Loc l) {
  Thread* lanes[32]; Thread* me = B.cur; me->val = pred != 0;
  if (warp_arrive(mask, vote_tag, "__ballot_sync", l, lanes)) {
    ++g_stats.collectives;
    unsigned r = 0;
    for (int i = 0; i < 32; ++i) if (lanes[i] && lanes[i]->val) r |= 1u << i;
    for (int i = 0; i < 32; ++i) if (lanes[i]) { lanes[i]->val = r; lanes[i]->st = Ready; }
  } else block_on(AtWarp, l, "__ballot_sync");
  return (unsigned)me->val;
}
void yield_spin(Loc l, const char* what) { block_on(Spin, l, what); }
unsigned lane_id() { return B.cur->lane; }
unsigned warp_id() { return B.cur->warp; }

// --- shared memory arena: [red][var][red][var]...; fresh garbage for every block ---
static void arena_reset(size_t dyn) {
  if (!B.arena) {
    B.arena = (char*)mmap(nullptr, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(B.arena, 0xff, ARENA);
  } else {
#if SIMT_ASAN
    __asan_unpoison_memory_region(B.arena, B.used);
#endif
    memset(B.arena, 0xff, B.used);      // NaN in every float format, -1 as int: fresh garbage for every block
  }
  B.vars.clear();
  B.dyn_off = 1024; B.dyn_bytes = dyn;
  B.used = (B.dyn_off + dyn + RED + 127) & ~127ull;
  if (B.used > ARENA) { fail("dynamic shared memory %zu does not fit", dyn); return; }
#if SIMT_ASAN
  __asan_poison_memory_region(B.arena, ARENA);
  __asan_unpoison_memory_region(B.arena + B.dyn_off, dyn);
#endif
}
void* static_shared(const void* key, size_t bytes, size_t align) {
  for (auto& v : B.vars) if (v.key == key) return B.arena + v.off;
  if (align < 16) align = 16;
  size_t off = (B.used + align - 1) / align * align;
  if (off + bytes + RED > ARENA) device_fail("static shared memory does not fit");
  B.vars.push_back({key, off}); B.used = off + bytes + RED;
#if SIMT_ASAN
  __asan_unpoison_memory_region(B.arena + off, bytes);
#endif
  return B.arena + off;
}
void* dynamic_shared(size_t* b) { if (b) *b = B.dyn_bytes; return B.arena + B.dyn_off; }
uint32_t shared_addr(const void* p) { return (uint32_t)((const char*)p - B.arena); }
void* shared_ptr32(uint32_t a) { return B.arena + a; }

// --- cp.async: executed at issue (eager) or at the wait that needs it (lazy) ---
static void do_copy(const PendingCopy& c) {
  TRD(c.src, c.src_bytes); TWR(c.dst, c.bytes);
  memcpy(c.dst, c.src, c.src_bytes); memset((char*)c.dst + c.src_bytes, 0, c.bytes - c.src_bytes); }
void cp_async(void* d, const void* s, int b, int sb, Loc l) {
  if (((uintptr_t)d | (uintptr_t)s) & (b - 1)) device_fail("misaligned cp.async at %s:%d", l.file, l.line);
  PendingCopy c{d, s, b, sb};
  if (g_opt.lazy_async) B.cur->open.push_back(c); else do_copy(c);
}
void cp_async_commit() { B.cur->groups.push_back(std::move(B.cur->open)); B.cur->open.clear(); }
void cp_async_wait(int keep) {
  auto& g = B.cur->groups;
  while ((int)g.size() > keep) { for (auto& c : g.front()) do_copy(c); g.pop_front(); }
}

// --- mbarrier: 8 bytes of shared memory, the model's own layout ---
struct MBar { uint16_t expected; int16_t pending; int32_t tx2phase; };   // tx2phase = tx*2 + phase
static_assert(sizeof(MBar) == 8);
static void mbar_check(MBar* m) {
  if (m->pending == 0 && (m->tx2phase >> 1) == 0) { m->pending = (int16_t)m->expected; m->tx2phase = (m->tx2phase & 1) ^ 1; }
}
void mbar_init(uint64_t* b, int count) { MBar m{(uint16_t)count, (int16_t)count, 0}; memcpy(b, &m, 8); }
void mbar_arrive(uint64_t* b, int tx, bool arrive) {   // expect_tx and/or arrive
  MBar* m = (MBar*)b; m->tx2phase += tx * 2; TREL(b);
  if (arrive && --m->pending < 0) device_fail("mbarrier: more arrivals than its count");
  mbar_check(m);
}
static void mbar_complete_tx(uint64_t* b, int bytes) { MBar* m = (MBar*)b; m->tx2phase -= bytes * 2; mbar_check(m); }
bool mbar_test(uint64_t* b, int parity) { MBar* m = (MBar*)b; bool done = (m->tx2phase & 1) != parity; if (done) TACQ(b); return done; }
void bulk_copy(uint64_t* bar, int bytes, std::function<void()> f) {
  if (g_opt.lazy_async) { B.tma.emplace_back([=] { f(); mbar_complete_tx(bar, bytes); }, 0); return; }
  f(); TREL(bar); mbar_complete_tx(bar, bytes);
}
static bool run_bulk() { if (B.tma.empty()) return false; auto f = std::move(B.tma.front().first); B.tma.pop_front(); f(); return true; }
void async_issue(std::function<void()> f) { if (g_opt.lazy_async) B.cur->wg_open.push_back(std::move(f)); else f(); }
void async_commit() { B.cur->wg_groups.push_back(std::move(B.cur->wg_open)); B.cur->wg_open.clear(); }
void async_wait(int keep) { auto& g = B.cur->wg_groups; while ((int)g.size() > keep) { for (auto& f : g.front()) f(); g.pop_front(); } }

static void report_deadlock() {
  std::string s = "deadlock: no thread can continue; ";
  int shown = 0; char buf[256];
  const Thread* prev = nullptr;
  for (auto& t : B.t) {
    if (prev && prev->st == t.st && (t.st == Done || (prev->loc.line == t.loc.line && prev->what == t.what))) continue;
    prev = &t;
    if (++shown > 8) break;
    if (t.st == Done) snprintf(buf, sizeof buf, "[thread %u..: returned] ", t.lin);
    else snprintf(buf, sizeof buf, "[thread %u..: %s %s:%d] ", t.lin, t.what, t.loc.file, t.loc.line);
    s += buf;
  }
  fail("block (%u,%u,%u): %s", blockIdx.x, blockIdx.y, blockIdx.z, s.c_str());
}
static void run_thread(Thread& t) {
  if (!t.fiber) t.fiber = get_fiber();
  B.cur = &t; threadIdx = t.tid;
  to_fiber(t.fiber);
  if (B.failed || t.st != Done) return;
  for (auto& o : B.wop[t.warp]) if (o.arrived && o.mask >> t.lane & 1) fail(ME_FMT " returns while lanes %08x wait for it in %s (mask %08x) at %s:%d", ME_ARG(&t), o.arrived, o.what, o.mask, o.loc.file, o.loc.line);
#if !defined(SIMT_TSAN)
  g_free.push_back(t.fiber);
#endif
  t.fiber = nullptr;
  Bar& b = B.bar[0];
  if (b.arrived && b.need == (int)B.n) {
    if (g_opt.strict_barrier) fail(ME_FMT " returns while %d thread(s) wait in a barrier at %s:%d", ME_ARG(&t), b.arrived, b.loc.file, b.loc.line);
    else if (b.arrived + (int)B.done >= (int)B.n) release_bar(0);
  }
}
static void run_block(const LaunchDims& d) {
  unsigned n = d.block.x * d.block.y * d.block.z;
  B.n = n; B.done = 0; B.failed = false;
  for (auto& b : B.bar) b = Bar{};
  B.tma.clear();
  for (auto& w : B.wop) for (auto& o : w) o.arrived = 0;
  arena_reset(d.smem);
  if (B.t.size() != n) B.t.resize(n);
  for (unsigned i = 0; i < n; ++i) {
    Thread& t = B.t[i];
    t.tid = {i % d.block.x, i / d.block.x % d.block.y, i / d.block.x / d.block.y};
    t.lin = i; t.warp = i / 32; t.lane = i % 32; t.st = Ready; t.fiber = nullptr; t.what = "";
    t.open.clear(); t.groups.clear(); t.wg_open.clear(); t.wg_groups.clear();
  }
#if defined(SIMT_TSAN)
  for (unsigned i = 0; i < n; ++i) B.t[i].fiber = i < g_fibers.size() ? g_fibers[i].get() : get_fiber();
#endif
  TREL(&B.start_sync);
  // Warp-greedy: a warp runs until none of its threads can continue, then the next one. (A fair round-robin
  // would keep warps in step and hide missing barriers between warps that use shuffles.)
  const unsigned nw = (n + 31) / 32; const bool rev = g_opt.order == Order::Reverse, rnd = g_opt.order == Order::Random;
  unsigned char lane_ord[32], warp_ord[32];
  for (unsigned i = 0; i < 32; ++i) lane_ord[i] = rev ? 31 - i : i;
  for (unsigned i = 0; i < nw; ++i) warp_ord[i] = rev ? nw - 1 - i : i;
  int spins = 0;
  while (B.done < n && !B.failed) {
    bool progress = false, spun = false;
    if (rnd) std::shuffle(warp_ord, warp_ord + nw, g_rng);
    for (unsigned wi = 0; wi < nw && !B.failed; ++wi) {
      const unsigned base = warp_ord[wi] * 32, cnt = std::min(32u, n - base);
      int burst = rnd && (g_rng() & 1) ? 1 + (int)(g_rng() % 8) : 1 << 30;
      for (; burst > 0 && !B.failed; --burst) {
        if (rnd) std::shuffle(lane_ord, lane_ord + 32, g_rng);
        bool any = false;
        for (unsigned k = 0; k < 32; ++k) {
          if (lane_ord[k] >= cnt) continue;
          Thread& t = B.t[base + lane_ord[k]];
          if (t.st == Spin) { spun = true; t.st = Ready; }
          else if (t.st == Ready) any = true;
          else continue;
          run_thread(t);
          if (B.failed) break;
        }
        if (!any) break;
        progress = true;
      }
    }
    if (B.failed) break;
    if (!progress && run_bulk()) continue;                     // bulk copies land as late as possible
    if (!progress && (!spun || ++spins > 20000)) { report_deadlock(); break; }
    if (progress) spins = 0;
  }
  TACQ(&B.end_sync);
  ++g_stats.blocks; g_stats.threads += n;
  if (B.failed) {  // abandon: fibers stuck mid-kernel are dropped (stack leaked on purpose, error is fatal for the launch)
    for (auto& t : B.t) if (t.fiber) t.fiber = nullptr;
    g_free.clear();
#if defined(SIMT_TSAN)
    for (auto& f : g_fibers) f.release(); g_fibers.clear();
#endif
  }
}
void run_grid(const LaunchDims& d, const std::function<void()>& body) {
#if defined(SIMT_TSAN)
  g_hub_tsan = __tsan_get_current_fiber();
#endif
  g_body = &body; blockDim = d.block; gridDim = d.grid;
  g_rng.seed(g_opt.seed);
  size_t nb = (size_t)d.grid.x * d.grid.y * d.grid.z;
  std::vector<unsigned> bo(nb); std::iota(bo.begin(), bo.end(), 0u);
  if (g_opt.order == Order::Reverse) std::reverse(bo.begin(), bo.end());
  if (g_opt.order == Order::Random) std::shuffle(bo.begin(), bo.end(), g_rng);
  for (size_t i = 0; i < nb; ++i) {
    unsigned b = bo[i];
    blockIdx = {b % d.grid.x, b / d.grid.x % d.grid.y, (unsigned)(b / d.grid.x / d.grid.y)};
    run_block(d);
    if (B.failed) { g_report = std::string(d.name ? d.name : "kernel") + ": " + g_report; break; }
  }
}
}  // namespace simt
