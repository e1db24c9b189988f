#include <graft/kernels/simt/fibers.h>

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#if GRAFT_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace graft::simt {
namespace {

namespace context = boost::context::detail;

// Reserved once for all stacks, so that one comparison tells whether an address lies on one; touched pages alone cost.
// AddressSanitizer puts zones between variables: frames grow several times.
constexpr std::size_t kGuard = 4096, kStack = (GRAFT_SIMT_ASAN ? 512u : 128u) * 1024;

struct Pool {
  char* stacks = nullptr;
  Fiber* fibers = nullptr;  // kMostFibers of them
  unsigned made = 0;
  Fiber* free = nullptr;
  FiberMain main = nullptr;
};

// Never destroyed: fibers keep what a failed kernel left on them.
Pool& pool() {
  static Pool* const pool = [] {
    auto* made = new Pool;
    void* stacks =
        mmap(nullptr, kMostFibers * (kGuard + kStack), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) throw std::bad_alloc();
    made->stacks = static_cast<char*>(stacks);
    made->fibers = new Fiber[kMostFibers];
    return made;
  }();
  return *pool;
}

Fiber the_host;

// The fiber that was left last: its place is known only once the next one runs.
void arrive(context::transfer_t transfer, [[maybe_unused]] void* fake_stack) {
  auto* from = static_cast<Fiber*>(transfer.data);
  from->context = transfer.fctx;
#if GRAFT_SIMT_ASAN
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
  if (from == &the_host) {  // which host thread it is differs from grid to grid
    the_host.stack = static_cast<char*>(const_cast<void*>(bottom));
    the_host.stack_bytes = bytes;
  }
#endif
}

void enter(context::transfer_t transfer) {
  arrive(transfer, nullptr);
  pool().main();
}

}  // namespace

StackRange fiber_stacks() { return {pool().stacks, pool().stacks + kMostFibers * (kGuard + kStack)}; }

Fiber* host_fiber() { return &the_host; }

Fiber* take_fiber(FiberMain main) {
  Pool& all = pool();
  all.main = main;
  if (Fiber* fiber = all.free) {
    all.free = fiber->next_free;
    return fiber;
  }
  if (all.made == kMostFibers) throw std::bad_alloc();
  Fiber* fiber = &all.fibers[all.made];
  fiber->stack = all.stacks + all.made * (kGuard + kStack) + kGuard;
  fiber->stack_bytes = kStack;
  if (mprotect(fiber->stack, kStack, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  ++all.made;
  reset_fiber(fiber);
  return fiber;
}

void give_back(Fiber* fiber) {
  fiber->next_free = pool().free;
  pool().free = fiber;
}

void reset_fiber(Fiber* fiber) {
#if GRAFT_SIMT_ASAN
  __asan_unpoison_memory_region(fiber->stack, fiber->stack_bytes);
#endif
  fiber->context = context::make_fcontext(fiber->stack + fiber->stack_bytes, fiber->stack_bytes, enter);
  fiber->fake_stack = nullptr;
}

void switch_fiber(Fiber* from, Fiber* to) {
#if GRAFT_SIMT_ASAN
  __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
#endif
  const context::transfer_t transfer = context::jump_fcontext(to->context, from);
  arrive(transfer, from->fake_stack);
}

}  // namespace graft::simt
