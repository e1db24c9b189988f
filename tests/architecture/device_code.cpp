#include "architecture/device_code.h"

#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>

namespace graft::test {
namespace {

// The beginning of a fat binary, which lies in a section of the object, and of each of its parts. NVIDIA does not
// document them; what is used here is what the open readers of the format agree on.
struct FatHeader {
  std::uint32_t magic;
  std::uint16_t version, header_bytes;
  std::uint64_t bytes;  // of the parts that follow
};
struct PartHeader {
  std::uint16_t kind, version;
  std::uint32_t header_bytes;
  std::uint64_t bytes;
};
constexpr std::uint32_t kFatMagic = 0xba55ed50u;
constexpr std::uint16_t kPtx = 1;

// zstd, by name: every Debian has it (dpkg and gcc need it), its headers few.
class Zstd {
 public:
  Zstd() {
    void* const library = dlopen("libzstd.so.1", RTLD_NOW);
    if (library == nullptr)
      throw std::runtime_error("the PTX is compressed and libzstd.so.1 cannot be opened (Debian: libzstd1)");
    find(library, "ZSTD_getFrameContentSize", content_size_);
    find(library, "ZSTD_findFrameCompressedSize", compressed_size_);
    find(library, "ZSTD_decompress", decompress_);
  }

  std::string operator()(const char* data, std::size_t bytes) const {
    const unsigned long long content = content_size_(data, bytes);
    if (content > (1ull << 30)) throw std::runtime_error("a zstd frame without a size");
    std::string text(static_cast<std::size_t>(content), '\0');
    if (decompress_(text.data(), text.size(), data, compressed_size_(data, bytes)) != text.size())
      throw std::runtime_error("a zstd frame that cannot be unpacked");
    return text;
  }

 private:
  template <class F>
  static void find(void* library, const char* name, F& function) {
    void* const found = dlsym(library, name);
    if (found == nullptr) throw std::runtime_error(std::string("libzstd.so.1 has no ") + name);
    function = reinterpret_cast<F>(found);
  }

  unsigned long long (*content_size_)(const void*, std::size_t);
  std::size_t (*compressed_size_)(const void*, std::size_t);
  std::size_t (*decompress_)(void*, std::size_t, const void*, std::size_t);
};

std::string unpacked(const char* data, std::size_t bytes) {
  constexpr unsigned char frame[] = {0x28, 0xb5, 0x2f, 0xfd};
  if (bytes >= sizeof frame && std::memcmp(data, frame, sizeof frame) == 0) {
    static const Zstd zstd;
    return zstd(data, bytes);
  }
  std::string text(data, bytes);
  if (text.find(".version") == std::string::npos)
    throw std::runtime_error("PTX packed in a way that is not known here (nvcc 12.4 and later use zstd)");
  return text;
}

std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                    std::free);
  return status == 0 ? text.get() : name;
}

void erase_all(std::string& text, const std::string& what) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) text.erase(at, what.size());
}

// The index of the first `what` that no bracket encloses.
std::size_t find_outside(const std::string& text, const std::string& what, std::size_t from = 0) {
  int depth = 0;
  for (std::size_t i = from; i < text.size(); ++i) {
    if (depth == 0 && text.compare(i, what.size(), what) == 0) return i;
    if (std::strchr("<({", text[i]) != nullptr) ++depth;
    if (std::strchr(">)}", text[i]) != nullptr) --depth;
  }
  return std::string::npos;
}

PtxKernel described(const std::string& mangled) {
  PtxKernel kernel;
  std::string name = demangled(mangled);
  erase_all(name, "(anonymous namespace)::");
  erase_all(name, "graft::kernels::cuda::");
  if (name.rfind("void ", 0) == 0) name.erase(0, 5);  // templates are named with what they return
  kernel.name = name.substr(0, find_outside(name, "("));
  const std::size_t arguments = kernel.name.find('<');
  kernel.base = kernel.name.substr(0, arguments);
  if (const std::size_t scope = kernel.base.rfind("::"); scope != std::string::npos) kernel.base.erase(0, scope + 2);
  if (arguments != std::string::npos)
    kernel.arguments = split_arguments(kernel.name.substr(arguments + 1, kernel.name.rfind('>') - arguments - 1));
  return kernel;
}

}  // namespace

std::vector<std::string> split_arguments(const std::string& text) {
  std::vector<std::string> all;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t end = std::min(find_outside(text, ",", from), text.size());
    std::string one = text.substr(from, end - from);
    one.erase(0, one.find_first_not_of(' '));
    one.erase(one.find_last_not_of(' ') + 1);
    all.push_back(std::move(one));
    from = end + 1;
  }
  return all;
}

std::string ptx_of_object(const std::filesystem::path& object) {
  std::ifstream file(object, std::ios::binary);
  if (!file) throw std::runtime_error(object.string() + " cannot be read");
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::string magic(sizeof kFatMagic, '\0'), ptx;
  std::memcpy(magic.data(), &kFatMagic, sizeof kFatMagic);
  for (std::size_t at = bytes.find(magic); at != std::string::npos; at = bytes.find(magic, at)) {
    FatHeader fat{};
    if (at + sizeof fat > bytes.size()) break;
    std::memcpy(&fat, bytes.data() + at, sizeof fat);
    if (fat.header_bytes < sizeof fat || fat.bytes > bytes.size() - at - sizeof fat) {  // the number, by chance
      at += sizeof kFatMagic;
      continue;
    }
    std::size_t part_at = at + fat.header_bytes;
    at = part_at + static_cast<std::size_t>(fat.bytes);
    while (part_at + sizeof(PartHeader) <= at) {
      PartHeader part{};
      std::memcpy(&part, bytes.data() + part_at, sizeof part);
      if (part.header_bytes < sizeof part || part.bytes > at - part_at - part.header_bytes)
        throw std::runtime_error(object.string() + " holds device code of an unknown format");
      if (part.kind == kPtx)
        ptx += unpacked(bytes.data() + part_at + part.header_bytes, static_cast<std::size_t>(part.bytes));
      part_at += part.header_bytes + static_cast<std::size_t>(part.bytes);
    }
  }
  if (ptx.empty()) throw std::runtime_error(object.string() + " holds no PTX");
  return ptx;
}

std::vector<PtxKernel> kernels_of(const std::string& ptx) {
  constexpr const char* entry = ".entry ";
  std::vector<PtxKernel> all;
  for (std::size_t at = ptx.find(entry); at != std::string::npos;) {
    at += std::strlen(entry);
    const std::size_t next = ptx.find(entry, at), name_end = ptx.find_first_of("( \n", at);
    PtxKernel kernel = described(ptx.substr(at, name_end - at));
    kernel.body = ptx.substr(name_end, next == std::string::npos ? next : next - name_end);
    all.push_back(std::move(kernel));
    at = next;
  }
  return all;
}

}  // namespace graft::test
