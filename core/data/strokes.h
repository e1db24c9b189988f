// strokes-1000: made-up pen glyphs, a class each, drawn with human-like variation. The source task of the demo.
//
// Every image is a function of (seed, class, index) only. Sine, cosine and exp may differ in the last bit between math
// libraries, so a pixel may differ by one between machines; on one machine images are identical.
#pragma once

#include <cstdint>
#include <functional>

#include <graft/core/data/dataset.h>
#include <graft/kernels/api/export.h>

namespace graft::data {

inline constexpr std::int64_t kStrokesSide = 28;

struct GRAFT_API StrokesOptions {
  std::int64_t classes = 1000;
  std::int64_t images = 100'000;  // image i is of class i % classes, sample index first_index + i / classes
  std::uint64_t seed = 1;
  std::int64_t first_index = 0;
};

/// Draws one image, 28 x 28, white on black, into `pixels` (784 bytes, row-major).
GRAFT_API void draw_stroke_glyph(std::uint64_t seed, std::int64_t stroke_class, std::int64_t index,
                                 std::uint8_t* pixels);

/// Draws a dataset on all threads. `progress`, if given, is told the number of images done, from the calling thread.
/// Throws Error for counts that are not positive.
GRAFT_API Dataset make_strokes(const StrokesOptions& options, const std::function<void(std::int64_t)>& progress = {});

}  // namespace graft::data
