// Reading and writing at indexed positions.

#include <algorithm>
#include <cstring>

#include <graft/kernels/cpu/common.h>
#include <graft/kernels/cpu/rows.h>

namespace graft::kernels::cpu {
namespace {

void check_indices(const char* op, const TensorRef& index, const TensorRef& x, int axis) {
  const auto* values = index.as<std::int64_t>();
  const std::int64_t n = index.numel(), size = x.shape[axis];
  for (std::int64_t i = 0; i < n; ++i)
    check(values[i] >= 0 && values[i] < size, op, ": index[", i, "] is ", values[i], ": expected 0 to ", size - 1,
          " for axis ", axis, " of ", x);
}

struct AxisSplit {
  std::int64_t outer = 1, inner = 1;
  AxisSplit(const Shape& shape, int axis) {
    for (int d = 0; d < axis; ++d) outer *= shape[d];
    for (int d = axis + 1; d < shape.rank(); ++d) inner *= shape[d];
  }
};

Support supports(const IndexSelectArgs& args) { return check_contract(args); }

void run(const IndexSelectArgs& args, Stream&) {
  if (args.y.numel() == 0) return;
  check_indices(args.name, args.index, args.x, args.axis);
  const AxisSplit split(args.x.shape, args.axis);
  const std::int64_t from = args.x.shape[args.axis], to = args.index.shape[0];
  const std::int64_t block = split.inner * static_cast<std::int64_t>(size_of(args.x.dtype));
  const auto* index = args.index.as<std::int64_t>();
  const auto* x = args.x.as<const char>();
  auto* y = args.y.as<char>();
  parallel_for(split.outer * to, grain_of(split.inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      std::memcpy(y + i * block, x + (i / to * from + index[i % to]) * block, static_cast<std::size_t>(block));
  });
}

Support supports(const IndexSelectBackwardArgs& args) { return contract_and_f32(args, {&args.gy}); }

void run(const IndexSelectBackwardArgs& args, Stream&) {
  check_indices(args.name, args.index, args.gx, args.axis);
  const AxisSplit split(args.gx.shape, args.axis);
  const std::int64_t into = args.gx.shape[args.axis], from = args.index.shape[0], inner = split.inner;
  const auto* index = args.index.as<std::int64_t>();
  const auto* gy = args.gy.as<float>();
  auto* gx = args.gx.as<float>();
  // Threads take columns of the inner block or whole outer slices: within an element of gx the order is that of the
  // index.
  auto add = [&](std::int64_t outer, std::int64_t c0, std::int64_t c1) {
    for (std::int64_t i = 0; i < into; ++i)
      std::fill(gx + (outer * into + i) * inner + c0, gx + (outer * into + i) * inner + c1, 0.0f);
    for (std::int64_t i = 0; i < from; ++i) {
      const float* source = gy + (outer * from + i) * inner;
      float* target = gx + (outer * into + index[i]) * inner;
      for (std::int64_t c = c0; c < c1; ++c) target[c] += source[c];
    }
  };
  if (split.outer == 1)
    parallel_for(inner, std::max<std::int64_t>(16, grain_of(from + into)),
                 [&](std::int64_t begin, std::int64_t end) { add(0, begin, end); });
  else
    parallel_for(split.outer, grain_of((from + into) * inner), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) add(o, 0, inner);
    });
}

// The element of x that element i of the index (row-major) reads: its own position, but for the axis.
class Position {
 public:
  Position(const Shape& index, const Shape& x, int axis)
      : index_(index), strides_(contiguous_strides(x)), axis_(axis) {}
  std::int64_t operator()(std::int64_t i, std::int64_t at) const {
    std::int64_t offset = at * strides_[axis_];
    for (int d = index_.rank() - 1; d >= 0; --d) {
      if (d != axis_) offset += i % index_[d] * strides_[d];
      i /= index_[d];
    }
    return offset;
  }

 private:
  Shape index_, strides_;
  int axis_;
};

Support supports(const GatherArgs& args) { return check_contract(args); }

template <class Unit>
void gather(const GatherArgs& args) {
  const Position position(args.index.shape, args.x.shape, args.axis);
  const auto* index = args.index.as<std::int64_t>();
  parallel_for(args.y.numel(), kGrain / 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) args.y.as<Unit>()[i] = args.x.as<Unit>()[position(i, index[i])];
  });
}

void run(const GatherArgs& args, Stream&) {
  check_indices(args.name, args.index, args.x, args.axis);
  switch (size_of(args.x.dtype)) {
    case 1:
      return gather<std::uint8_t>(args);
    case 2:
      return gather<std::uint16_t>(args);
    case 4:
      return gather<std::uint32_t>(args);
    default:
      return gather<std::uint64_t>(args);
  }
}

Support supports(const GatherBackwardArgs& args) { return contract_and_f32(args, {&args.gy}); }

void run(const GatherBackwardArgs& args, Stream&) {
  check_indices(args.name, args.index, args.gx, args.axis);
  const Position position(args.index.shape, args.gx.shape, args.axis);
  const auto* index = args.index.as<std::int64_t>();
  std::fill_n(args.gx.as<float>(), args.gx.numel(), 0.0f);
  if (args.gy.numel() == 0) return;
  auto add = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) args.gx.as<float>()[position(i, index[i])] += args.gy.as<float>()[i];
  };
  // Slices of the first dimension share no element unless it is the axis.
  const std::int64_t slices = args.axis == 0 ? 1 : args.gy.shape[0], length = args.gy.numel() / slices;
  parallel_for(slices, grain_of(8 * length),
               [&](std::int64_t begin, std::int64_t end) { add(begin * length, end * length); });
}

}  // namespace

void add_gather(BackendTable& table) {
  table.row<IndexSelectArgs>() = {supports, run};
  table.row<IndexSelectBackwardArgs>() = {supports, run};
  table.row<GatherArgs>() = {supports, run};
  table.row<GatherBackwardArgs>() = {supports, run};
}

}  // namespace graft::kernels::cpu
