// Pictures as PNG files in memory, and as data URIs for a page that stands alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace graft::demo {

/// Row-major, 8 bits a channel: 1 grey, 3 RGB, 4 RGBA.
struct Picture {
  int width = 0, height = 0, channels = 1;
  std::vector<std::uint8_t> pixels;

  Picture() = default;
  Picture(int w, int h, int c)
      : width(w), height(h), channels(c), pixels(static_cast<std::size_t>(w) * static_cast<std::size_t>(h * c)) {}
  std::uint8_t* at(int x, int y) { return pixels.data() + (static_cast<std::size_t>(y) * width + x) * channels; }
};

/// Throws Error for an empty picture, or pixels that do not fit the sizes.
std::string encode_png(const Picture& picture);
std::string base64(std::string_view bytes);
/// "data:image/png;base64,...".
std::string png_data_uri(const Picture& picture);

}  // namespace graft::demo
