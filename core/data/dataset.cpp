#include <graft/core/data/dataset.h>

#include <array>
#include <cmath>
#include <cstring>

#include <graft/kernels/runtime/parallel.h>

namespace graft::data {
namespace {

void check_positions(const char* who, const std::vector<std::int64_t>& positions, std::int64_t size) {
  for (std::size_t i = 0; i < positions.size(); ++i)
    check(positions[i] >= 0 && positions[i] < size, who, ": position ", positions[i], " (entry ", i,
          ") is outside a dataset of ", size, " images");
}

void check_images(const char* who, const Tensor& images) {
  check(images.defined() && images.dim() == 4 && images.dtype() == DType::u8 && images.device().is_cpu(), who,
        ": images must be (N, C, H, W) u8 on the CPU, got ",
        images.defined() ? to_string(images) : "an undefined tensor");
}

}  // namespace

void Normalization::validate() const {
  check(std::isfinite(mean), "Normalization: mean is ", mean, ", expected a finite number");
  check(std::isfinite(deviation) && deviation > 0, "Normalization: deviation is ", deviation,
        ", expected a finite number above 0");
}

void Dataset::validate() const {
  check_images("Dataset", images);
  check(images.is_contiguous(), "Dataset: images must be contiguous");
  check(labels.defined() && labels.dim() == 1 && labels.dtype() == DType::i64 && labels.device().is_cpu(),
        "Dataset: labels must be (N) i64 on the CPU, got ",
        labels.defined() ? to_string(labels) : "an undefined tensor");
  check(labels.is_contiguous(), "Dataset: labels must be contiguous");
  check(images.size(0) == labels.size(0), "Dataset: ", images.size(0), " images but ", labels.size(0), " labels");
  check(classes > 0, "Dataset: classes is ", classes, ", expected 1 or more");
  check(class_names.empty() || static_cast<std::int64_t>(class_names.size()) == classes,
        "Dataset: ", class_names.size(), " class names for ", classes, " classes");
  if (size() == 0) return;
  const std::int64_t* label = labels.data<std::int64_t>();
  for (std::int64_t i = 0; i < size(); ++i)
    check(label[i] >= 0 && label[i] < classes, "Dataset: label ", label[i], " at position ", i, " is outside 0..",
          classes - 1);
}

Dataset subset(const Dataset& dataset, const std::vector<std::int64_t>& positions) {
  dataset.validate();
  check_positions("subset", positions, dataset.size());
  Shape shape = dataset.images.shape();
  shape[0] = static_cast<std::int64_t>(positions.size());
  Dataset result{.images = Tensor::empty(shape, DType::u8),
                 .labels = Tensor::empty({shape[0]}, DType::i64),
                 .classes = dataset.classes,
                 .class_names = dataset.class_names};
  if (positions.empty()) return result;
  const std::int64_t pixels = shape[1] * shape[2] * shape[3];
  const std::int64_t* from_labels = dataset.labels.data<std::int64_t>();
  std::int64_t* to_labels = result.labels.data<std::int64_t>();
  for (std::size_t i = 0; i < positions.size(); ++i) to_labels[i] = from_labels[positions[i]];
  if (pixels == 0) return result;
  const std::uint8_t* from = dataset.images.data<std::uint8_t>();
  std::uint8_t* to = result.images.data<std::uint8_t>();
  for (const std::int64_t position : positions) {
    std::memcpy(to, from + position * pixels, static_cast<std::size_t>(pixels));
    to += pixels;
  }
  return result;
}

std::vector<std::int64_t> stratified_positions(const Dataset& dataset, std::int64_t k, std::uint64_t seed) {
  dataset.validate();
  check(k >= 0, "stratified_positions: k is ", k, ", expected 0 or more");
  std::vector<std::vector<std::int64_t>> members(static_cast<std::size_t>(dataset.classes));
  const std::int64_t* labels = dataset.size() > 0 ? dataset.labels.data<std::int64_t>() : nullptr;
  for (std::int64_t i = 0; i < dataset.size(); ++i) members[static_cast<std::size_t>(labels[i])].push_back(i);

  std::vector<std::int64_t> chosen;
  chosen.reserve(static_cast<std::size_t>(k * dataset.classes));
  for (std::size_t c = 0; c < members.size(); ++c) {
    std::vector<std::int64_t>& pool = members[c];
    check(static_cast<std::int64_t>(pool.size()) >= k, "stratified_positions: class ", c, " has ", pool.size(),
          " images, fewer than the ", k, " asked for");
    // Fisher-Yates from the front: what comes first does not depend on how far it goes, and no class on another.
    Generator generator = Generator(seed).fork(c);
    for (std::size_t i = 0; i < static_cast<std::size_t>(k); ++i) {
      std::swap(pool[i], pool[i + generator.below(pool.size() - i)]);
      chosen.push_back(pool[i]);
    }
  }
  return chosen;
}

Dataset stratified_subset(const Dataset& dataset, std::int64_t k, std::uint64_t seed) {
  return subset(dataset, stratified_positions(dataset, k, seed));
}

Tensor normalized(const Tensor& images, const Normalization& normalization,
                  const std::vector<std::int64_t>& positions) {
  check_images("normalized", images);
  normalization.validate();
  check_positions("normalized", positions, images.size(0));
  const Tensor source = images.contiguous();
  Shape shape = images.shape();
  if (!positions.empty()) shape[0] = static_cast<std::int64_t>(positions.size());
  Tensor result = Tensor::empty(shape, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  if (result.numel() == 0) return result;

  std::array<float, 256> value_of;
  for (std::size_t pixel = 0; pixel < value_of.size(); ++pixel)
    value_of[pixel] = static_cast<float>(normalization(static_cast<double>(pixel)));
  const std::uint8_t* from = source.data<std::uint8_t>();
  float* to = result.data<float>();
  const std::int64_t channels = shape[1], area = shape[2] * shape[3], pixels = channels * area;
  parallel_for(shape[0], 1 + 32768 / pixels, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t position = positions.empty() ? n : positions[static_cast<std::size_t>(n)];
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::uint8_t* plane = from + position * pixels + c * area;
        float* out = to + n * pixels + c;
        for (std::int64_t i = 0; i < area; ++i) out[i * channels] = value_of[plane[i]];
      }
    }
  });
  return result;
}

}  // namespace graft::data
