#include <graft/kernels/cpu/dnnl_compat.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include <graft/kernels/cpu/common.h>
#include <graft/kernels/runtime/of_thread.h>
#include <graft/kernels/runtime/openmp.h>

namespace graft::kernels::cpu {
namespace {

using dnnl::memory;
using dnnl::primitive_attr;
using dnnl::prop_kind;
using tag = memory::format_tag;

#if DNNL_VERSION_MAJOR < 2 || (DNNL_VERSION_MAJOR == 2 && DNNL_VERSION_MINOR < 6)
#error "oneDNN 2.6 or newer is needed"
#endif

// Never destroyed: primitives of other threads may outlive the statics of this file.
const dnnl::engine& engine() {
  static const auto* instance = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *instance;
}

std::atomic<bool> ended{false};

// oneDNN's static objects are made as they are needed and destroyed in the reverse order, before whatever the program
// registered earlier: a handler of std::atexit from the start of main comes after them. One of ours that is registered
// behind them comes before them all.
void something_new_has_run() {
  constexpr int kEnough = 1000;  // after so many primitives there is nothing new any more
  static std::atomic<int> times{0};
  if (times.fetch_add(1, std::memory_order_relaxed) < kEnough) std::atexit([] { ended = true; });
}

dnnl_stream_t stream() {
  thread_local const dnnl::stream* mine = nullptr;
  return runtime::of_thread(mine, [] { return std::make_unique<const dnnl::stream>(engine()); }).get();
}

memory::data_type data_type(std::int64_t dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::bf16:
      return memory::data_type::bf16;
    case DType::f16:
      return memory::data_type::f16;
    default:
      return memory::data_type::f32;
  }
}

primitive_attr attributes() {
  primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

bool starts_with(const char* text, const char* prefix) { return std::strncmp(text, prefix, std::strlen(prefix)) == 0; }

bool any_implementation(const char*) { return true; }

// Steps to the first implementation that `accept` likes, none of oneDNN's slow references; nothing when there is none.
// In 2.x the op descriptor must still live here, as the iteration reads it.
template <class Desc, class Accept>
std::optional<Desc> choose(Desc desc, Accept accept) {
  for (;;) {
    const char* name = desc.impl_info_str();
    if (!starts_with(name, "ref") && accept(name)) return desc;
    if (!desc.next_impl()) return std::nullopt;
  }
}

struct ConvDescs {
  memory::desc x, w_plain, w_any, bias, y;
  memory::dims stride, dilation, padding;
};

ConvDescs conv_descs(const ConvSpec& s) {
  const auto type = data_type(s.dtype);
  ConvDescs d;
  // One channel lies the same way in NCHW and NHWC; told as NCHW, oneDNN 2.6 would take its reference implementation.
  d.x = memory::desc({s.n, s.c, s.h, s.w}, type, tag::nhwc);
  d.y = memory::desc({s.n, s.k, s.p, s.q}, type, tag::nhwc);
  if (s.groups == 1) {
    const memory::dims dims = {s.k, s.c, s.r, s.s};
    d.w_plain = memory::desc(dims, type, tag::ohwi);
    d.w_any = memory::desc(dims, type, tag::any);
  } else {
    const memory::dims dims = {s.groups, s.k / s.groups, s.c / s.groups, s.r, s.s};
    d.w_plain = memory::desc(dims, type, tag::gohwi);
    d.w_any = memory::desc(dims, type, tag::any);
  }
  if (s.bias) d.bias = memory::desc({s.k}, type, tag::x);
  d.stride = {s.stride_h, s.stride_w};
  d.dilation = {s.dilation_h - 1, s.dilation_w - 1};
  d.padding = {s.padding_h, s.padding_w};
  return d;
}

template <class Accept>
std::optional<dnnl::convolution_forward::primitive_desc> forward_desc(const ConvDescs& d, Accept accept) {
  using Conv = dnnl::convolution_forward;
  constexpr auto algorithm = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  return choose(Conv::primitive_desc(engine(), prop_kind::forward_training, algorithm, d.x, d.w_any, d.bias, d.y,
                                     d.stride, d.dilation, d.padding, d.padding, attributes()),
                accept);
#else
  const Conv::desc op(prop_kind::forward_training, algorithm, d.x, d.w_any, d.bias, d.y, d.stride, d.dilation,
                      d.padding, d.padding);
  return choose(Conv::primitive_desc(op, attributes(), engine()), accept);
#endif
}

// The forward descriptor that a backward one asks for: any will do.
dnnl::convolution_forward::primitive_desc forward_hint(const ConvDescs& d) {
  return forward_desc(d, any_implementation).value();
}

std::optional<dnnl::convolution_backward_data::primitive_desc> backward_data_desc(const ConvDescs& d) {
  using Conv = dnnl::convolution_backward_data;
  constexpr auto algorithm = dnnl::algorithm::convolution_direct;
  const auto hint = forward_hint(d);
#if DNNL_VERSION_MAJOR >= 3
  return choose(Conv::primitive_desc(engine(), algorithm, d.x, d.w_any, d.y, d.stride, d.dilation, d.padding, d.padding,
                                     hint, attributes()),
                any_implementation);
#else
  const Conv::desc op(algorithm, d.x, d.w_any, d.y, d.stride, d.dilation, d.padding, d.padding);
  return choose(Conv::primitive_desc(op, attributes(), engine(), hint), any_implementation);
#endif
}

std::optional<dnnl::convolution_backward_weights::primitive_desc> backward_weight_desc(const ConvDescs& d) {
  using Conv = dnnl::convolution_backward_weights;
  constexpr auto algorithm = dnnl::algorithm::convolution_direct;
  const auto hint = forward_hint(d);
#if DNNL_VERSION_MAJOR >= 3
  return choose(Conv::primitive_desc(engine(), algorithm, d.x, d.w_any, d.y, d.stride, d.dilation, d.padding, d.padding,
                                     hint, attributes()),
                any_implementation);
#else
  const Conv::desc op(algorithm, d.x, d.w_any, d.y, d.stride, d.dilation, d.padding, d.padding);
  return choose(Conv::primitive_desc(op, attributes(), engine(), hint), any_implementation);
#endif
}

// bias may be a zero descriptor: none.
std::optional<dnnl::matmul::primitive_desc> matmul_desc(const memory::desc& a, const memory::desc& b,
                                                        const memory::desc& bias, const memory::desc& y) {
  using Matmul = dnnl::matmul;
#if DNNL_VERSION_MAJOR >= 3
  return choose(Matmul::primitive_desc(engine(), a, b, bias, y, attributes()), any_implementation);
#else
  const Matmul::desc op(a, b, bias, y);
  return choose(Matmul::primitive_desc(op, attributes(), engine()), any_implementation);
#endif
}

// Below this line nothing depends on the version.

memory unbound(const memory::desc& desc) { return memory(desc, engine(), DNNL_MEMORY_NONE); }

// oneDNN asks OpenMP how many threads there are, and OpenMP's answer belongs to the calling thread: it is made to say
// what the primitive was planned for.
class ThreadScope {
 public:
  explicit ThreadScope(std::int64_t threads) : previous_(omp_get_max_threads()) {
    if (threads > 1) detail::note_threads();
    omp_set_num_threads(static_cast<int>(threads));
  }
  ~ThreadScope() { omp_set_num_threads(previous_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int previous_;
};

// A memory object with a buffer of its own.
struct OwnedMemory {
  explicit OwnedMemory(const memory::desc& desc) : buffer(desc.get_size()), object(desc, engine(), buffer.as<void>()) {}
  Workspace buffer;
  memory object;
};

void execute(const dnnl::primitive& primitive, int count, const dnnl_exec_arg_t* args) {
  const dnnl_status_t status = dnnl_primitive_execute(primitive.get(), stream(), count, args);
  check(status == dnnl_success, "oneDNN: a primitive failed to run (status ", static_cast<int>(status), ")");
  dnnl_stream_wait(stream());
}

void bind(const memory& object, const void* data) {
  const dnnl_status_t status = dnnl_memory_set_data_handle(object.get(), const_cast<void*>(data));
  check(status == dnnl_success, "oneDNN: a memory object takes no pointer (status ", static_cast<int>(status), ")");
}

// Converts one operand between two layouts.
class Reorder {
 public:
  Reorder(const memory::desc& from, const memory::desc& to) {
    const dnnl::reorder::primitive_desc desc(engine(), from, engine(), to, attributes());
    primitive_ = dnnl::reorder(desc);
    scratchpad_ = unbound(desc.scratchpad_desc());
    scratchpad_bytes_ = desc.scratchpad_desc().get_size();
  }

  void run(const memory& from, const memory& to) {
    const Workspace scratch(scratchpad_bytes_);
    bind(scratchpad_, scratch.as<void>());
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_FROM, from.get()}, {DNNL_ARG_TO, to.get()}, {DNNL_ARG_SCRATCHPAD, scratchpad_.get()}};
    execute(primitive_, 3, args);
  }

 private:
  dnnl::reorder primitive_;
  memory scratchpad_;
  std::size_t scratchpad_bytes_ = 0;
};

// Packed copies of one weight operand. Layers of equal geometry share a primitive, so a few copies are kept. A tag seen
// for the first time goes to one slot that is overwritten each time (weights that training changes have a new tag at
// every step); a tag that misses again is one that stays, and gets a slot of its own.
class PackedWeights {
 public:
  PackedWeights(const memory::desc& plain, const memory::desc& packed)
      : desc_(packed), reorder_(plain, packed), plain_(unbound(plain)) {}

  const memory& get(const void* weights, std::uint64_t weights_tag) {
    if (weights_tag != 0)
      for (Slot& slot : slots_)
        if (slot.tag == weights_tag) {
          slot.used = ++clock_;
          return slot.copy->object;
        }
    Slot& slot = choose_slot(weights_tag);
    slot.tag = 0;  // should the reorder fail, the slot holds nothing
    bind(plain_, weights);
    reorder_.run(plain_, slot.copy->object);
    ++packs_;
    slot.tag = weights_tag;
    slot.used = ++clock_;
    return slot.copy->object;
  }

  std::uint64_t packs() const { return packs_; }

 private:
  static constexpr std::size_t kMaxSlots = 8;
  static constexpr std::size_t kMaxBytes = std::size_t{64} << 20;  // of all copies of one operand
  static constexpr std::size_t kRecent = 16;

  struct Slot {
    std::unique_ptr<OwnedMemory> copy;
    std::uint64_t tag = 0, used = 0;
  };

  Slot& choose_slot(std::uint64_t weights_tag) {
    if (slots_.empty()) {
      slots_.reserve(kMaxSlots);
      slots_.push_back({std::make_unique<OwnedMemory>(desc_)});
      remember(weights_tag);
      return slots_[0];
    }
    if (weights_tag == 0 || !seen(weights_tag)) {
      remember(weights_tag);
      return slots_[0];
    }
    if (slots_.size() < kMaxSlots && (slots_.size() + 1) * desc_.get_size() <= kMaxBytes) {
      slots_.push_back({std::make_unique<OwnedMemory>(desc_)});
      return slots_.back();
    }
    std::size_t oldest = slots_.size() > 1 ? 1 : 0;
    for (std::size_t i = oldest; i < slots_.size(); ++i)
      if (slots_[i].used < slots_[oldest].used) oldest = i;
    return slots_[oldest];
  }

  bool seen(std::uint64_t weights_tag) const {
    for (std::uint64_t t : recent_)
      if (t == weights_tag) return true;
    return false;
  }
  void remember(std::uint64_t weights_tag) {
    if (weights_tag != 0) recent_[next_++ % kRecent] = weights_tag;
  }

  memory::desc desc_;
  Reorder reorder_;
  memory plain_;
  std::vector<Slot> slots_;
  std::array<std::uint64_t, kRecent> recent_{};
  std::size_t next_ = 0;
  std::uint64_t clock_ = 0, packs_ = 0;
};

struct Operand {
  int arg = 0;
  memory::desc desc;        // what the primitive wants
  memory::desc plain = {};  // what the caller has, where it may differ
};

class DnnlPrimitive final : public Primitive {
 public:
  template <class Desc>
  DnnlPrimitive(const dnnl::primitive& primitive, const Desc& desc, const Operand& src, const Operand& weights,
                int bias_arg, const Operand& dst, std::int64_t threads)
      : primitive_(primitive), implementation_(desc.impl_info_str()), threads_(threads) {
    src_ = add(src.arg, src.desc);
    weights_ = add(weights.arg, weights.desc);
    if (!weights.plain.is_zero() && weights.plain != weights.desc)
      packed_ = std::make_unique<PackedWeights>(weights.plain, weights.desc);
    if (bias_arg != 0) bias_ = add(bias_arg, desc.query_md(dnnl::query::weights_md, 1));
    dst_ = add(dst.arg, dst.desc);
    if (!dst.plain.is_zero() && dst.plain != dst.desc) {
      blocked_dst_ = std::make_unique<OwnedMemory>(dst.desc);
      unpack_ = std::make_unique<Reorder>(dst.desc, dst.plain);
      plain_dst_ = unbound(dst.plain);
      args_[dst_].memory = blocked_dst_->object.get();
    }
    scratchpad_ = add(DNNL_ARG_SCRATCHPAD, desc.scratchpad_desc());
    scratchpad_bytes_ = desc.scratchpad_desc().get_size();
  }

  void run(const void* src, const void* weights, const void* bias, void* dst, std::uint64_t weights_tag) override {
    const ThreadScope scope(threads_);
    bind(memories_[src_], src);
    if (packed_)
      args_[weights_].memory = packed_->get(weights, weights_tag).get();
    else
      bind(memories_[weights_], weights);
    if (bias_ != 0) bind(memories_[bias_], bias);
    if (!unpack_) bind(memories_[dst_], dst);
    const Workspace scratch(scratchpad_bytes_);
    bind(memories_[scratchpad_], scratch.as<void>());
    execute(primitive_, count_, args_.data());
    if (unpack_) {
      bind(plain_dst_, dst);
      unpack_->run(blocked_dst_->object, plain_dst_);
    }
    if (!has_run_) something_new_has_run();
    has_run_ = true;
  }

  const char* implementation() const override { return implementation_.c_str(); }
  bool bits_depend_on_threads() const override {
    return starts_with(implementation_.c_str(), "gemm:") || starts_with(implementation_.c_str(), "x64:gemm:");
  }
  std::uint64_t packs() const override { return packed_ ? packed_->packs() : 0; }

 private:
  std::size_t add(int arg, const memory::desc& desc) {
    const auto at = static_cast<std::size_t>(count_++);
    memories_[at] = unbound(desc);
    args_[at] = {arg, memories_[at].get()};
    return at;
  }

  dnnl::primitive primitive_;
  std::string implementation_;
  std::int64_t threads_;
  std::array<memory, 5> memories_;
  std::array<dnnl_exec_arg_t, 5> args_{};
  int count_ = 0;
  bool has_run_ = false;
  std::size_t src_ = 0, weights_ = 0, bias_ = 0, dst_ = 0, scratchpad_ = 0;
  std::unique_ptr<PackedWeights> packed_;
  std::unique_ptr<OwnedMemory> blocked_dst_;
  std::unique_ptr<Reorder> unpack_;
  memory plain_dst_;
  std::size_t scratchpad_bytes_ = 0;
};

// oneDNN throws where it has no implementation (bf16 on an old processor): that is an answer, not an error.
template <class F>
std::unique_ptr<Primitive> or_none(std::int64_t threads, F&& make) {
  const ThreadScope scope(threads);
  try {
    return make();
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace

bool onednn_has_ended() {
  if (!ended.load(std::memory_order_relaxed)) [[likely]]
    return false;
  static std::atomic<bool> said{false};
  if (!said.exchange(true))
    std::fputs(
        "graft: the program is ending, and oneDNN has ended: products and convolutions on the CPU run on the slow "
        "reference backend\n",
        stderr);
  return true;
}

int planned_threads() { return omp_in_parallel() ? 1 : num_threads(); }

std::unique_ptr<Primitive> make_conv_forward(const ConvSpec& spec) {
  return or_none(spec.threads, [&]() -> std::unique_ptr<Primitive> {
    const ConvDescs d = conv_descs(spec);
    // The batched-GEMM kernels waste their width on the few channels of a first layer: .59 ms, where the direct one
    // takes .37.
    const bool narrow = spec.c / spec.groups < 8;
    auto desc = forward_desc(d, [&](const char* name) { return !narrow || !starts_with(name, "brgconv"); });
    if (!desc) desc = forward_desc(d, any_implementation);
    if (!desc) return nullptr;
    return std::make_unique<DnnlPrimitive>(dnnl::convolution_forward(*desc), *desc, Operand{DNNL_ARG_SRC, d.x},
                                           Operand{DNNL_ARG_WEIGHTS, desc->weights_desc(), d.w_plain},
                                           spec.bias ? DNNL_ARG_BIAS : 0, Operand{DNNL_ARG_DST, d.y}, spec.threads);
  });
}

std::unique_ptr<Primitive> make_conv_backward_data(const ConvSpec& spec) {
  return or_none(spec.threads, [&]() -> std::unique_ptr<Primitive> {
    const ConvDescs d = conv_descs(spec);
    auto desc = backward_data_desc(d);
    if (!desc) return nullptr;
    return std::make_unique<DnnlPrimitive>(
        dnnl::convolution_backward_data(*desc), *desc, Operand{DNNL_ARG_DIFF_DST, d.y},
        Operand{DNNL_ARG_WEIGHTS, desc->weights_desc(), d.w_plain}, 0, Operand{DNNL_ARG_DIFF_SRC, d.x}, spec.threads);
  });
}

std::unique_ptr<Primitive> make_conv_backward_weight(const ConvSpec& spec) {
  return or_none(spec.threads, [&]() -> std::unique_ptr<Primitive> {
    const ConvDescs d = conv_descs(spec);
    auto desc = backward_weight_desc(d);
    if (!desc) return nullptr;
    return std::make_unique<DnnlPrimitive>(
        dnnl::convolution_backward_weights(*desc), *desc, Operand{DNNL_ARG_SRC, d.x}, Operand{DNNL_ARG_DIFF_DST, d.y},
        0, Operand{DNNL_ARG_DIFF_WEIGHTS, desc->diff_weights_desc(), d.w_plain}, spec.threads);
  });
}

std::unique_ptr<Primitive> make_matmul(const MatmulSpec& spec) {
  return or_none(spec.threads, [&]() -> std::unique_ptr<Primitive> {
    const auto type = data_type(spec.dtype);
    memory::desc a, b, y, bias;
    if (spec.batch == 1) {
      a = memory::desc({spec.m, spec.k}, type, memory::dims{spec.a_row, spec.a_col});
      b = memory::desc({spec.k, spec.n}, type, memory::dims{spec.b_row, spec.b_col});
      y = memory::desc({spec.m, spec.n}, type, memory::dims{spec.y_row, 1});
      if (spec.bias) bias = memory::desc({1, spec.n}, type, tag::ab);
    } else {
      // A broadcast operand has one matrix; its batch stride is then that of a dense one.
      const auto batch_of = [&](std::int64_t stride) { return stride == 0 ? std::int64_t{1} : spec.batch; };
      const auto stride_of = [](std::int64_t stride, std::int64_t dense) { return stride == 0 ? dense : stride; };
      a = memory::desc({batch_of(spec.a_batch), spec.m, spec.k}, type,
                       memory::dims{stride_of(spec.a_batch, spec.m * spec.k), spec.a_row, spec.a_col});
      b = memory::desc({batch_of(spec.b_batch), spec.k, spec.n}, type,
                       memory::dims{stride_of(spec.b_batch, spec.k * spec.n), spec.b_row, spec.b_col});
      y = memory::desc({spec.batch, spec.m, spec.n}, type, tag::abc);
      if (spec.bias) bias = memory::desc({1, 1, spec.n}, type, tag::abc);
    }
    auto desc = matmul_desc(a, b, bias, y);
    if (!desc) return nullptr;
    return std::make_unique<DnnlPrimitive>(dnnl::matmul(*desc), *desc, Operand{DNNL_ARG_SRC, a},
                                           Operand{DNNL_ARG_WEIGHTS, b}, spec.bias ? DNNL_ARG_BIAS : 0,
                                           Operand{DNNL_ARG_DST, y}, spec.threads);
  });
}

}  // namespace graft::kernels::cpu
