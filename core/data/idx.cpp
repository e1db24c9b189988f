#include <graft/core/data/idx.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>

#include <zlib.h>

#include <graft/core/io/file.h>

namespace graft::data {
namespace {

constexpr int kMaxIdxRank = 4;
constexpr std::uint8_t kUnsignedByte = 0x08;
constexpr std::int64_t kMaxDeflateRatio = 1032;  // of any deflate stream: zlib's documentation

/// Where the bytes of the IDX file come from.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Up to `count` bytes; fewer only at the end.
  virtual std::size_t read(std::uint8_t* to, std::size_t count) = 0;
  /// No file of this size holds more bytes than this.
  virtual std::int64_t most() const = 0;
};

class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(std::span<const std::uint8_t> bytes) : rest_(bytes), size_(bytes.size()) {}
  std::size_t read(std::uint8_t* to, std::size_t count) override {
    count = std::min(count, rest_.size());
    std::copy_n(rest_.begin(), count, to);
    rest_ = rest_.subspan(count);
    return count;
  }
  std::int64_t most() const override { return static_cast<std::int64_t>(size_); }

 private:
  std::span<const std::uint8_t> rest_;
  std::size_t size_;
};

class GzipSource final : public ByteSource {
 public:
  GzipSource(const std::string& path, std::span<const std::uint8_t> bytes)
      : path_(path), rest_(bytes), size_(bytes.size()) {
    check(inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK, "read_idx: ", path_, ": zlib cannot start");
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  std::size_t read(std::uint8_t* to, std::size_t count) override {
    std::size_t done = 0;
    while (done < count && !ended_) {
      stream_.next_in = const_cast<Bytef*>(rest_.data());  // zlib only reads it
      stream_.avail_in = limited(rest_.size());
      stream_.next_out = to + done;
      stream_.avail_out = limited(count - done);
      const uInt in = stream_.avail_in, out = stream_.avail_out;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      rest_ = rest_.subspan(in - stream_.avail_in);
      done += out - stream_.avail_out;
      if (status == Z_STREAM_END) {
        next_member();
      } else {
        check(status != Z_BUF_ERROR && !(status == Z_OK && rest_.empty() && stream_.avail_out > 0), "read_idx: ", path_,
              ": the gzip stream breaks off");
        check(status == Z_OK, "read_idx: ", path_,
              ": broken gzip stream: ", stream_.msg ? stream_.msg : "no reason given");
      }
    }
    return done;
  }
  std::int64_t most() const override { return static_cast<std::int64_t>(size_) * kMaxDeflateRatio; }

 private:
  static uInt limited(std::size_t n) {
    return static_cast<uInt>(std::min<std::size_t>(n, std::numeric_limits<uInt>::max()));
  }
  /// A gzip file is one or more streams, one behind the other.
  void next_member() {
    if (rest_.empty()) {
      ended_ = true;
      return;
    }
    check(rest_.size() >= 2 && rest_[0] == 0x1f && rest_[1] == 0x8b, "read_idx: ", path_, ": ", rest_.size(),
          " bytes after the gzip stream");
    check(inflateReset(&stream_) == Z_OK, "read_idx: ", path_, ": zlib cannot restart");
  }

  const std::string& path_;
  std::span<const std::uint8_t> rest_;
  std::size_t size_;
  z_stream stream_{};
  bool ended_ = false;
};

std::uint32_t big_endian(const std::uint8_t* bytes) {
  return static_cast<std::uint32_t>(bytes[0]) << 24 | static_cast<std::uint32_t>(bytes[1]) << 16 |
         static_cast<std::uint32_t>(bytes[2]) << 8 | bytes[3];
}

Shape read_header(const std::string& path, ByteSource& source) {
  std::array<std::uint8_t, 4> magic{};
  const std::size_t got = source.read(magic.data(), magic.size());
  check(got == magic.size(), "read_idx: ", path, ": ends within the magic number (", got, " of 4 bytes)");
  check(magic[0] == 0 && magic[1] == 0, "read_idx: ", path, ": not an IDX file: it starts with bytes ",
        static_cast<int>(magic[0]), " ", static_cast<int>(magic[1]), ", expected 0 0");
  check(magic[2] == kUnsignedByte, "read_idx: ", path, ": element type ", static_cast<int>(magic[2]),
        " is not supported, expected 8 (unsigned byte)");
  const int rank = magic[3];
  check(rank >= 1 && rank <= kMaxIdxRank, "read_idx: ", path, ": rank ", rank, " is not supported, expected 1 to ",
        kMaxIdxRank);
  Shape shape;
  for (int i = 0; i < rank; ++i) {
    std::array<std::uint8_t, 4> size{};
    check(source.read(size.data(), size.size()) == size.size(), "read_idx: ", path, ": ends within size ", i, " of ",
          rank);
    shape.push_back(big_endian(size.data()));
  }
  return shape;
}

std::int64_t element_count(const std::string& path, const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape)
    check(!__builtin_mul_overflow(count, size, &count), "read_idx: ", path, ": the size ", shape, " overflows");
  return count;
}

