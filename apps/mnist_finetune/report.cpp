#include <graft/apps/mnist_finetune/report.h>

#include <algorithm>

#include <graft/kernels/api/error.h>

namespace graft::demo {
namespace {

Picture picture_of(const data::Dataset& dataset, std::int64_t position) {
  const auto height = static_cast<int>(dataset.images.size(2)), width = static_cast<int>(dataset.images.size(3));
  Picture picture(width, height, 1);
  const Tensor& images = dataset.images;
  const auto size = static_cast<std::int64_t>(picture.pixels.size());
  std::copy_n(images.data<std::uint8_t>() + position * size, size, picture.pixels.data());
  return picture;
}

}  // namespace

std::vector<Mistake> surest_mistakes(const transfer::Evaluation& evaluation, const data::Dataset& dataset,
                                     std::size_t most) {
  const Tensor& labels = dataset.labels;
  const auto* truth = labels.data<std::int64_t>();
  std::vector<std::size_t> wrong;
  for (std::size_t i = 0; i < evaluation.predictions.size(); ++i)
    if (evaluation.predictions[i] != truth[i]) wrong.push_back(i);
  std::stable_sort(wrong.begin(), wrong.end(),
                   [&](std::size_t a, std::size_t b) { return evaluation.confidences[a] > evaluation.confidences[b]; });
  std::vector<Mistake> mistakes;
  for (const std::size_t i : wrong) {
    if (mistakes.size() == most) break;
    mistakes.push_back({picture_of(dataset, static_cast<std::int64_t>(i)), truth[i], evaluation.predictions[i],
                        evaluation.confidences[i]});
  }
  return mistakes;
}

Filters first_filters(const Module& before, const Module& after) {
  const Tensor a = before.parameter("conv1.weight"), b = after.parameter("conv1.weight");
  check(a.dim() == 4 && a.size(1) == 1 && a.size(2) == a.size(3) && a.shape() == b.shape(),
        "first_filters: expected square filters on one channel, of one shape, got ", to_string(a.shape()), " and ",
        to_string(b.shape()));
  return {a.size(0), a.size(2), a.to_vector<float>(), b.to_vector<float>()};
}

Picture sheet(const data::Dataset& dataset, const std::vector<std::int64_t>& positions, int columns) {
  constexpr int kGap = 2;
  const auto height = static_cast<int>(dataset.images.size(2)), width = static_cast<int>(dataset.images.size(3));
  const int rows = (static_cast<int>(positions.size()) + columns - 1) / columns;
  Picture all(columns * (width + kGap) + kGap, rows * (height + kGap) + kGap, 1);
  for (std::size_t i = 0; i < positions.size(); ++i) {
    Picture one = picture_of(dataset, positions[i]);
    const int left = static_cast<int>(i) % columns * (width + kGap) + kGap;
    const int top = static_cast<int>(i) / columns * (height + kGap) + kGap;
    for (int y = 0; y < height; ++y) std::copy_n(one.at(0, y), width, all.at(left, top + y));
  }
  return all;
}

}  // namespace graft::demo
