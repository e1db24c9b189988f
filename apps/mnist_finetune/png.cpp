#include <graft/apps/mnist_finetune/png.h>

#include <zlib.h>

#include <graft/kernels/api/error.h>

namespace graft::demo {
namespace {

void put32(std::string& out, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>(value >> shift));
}

/// Length, name, data, and the checksum of name and data.
void put_chunk(std::string& out, const std::string& name, const std::string& data) {
  put32(out, static_cast<std::uint32_t>(data.size()));
  const std::string body = name + data;
  out += body;
  put32(out, static_cast<std::uint32_t>(
                 crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()))));
}

}  // namespace

std::string encode_png(const Picture& p) {
  check(p.width > 0 && p.height > 0 && (p.channels == 1 || p.channels == 3 || p.channels == 4),
        "encode_png: expected a picture of 1, 3 or 4 channels, got ", p.width, " x ", p.height, " x ", p.channels);
  const std::size_t row = static_cast<std::size_t>(p.width) * static_cast<std::size_t>(p.channels);
  check(p.pixels.size() == row * static_cast<std::size_t>(p.height), "encode_png: ", p.pixels.size(),
        " bytes of pixels do not fit ", p.width, " x ", p.height, " x ", p.channels);

  // Every row has a filter in front of it: 0, none.
  std::string raw;
  raw.reserve((row + 1) * static_cast<std::size_t>(p.height));
  for (std::size_t y = 0; y < static_cast<std::size_t>(p.height); ++y) {
    raw.push_back(0);
    raw.append(reinterpret_cast<const char*>(p.pixels.data()) + y * row, row);
  }
  uLongf size = compressBound(raw.size());
  std::string packed(size, '\0');
  check(compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(raw.data()),
                  raw.size(), Z_BEST_COMPRESSION) == Z_OK,
        "encode_png: zlib could not compress ", raw.size(), " bytes");
  packed.resize(size);

  std::string header;
  put32(header, static_cast<std::uint32_t>(p.width));
  put32(header, static_cast<std::uint32_t>(p.height));
  header.push_back(8);
  header.push_back(p.channels == 1 ? 0 : p.channels == 3 ? 2 : 6);
  header += std::string(3, '\0');

  std::string png = "\x89PNG\r\n\x1a\n";
  put_chunk(png, "IHDR", header);
  put_chunk(png, "IDAT", packed);
  put_chunk(png, "IEND", "");
  return png;
}

std::string base64(std::string_view bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) group = group << 8 | (j < count ? static_cast<std::uint8_t>(bytes[i + j]) : 0U);
    for (std::size_t j = 0; j < 4; ++j) text.push_back(j <= count ? digits[group >> (18 - 6 * j) & 63U] : '=');
  }
  return text;
}

std::string png_data_uri(const Picture& picture) { return "data:image/png;base64," + base64(encode_png(picture)); }

}  // namespace graft::demo