std::string find_file(const std::string& folder, const std::string& name) {
  for (const char* suffix : {"", ".gz"}) {
    const std::string path = (std::filesystem::path(folder) / (name + suffix)).string();
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return path;
  }
  fail("load_mnist: found neither ", name, " nor ", name, ".gz in ", folder);
}

}  // namespace

Tensor read_idx(const std::string& path) {
  const std::vector<std::uint8_t> bytes = io::read_file(path);
  std::unique_ptr<ByteSource> source;
  if (bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b)
    source = std::make_unique<GzipSource>(path, bytes);
  else
    source = std::make_unique<PlainSource>(bytes);

  const Shape shape = read_header(path, *source);
  const std::int64_t count = element_count(path, shape);
  // Asked before the memory is, so that a damaged header does not ask for all there is.
  check(count <= source->most(), "read_idx: ", path, ": too few bytes: ", shape, " needs ", count,
        " bytes of elements, more than a file of ", bytes.size(), " bytes can hold");
  Tensor t = Tensor::empty(shape, DType::u8);
  const std::size_t got = count > 0 ? source->read(t.data<std::uint8_t>(), static_cast<std::size_t>(count)) : 0;
  check(got == static_cast<std::size_t>(count), "read_idx: ", path, ": too few bytes: ", shape, " needs ", count,
        " bytes of elements, found ", got);
  std::uint8_t surplus = 0;
  check(source->read(&surplus, 1) == 0, "read_idx: ", path, ": too many bytes: more than the ", count, " of ", shape);
  return t;
}

void write_idx(const std::string& path, const Tensor& t) {
  check(t.defined() && t.dtype() == DType::u8 && t.dim() >= 1 && t.dim() <= kMaxIdxRank, "write_idx: ", path,
        ": expected a u8 tensor of rank 1 to ", kMaxIdxRank, ", got ",
        t.defined() ? to_string(t) : "an undefined tensor");
  std::vector<std::uint8_t> header = {0, 0, kUnsignedByte, static_cast<std::uint8_t>(t.dim())};
  for (const std::int64_t size : t.shape()) {
    check(size <= std::numeric_limits<std::uint32_t>::max(), "write_idx: ", path, ": size ", size, " is over 32 bits");
    for (const int shift : {24, 16, 8, 0}) header.push_back(static_cast<std::uint8_t>(size >> shift));
  }
  io::AtomicFile file(path);
  file.write(header.data(), header.size());
  const Tensor rows = t.detach().contiguous();
  if (rows.numel() > 0) file.write(rows.data<std::uint8_t>(), static_cast<std::size_t>(rows.numel()));
  file.commit();
}

Dataset load_mnist(const std::string& folder, bool train) {
  const std::string prefix = train ? "train" : "t10k";
  const std::string image_path = find_file(folder, prefix + "-images-idx3-ubyte");
  const std::string label_path = find_file(folder, prefix + "-labels-idx1-ubyte");
  const Tensor images = read_idx(image_path);
  check(images.dim() == 3, "load_mnist: ", image_path, ": expected images of rank 3, got ", images.shape());
  const Tensor labels = read_idx(label_path);
  check(labels.dim() == 1, "load_mnist: ", label_path, ": expected labels of rank 1, got ", labels.shape());
  check(images.size(0) == labels.size(0), "load_mnist: ", image_path, " has ", images.size(0), " images but ",
        label_path, " has ", labels.size(0), " labels");

  Dataset dataset;
  dataset.classes = 10;
  dataset.images = images.reshape({images.size(0), 1, images.size(1), images.size(2)});
  dataset.labels = Tensor::empty({labels.size(0)}, DType::i64);
  if (labels.numel() > 0) std::copy_n(labels.data<std::uint8_t>(), labels.numel(), dataset.labels.data<std::int64_t>());
  try {
    dataset.validate();
  } catch (const Error& error) {
    fail("load_mnist: ", label_path, ": ", error.what());
  }
  return dataset;
}

}  // namespace graft::data
