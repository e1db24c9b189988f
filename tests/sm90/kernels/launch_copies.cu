#include <graft/tests/sm90/kernels/launches.h>
#include <graft/tests/simt/kernels/tensor_copies.cu>

#include <graft/kernels/api/error.h>

namespace graft::test::sm90 {
namespace {

namespace copies = simt::tensor_copies;
using kernels::cuda::launch;
using kernels::cuda::LaunchConfig;

LaunchConfig in_clusters(unsigned blocks, unsigned cluster, std::size_t shared_bytes) {
  LaunchConfig config;
  config.grid = dim3(blocks);
  config.block = dim3(64);
  config.shared_bytes = shared_bytes;
  config.cluster = dim3(cluster);
  return config;
}

copies::Place native(const Place& place) {
  copies::Place p{};
  for (int d = 0; d < 5; ++d) p.at[d] = place.at[static_cast<std::size_t>(d)];
  for (int d = 0; d < 3; ++d) p.offset[d] = place.offset[static_cast<std::size_t>(d)];
  return p;
}

}  // namespace

void look_at_box(int rank, bool im2col, const runtime::TensorMap& map, const Place& place, std::uint32_t* y,
                 unsigned words, const Stream& stream) {
  const auto with = [&](auto kernel) {
    launch("look_at_box", kernel, in_clusters(1, 1, sizeof(copies::Box)), stream, map, native(place), y, words);
  };
  if (im2col) {
    if (rank == 3) return with(&copies::look_at_box<3, true>);
    if (rank == 4) return with(&copies::look_at_box<4, true>);
    if (rank == 5) return with(&copies::look_at_box<5, true>);
  } else {
    if (rank == 1) return with(&copies::look_at_box<1, false>);
    if (rank == 2) return with(&copies::look_at_box<2, false>);
    if (rank == 3) return with(&copies::look_at_box<3, false>);
    if (rank == 4) return with(&copies::look_at_box<4, false>);
    if (rank == 5) return with(&copies::look_at_box<5, false>);
  }
  fail("look_at_box: no rank ", rank);
}

void add_one(int rank, const runtime::TensorMap& x, const runtime::TensorMap& y, const Place& place, unsigned words,
             const Stream& stream) {
  const auto with = [&](auto kernel) {
    launch("add_one", kernel, in_clusters(1, 1, sizeof(copies::Box)), stream, x, y, native(place), words);
  };
  if (rank == 1) return with(&copies::add_one<1>);
  if (rank == 2) return with(&copies::add_one<2>);
  if (rank == 3) return with(&copies::add_one<3>);
  if (rank == 4) return with(&copies::add_one<4>);
  if (rank == 5) return with(&copies::add_one<5>);
  fail("add_one: no rank ", rank);
}

void swap_runs(const std::uint32_t* x, std::uint32_t* y, unsigned runs, const Stream& stream) {
  launch("swap_runs", &copies::swap_runs, in_clusters(1, 1, sizeof(copies::Box)), stream, x, y, runs);
}

void share_box(const runtime::TensorMap& map, std::uint32_t* y, unsigned rows, unsigned blocks, unsigned cluster,
               const Stream& stream) {
  launch("share_box", &copies::share_box, in_clusters(blocks, cluster, sizeof(copies::Box)), stream, map, y, rows);
}

void share_pixels(const runtime::TensorMap& map, std::uint32_t* y, unsigned pixels, unsigned columns, unsigned rows,
                  unsigned blocks, unsigned cluster, const Stream& stream) {
  launch("share_pixels", &copies::share_pixels, in_clusters(blocks, cluster, sizeof(copies::Box)), stream, map, y, pixels,
         columns, rows);
}

void add_over_cluster(std::uint32_t* y, unsigned blocks, unsigned cluster, const Stream& stream) {
  launch("add_over_cluster", &copies::add_over_cluster, in_clusters(blocks, cluster, 0), stream, y);
}

}  // namespace graft::test::sm90
