// Max, average and adaptive average pooling on every backend.
#include <limits>

#include <graft/kernels/api/conv2d.h>
#include <graft/kernels/reference/table.h>

#include "op_case.h"

namespace graft::test {
namespace {

using namespace kernels;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

struct Pool {
  std::string variant;
  Shape x;
  PoolGeometry geometry = {};
  int offset = 0;  // of every tensor from an aligned address

  Shape y() const {
    const PoolGeometry& g = geometry;
    return {x[0], x[1], conv_output_size(x[2], g.kernel_h, g.stride_h, g.padding_h, g.dilation_h),
            conv_output_size(x[3], g.kernel_w, g.stride_w, g.padding_w, g.dilation_w)};
  }
  Layout layout() const {
    Layout layout = Layout::channels_last();
    layout.offset = offset;
    return layout;
  }
};

PoolGeometry geometry(std::int64_t kernel, std::int64_t stride, std::int64_t padding, std::int64_t dilation = 1,
                      bool count_include_pad = true) {
  return {kernel, kernel, stride, stride, padding, padding, dilation, dilation, count_include_pad};
}

std::vector<Pool> pools() {
  return {
      {"2x2", {2, 7, 8, 6}},
      {"2x2_odd_size", {2, 5, 9, 7}},
      {"3x3_stride2_padding", {2, 16, 9, 8}, geometry(3, 2, 1)},
      {"3x3_overlap", {1, 33, 7, 7}, geometry(3, 1, 1)},
      {"3x3_gaps", {1, 3, 11, 11}, geometry(3, 5, 0)},
      {"1x1_stride2", {1, 5, 5, 5}, geometry(1, 2, 0)},
      {"whole_picture", {3, 9, 5, 5}, geometry(5, 1, 0)},
      {"uneven", {2, 3, 9, 12}, {2, 4, 1, 3, 1, 0, 1, 1, true}},
      {"empty_batch", {0, 3, 6, 6}},
      {"one_pixel", {1, 1, 1, 1}, geometry(2, 1, 1)},
      {"one_channel", {2, 1, 7, 6}, geometry(3, 2, 1)},
      {"eight_channels", {2, 8, 7, 6}, geometry(3, 2, 1)},
      {"many_channels", {1, 136, 5, 4}, geometry(3, 2, 1)},
      {"unaligned", {1, 16, 6, 5}, geometry(3, 2, 1), 1},
      {"wide_overlap", {1, 8, 9, 7}, geometry(5, 1, 2)},
  };
}

TensorRef make_picture(Maker& make, const Shape& shape, const Layout& layout = Layout::channels_last()) {
  return make.input(shape, layout);
}

// The places of the maxima in their windows in some picture, as the forward op would have kept them.
TensorRef make_index(Maker& make, const Pool& pool, std::vector<double>* maxima = nullptr) {
  Maker scratch(DType::f64, true, {}, 17);
  MaxPoolArgs args;
  args.x = scratch.input(pool.x, Layout::channels_last());
  args.y = scratch.output("y", pool.y(), Layout::channels_last());
  args.index = scratch.output_of(max_pool_index_dtype(pool.geometry), "index", pool.y(), Layout::channels_last());
  args.geometry = pool.geometry;
  Stream stream;
  reference::table().row<MaxPoolArgs>().run(args, stream);
  if (maxima != nullptr) *maxima = scratch.read(args.y);
  std::vector<double> index = scratch.read(args.index);
  if (index.empty()) index = {0};
  return make.values_of(max_pool_index_dtype(pool.geometry), pool.y(), index, pool.layout());
}

std::vector<OpCase> max_pool_cases() {
  std::vector<OpCase> cases;
  std::vector<Pool> all = pools();
  all.push_back({"dilation2", {2, 5, 9, 9}, geometry(3, 1, 1, 2)});
  all.push_back({"dilation3_stride2", {1, 7, 11, 9}, geometry(2, 2, 0, 3)});
  all.push_back({"dilation3_stride2_padding", {1, 8, 9, 12}, geometry(3, 2, 1, 3)});
  all.push_back({"padding_only_window", {1, 2, 5, 5}, geometry(2, 1, 1, 6)});
  all.push_back({"padding_only_window_vectors", {1, 8, 5, 5}, geometry(2, 1, 1, 6)});
  // 255 places in a window are the most that u8 names beside "none"; beyond, index is i32.
  all.push_back({"most_places_of_u8", {1, 8, 6, 18}, {15, 17, 3, 2, 7, 3, 1, 1, true}});
  all.push_back({"fewest_places_of_i32", {1, 8, 16, 10}, {16, 16, 2, 3, 8, 8, 1, 1, true}});
  all.push_back({"wide_window_of_i32", {2, 3, 2, 300}, {1, 257, 1, 4, 0, 1, 1, 1, true}});
  all.push_back({"padding_only_window_of_i32", {1, 3, 5, 20}, {2, 130, 1, 1, 1, 60, 6, 1, true}});
  auto forward = [&](const Pool& pool, const std::string& variant, bool index, bool relu,
                     std::function<void(Maker&, const TensorRef&)> prepare = {}) {
    cases.push_back(op_case(variant, kFloats, kRounded, [=](Maker& make) {
      MaxPoolArgs args;
      args.x = make_picture(make, pool.x, pool.layout());
      if (prepare) prepare(make, args.x);
      args.y = make.output("y", pool.y(), pool.layout());
      if (index) args.index = make.output_of(max_pool_index_dtype(pool.geometry), "index", pool.y(), pool.layout());
      args.geometry = pool.geometry;
      args.relu = relu;
      return args;
    }));
  };
  for (const Pool& pool : all) {
    forward(pool, pool.variant, true, false);
    cases.push_back(op_case(pool.variant, kFloats,
                            // Overlapping windows add up to kernel x kernel gradients in one place.
                            sum_of(pool.geometry.kernel_h * pool.geometry.kernel_w), [pool](Maker& make) {
                              MaxPoolBackwardArgs args;
                              args.index = make_index(make, pool);
                              args.gy = make_picture(make, pool.y(), pool.layout());
                              args.gx = make.output("gx", pool.x, pool.layout());
                              args.geometry = pool.geometry;
                              return args;
                            }));
  }
  const Pool padded{"", {2, 9, 9, 7}, geometry(3, 2, 1)};
  forward(padded, "no_index", false, false);
  forward(padded, "relu", true, true);
  forward(padded, "relu_no_index", false, true);
  forward(padded, "nan", true, false, [](Maker& make, const TensorRef& x) { make.sprinkle(x, 29, kNaN); });
  forward(padded, "nan_relu", true, true, [](Maker& make, const TensorRef& x) { make.sprinkle(x, 29, kNaN); });
  forward(padded, "infinities", true, false, [](Maker& make, const TensorRef& x) {
    make.sprinkle(x, 2, -kInf);
    make.sprinkle(x, 37, kInf);
  });
  forward(padded, "all_minus_infinity", true, false,
          [](Maker& make, const TensorRef& x) { make.sprinkle(x, 1, -kInf); });
  forward(padded, "ties", true, false, [](Maker& make, const TensorRef& x) {
    make.sprinkle(x, 2, 2);
    make.sprinkle(x, 3, 2);
  });
  cases.push_back(op_case("relu", kFloats, sum_of(9), [padded](Maker& make) {
    MaxPoolBackwardArgs args;
    std::vector<double> maxima;
    args.index = make_index(make, padded, &maxima);
    for (std::size_t i = 0; i < maxima.size(); ++i) maxima[i] = i % 13 == 0 ? kNaN : i % 3 == 0 ? 0 : maxima[i];
    args.y = make.values(padded.y(), maxima, Layout::channels_last());
    args.gy = make_picture(make, padded.y());
    args.gx = make.output("gx", padded.x, Layout::channels_last());
    args.geometry = padded.geometry;
    args.relu = true;
    return args;
  }));
  return cases;
}

std::vector<OpCase> avg_pool_cases() {
  std::vector<OpCase> cases;
  std::vector<Pool> all = pools();
  all.push_back({"count_inside_only", {2, 9, 7, 8}, geometry(3, 2, 1, 1, false)});
  all.push_back({"count_inside_only_even", {1, 5, 6, 6}, geometry(4, 1, 2, 1, false)});
  all.push_back({"large_windows", {2, 8, 9, 9}, geometry(7, 1, 3)});
  all.push_back({"large_windows_inside_only", {1, 3, 9, 9}, geometry(6, 3, 3, 1, false)});
  for (const Pool& pool : all) {
    const Tolerance tolerance = sum_of(pool.geometry.kernel_h * pool.geometry.kernel_w);
    cases.push_back(op_case(pool.variant, kFloats, tolerance, [pool](Maker& make) {
      const TensorRef x = make_picture(make, pool.x, pool.layout());
      return AvgPoolArgs{x, make.output("y", pool.y(), pool.layout()), pool.geometry};
    }));
    cases.push_back(op_case(pool.variant, kFloats, tolerance, [pool](Maker& make) {
      const TensorRef gy = make_picture(make, pool.y(), pool.layout());
      return AvgPoolBackwardArgs{gy, make.output("gx", pool.x, pool.layout()), pool.geometry};
    }));
  }
  cases.push_back(op_case("nan_and_inf", kFloats, sum_of(4), [](Maker& make) {
    const TensorRef x = make_picture(make, {1, 5, 8, 8});
    make.sprinkle(x, 61, kNaN);
    make.sprinkle(x, 87, kInf);
    return AvgPoolArgs{x, make.output("y", {1, 5, 4, 4}, Layout::channels_last()), {}};
  }));
  return cases;
}

std::vector<OpCase> adaptive_cases() {
  std::vector<OpCase> cases;
  auto both = [&](const char* variant, const Shape& x_shape, std::int64_t p, std::int64_t q) {
    const Shape y_shape = {x_shape[0], x_shape[1], p, q};
    const Tolerance tolerance = sum_of((x_shape[2] / p + 2) * (x_shape[3] / q + 2));
    cases.push_back(op_case(variant, kFloats, tolerance, [=](Maker& make) {
      const TensorRef x = make_picture(make, x_shape);
      return AdaptiveAvgPoolArgs{x, make.output("y", y_shape, Layout::channels_last())};
    }));
    cases.push_back(op_case(variant, kFloats, tolerance, [=](Maker& make) {
      const TensorRef gy = make_picture(make, y_shape);
      return AdaptiveAvgPoolBackwardArgs{gy, make.output("gx", x_shape, Layout::channels_last())};
    }));
  };
  both("global", {3, 33, 7, 5}, 1, 1);
  both("global_one_channel", {2, 1, 9, 9}, 1, 1);
  both("global_many_channels", {1, 300, 6, 6}, 1, 1);
  both("large_uneven_bins", {2, 16, 13, 17}, 2, 3);
  both("same_size", {1, 5, 6, 6}, 6, 6);
  both("uneven_bins", {2, 7, 10, 7}, 3, 4);
  both("more_out_than_in", {1, 3, 3, 2}, 7, 7);
  both("empty_batch", {0, 3, 6, 6}, 2, 2);
  return cases;
}

GRAFT_OP_CASES(MaxPool, max_pool_cases());
GRAFT_OP_CASES(AvgPool, avg_pool_cases());
GRAFT_OP_CASES(AdaptiveAvgPool, adaptive_cases());

}  // namespace
}  // namespace graft::test
