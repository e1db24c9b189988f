#include <graft/core/io/safetensors.h>

#include <algorithm>
#include <bit>
#include <set>
#include <utility>

#include <graft/core/io/file.h>
#include <graft/core/io/safetensors_header.h>

namespace graft::io {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian: this host needs byte swaps");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kAlignment = 8;

/// Checks the length field against the file and the limit; nothing is allocated before.
std::uint64_t read_header_length(const InputFile& file) {
  check(file.size() >= kLengthBytes, "the file has ", file.size(), " bytes, fewer than the 8 of the header length");
  std::uint64_t length = 0;
  file.read(0, &length, sizeof length);
  check(length <= kMaxSafetensorsHeader, "the header length is ", length, ", over the limit of ",
        kMaxSafetensorsHeader);
  check(length <= file.size() - kLengthBytes, "the header length is ", length, ", past the end of the file of ",
        file.size(), " bytes");
  return length;
}

Tensor read_tensor(const InputFile& file, const SafetensorsEntry& entry, std::uint64_t data_start) {
  Tensor tensor = Tensor::empty(entry.shape, entry.dtype);
  const auto bytes = static_cast<std::size_t>(entry.end - entry.begin);
  if (bytes == 0) return tensor;
  auto* elements = static_cast<std::uint8_t*>(tensor.ref().data);
  file.read(data_start + entry.begin, elements, bytes);
  // A C++ bool of another value is undefined behaviour, so none may get in.
  if (entry.dtype == DType::boolean)
    for (std::size_t i = 0; i < bytes; ++i)
      if (elements[i] > 1)
        fail("tensor ", in_quotes(entry.name), ": BOOL element ", i, " is ", static_cast<int>(elements[i]),
             ", expected 0 or 1");
  return tensor;
}

SafetensorsFile read_checked(const InputFile& file) {
  const std::uint64_t length = read_header_length(file);
  std::string text(length, '\0');
  file.read(kLengthBytes, text.data(), text.size());
  const std::uint64_t data_start = kLengthBytes + length;
  SafetensorsHeader header = parse_safetensors_header(text, file.size() - data_start);
  SafetensorsFile result;
  result.metadata = std::move(header.metadata);
  result.tensors.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    Tensor tensor = read_tensor(file, entry, data_start);
    result.tensors.emplace_back(std::move(entry.name), std::move(tensor));
  }
  return result;
}

SafetensorsHeader describe(const std::vector<std::pair<std::string, Tensor>>& tensors,
                           const std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header;
  header.metadata = metadata;
  std::set<std::string> names;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    check(name != "__metadata__", "the name '__metadata__' is the format's own, no tensor may have it");
    check(names.insert(name).second, "duplicate name ", in_quotes(name));
    check(tensor.defined(), "tensor ", in_quotes(name), " is undefined");
    const std::uint64_t bytes = static_cast<std::uint64_t>(tensor.numel()) * size_of(tensor.dtype());
    header.entries.push_back({name, tensor.dtype(), tensor.shape(), offset, offset + bytes});
    offset += bytes;
  }
  return header;
}

void write_checked(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  std::string text = format_safetensors_header(describe(tensors, metadata));
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const std::uint64_t length = text.size();
  check(length <= kMaxSafetensorsHeader, "the header would take ", length, " bytes, over the limit of ",
        kMaxSafetensorsHeader);

  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text);
  for (const auto& [name, tensor] : tensors) {
    if (tensor.numel() == 0) continue;
    const Tensor rows = tensor.detach().to(Device::cpu()).contiguous();
    file.write(rows.ref().data, static_cast<std::size_t>(rows.numel()) * size_of(rows.dtype()));
  }
  file.commit();
}

}  // namespace

const Tensor& SafetensorsFile::at(const std::string& name) const {
  for (const auto& [key, tensor] : tensors)
    if (key == name) return tensor;
  constexpr std::size_t kListed = 20;
  std::string list;
  for (std::size_t i = 0; i < std::min(tensors.size(), kListed); ++i)
    list += cat(i > 0 ? ", " : "", in_quotes(tensors[i].first));
  if (tensors.size() > kListed) list += cat(" and ", tensors.size() - kListed, " more");
  fail("no tensor ", in_quotes(name), " in the file; it has ", list.empty() ? std::string("none") : list);
}

bool SafetensorsFile::contains(const std::string& name) const {
  return std::any_of(tensors.begin(), tensors.end(), [&](const auto& entry) { return entry.first == name; });
}

SafetensorsFile read_safetensors(const std::string& path) {
  const InputFile file(path);
  try {
    return read_checked(file);
  } catch (const Error& error) {
    fail("read_safetensors: ", path, ": ", error.what());
  }
}

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  try {
    write_checked(path, tensors, metadata);
  } catch (const Error& error) {
    fail("write_safetensors: ", path, ": ", error.what());
  }
}

}  // namespace graft::io
