#include <graft/core/io/safetensors_header.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

namespace graft::io {
namespace {

using Json = nlohmann::json;

constexpr const char* kMetadata = "__metadata__";
constexpr const char* kDTypeNames[kDTypeCount] = {"F32", "F64", "BF16", "F16", "I64", "I32", "U8", "BOOL"};
constexpr const char* kUnsupportedNames[] = {"I8",      "I16",         "U16",         "U32",     "U64",
                                             "F8_E4M3", "F8_E5M2",     "F8_E8M0",     "F6_E2M3", "F6_E3M2",
                                             "F4",      "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"};

DType parse_dtype(const std::string& tensor, const std::string& text) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (text == kDTypeNames[i]) return static_cast<DType>(i);
  for (const char* known : kUnsupportedNames)
    check(text != known, "tensor ", in_quotes(tensor), ": dtype ", text,
          " is not supported, expected F32, F64, BF16, F16, I64, I32, U8 or BOOL");
  fail("tensor ", in_quotes(tensor), ": unknown dtype ", in_quotes(text));
}

/// Follows the text event by event. A tree would forget duplicate keys and whether a number was written 1 or 1.0.
class Handler {
 public:
  bool start_object(std::size_t) {
    switch (place_) {
      case Place::outside:
        place_ = Place::top;
        return true;
      case Place::top_value:
        place_ = in_metadata_ ? Place::metadata : Place::tensor;
        return true;
      default:
        refuse("an object");
    }
  }
  bool end_object() {
    switch (place_) {
      case Place::tensor:
        finish_tensor();
        [[fallthrough]];
      case Place::metadata:
        place_ = Place::top;
        return true;
      default:
        place_ = Place::outside;
        return true;
    }
  }
  bool start_array(std::size_t) {
    if (place_ == Place::tensor_value && key_ != "dtype") {
      place_ = Place::list;
      return true;
    }
    refuse("a list");
  }
  bool end_array() {
    place_ = Place::tensor;
    return true;
  }
  bool key(std::string& text) {
    switch (place_) {
      case Place::top:
        begin_tensor(text);
        break;
      case Place::metadata:
        check(!header_.metadata.contains(text), kMetadata, ": duplicate key ", in_quotes(text));
        place_ = Place::metadata_value;
        break;
      default:
        begin_field(text);
        break;
    }
    key_ = std::move(text);
    return true;
  }
  bool string(std::string& text) {
    if (place_ == Place::metadata_value) {
      header_.metadata.emplace(key_, std::move(text));
      place_ = Place::metadata;
      return true;
    }
    if (place_ == Place::tensor_value && key_ == "dtype") {
      entry_.dtype = parse_dtype(entry_.name, text);
      place_ = Place::tensor;
      return true;
    }
    refuse("text");
  }
  bool number_unsigned(std::uint64_t value) {
    if (place_ != Place::list) refuse("a number");
    if (key_ == "shape") {
      check(value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()), "tensor ",
            in_quotes(entry_.name), ": size ", value, " overflows");
      check(entry_.shape.rank() < kMaxRank, "tensor ", in_quotes(entry_.name), ": rank is over the limit of ",
            kMaxRank);
      entry_.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    check(offsets_ < 2, "tensor ", in_quotes(entry_.name), ": data_offsets has more than 2 entries");
    (offsets_++ == 0 ? entry_.begin : entry_.end) = value;
    return true;
  }
  bool number_integer(std::int64_t value) {
    if (place_ != Place::list) refuse("a number");
    fail("tensor ", in_quotes(entry_.name), ": ", key_, " has a negative entry, ", value);
  }
  bool number_float(double, const std::string& text) {
    if (place_ != Place::list) refuse("a number");
    fail("tensor ", in_quotes(entry_.name), ": ", key_, " has an entry that is not a whole number of 64 bits, ",
         in_quotes(text));
  }
  bool null() { refuse("null"); }
  bool boolean(bool) { refuse("a truth value"); }
  bool binary(Json::binary_t&) { refuse("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) {
    // nlohmann's text repeats what was read last, which may be as long as the header.
    fail("the header is not valid UTF-8 JSON (byte ", position, "): ", std::string_view(error.what()).substr(0, 200));
  }

  SafetensorsHeader take() { return std::move(header_); }

 private:
  enum class Place { outside, top, top_value, metadata, metadata_value, tensor, tensor_value, list };

  void begin_tensor(const std::string& name) {
    check(names_.insert(name).second, "duplicate key ", in_quotes(name), " in the header");
    in_metadata_ = name == kMetadata;
    entry_ = SafetensorsEntry{};
    entry_.name = name;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    offsets_ = 0;
    place_ = Place::top_value;
  }
  void begin_field(const std::string& field) {
    bool* seen = field == "dtype" ? &has_dtype_ : field == "shape" ? &has_shape_ : &has_offsets_;
    check(seen != &has_offsets_ || field == "data_offsets", "tensor ", in_quotes(entry_.name), ": unknown field ",
          in_quotes(field));
    check(!*seen, "tensor ", in_quotes(entry_.name), ": duplicate field ", in_quotes(field));
    *seen = true;
    place_ = Place::tensor_value;
  }
  void finish_tensor() {
    for (const auto& [seen, field] :
         {std::pair(has_dtype_, "dtype"), std::pair(has_shape_, "shape"), std::pair(has_offsets_, "data_offsets")})
      check(seen, "tensor ", in_quotes(entry_.name), ": field ", in_quotes(field), " is missing");
    check(offsets_ == 2, "tensor ", in_quotes(entry_.name), ": data_offsets has ", offsets_, " entries, expected 2");
    header_.entries.push_back(std::move(entry_));
  }
  [[noreturn]] void refuse(const char* what) const {
    switch (place_) {
      case Place::outside:
        fail("the header is ", what, ", expected an object");
      case Place::top_value:
        fail(in_quotes(entry_.name), " is ", what, ", expected an object");
      case Place::metadata_value:
        fail(kMetadata, ": ", in_quotes(key_), " is ", what, ", expected text");
      case Place::list:
        fail("tensor ", in_quotes(entry_.name), ": ", key_, " holds ", what, ", expected whole numbers");
      default:
        fail("tensor ", in_quotes(entry_.name), ": ", key_, " is ", what, ", expected ",
             key_ == "dtype" ? "text" : "a list of whole numbers");
    }
  }

  SafetensorsHeader header_;
  std::set<std::string> names_;
  Place place_ = Place::outside;
  std::string key_;
  SafetensorsEntry entry_;
  int offsets_ = 0;
  bool in_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

/// The bytes that the shape takes.
std::uint64_t byte_count(const SafetensorsEntry& entry) {
  std::int64_t bytes = static_cast<std::int64_t>(size_of(entry.dtype));
  for (const std::int64_t size : entry.shape)
    check(!__builtin_mul_overflow(bytes, size, &bytes), "tensor ", in_quotes(entry.name), ": the size of ", entry.shape,
          " overflows");
  return static_cast<std::uint64_t>(bytes);
}

void check_extent(const SafetensorsEntry& entry, std::uint64_t data_bytes) {
  check(entry.begin <= entry.end, "tensor ", in_quotes(entry.name), ": data_offsets end before they begin (",
        entry.begin, ", ", entry.end, ")");
  const std::uint64_t expected = byte_count(entry);
  check(entry.end - entry.begin == expected, "tensor ", in_quotes(entry.name), ": data_offsets span ",
        entry.end - entry.begin, " bytes, but ", safetensors_name(entry.dtype), " ", entry.shape, " takes ", expected);
  check(entry.end <= data_bytes, "tensor ", in_quotes(entry.name), ": data_offsets end at ", entry.end,
        ", past the end of the ", data_bytes, " bytes of data");
}

/// The tensors must cover the data exactly once.
void check_cover(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes) {
  std::vector<std::size_t> order(entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(entries[a].begin, entries[a].end) < std::pair(entries[b].begin, entries[b].end);
  });
  std::uint64_t covered = 0;
  for (const std::size_t i : order) {
    const SafetensorsEntry& entry = entries[i];
    check(entry.begin >= covered, "tensor ", in_quotes(entry.name), ": data_offsets overlap another tensor's (begin ",
          entry.begin, ", expected ", covered, ")");
    check(entry.begin == covered, "tensor ", in_quotes(entry.name), ": data_offsets leave a hole (begin ", entry.begin,
          ", expected ", covered, ")");
    covered = entry.end;
  }
  check(covered == data_bytes, data_bytes - covered, " bytes left over behind the last tensor");
}

std::string json_text(std::string_view what, const std::string& text) {
  try {
    return Json(text).dump();
  } catch (const Json::type_error&) {
    fail(what, " is not valid UTF-8");
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes) {
  check(!text.empty() && text.front() == '{', "the header does not start with '{'");
  // The parser takes a zero byte for the end and would not look at what follows.
  check(text.find('\0') == std::string_view::npos, "the header is not valid UTF-8 JSON: it contains a zero byte");
  Handler handler;
  Json::sax_parse(text.begin(), text.end(), &handler);
  SafetensorsHeader header = handler.take();
  for (const SafetensorsEntry& entry : header.entries) check_extent(entry, data_bytes);
  check_cover(header.entries, data_bytes);
  return header;
}

const char* safetensors_name(DType dtype) { return kDTypeNames[static_cast<int>(dtype)]; }

std::string format_safetensors_header(const SafetensorsHeader& header) {
  std::string text = "{";
  if (!header.metadata.empty()) {
    text += cat(json_text("", kMetadata), ":{");
    for (const auto& [key, value] : header.metadata) {
      if (text.back() != '{') text += ',';
      text += json_text("a metadata key", key);
      text += ':';
      text += json_text(cat("the metadata of ", in_quotes(key)), value);
    }
    text += '}';
  }
  for (const SafetensorsEntry& entry : header.entries) {
    if (text.back() != '{') text += ',';
    text += json_text("a tensor's name", entry.name);
    text += cat(":{\"dtype\":\"", safetensors_name(entry.dtype), "\",\"shape\":[");
    for (int i = 0; i < entry.shape.rank(); ++i) text += cat(i > 0 ? "," : "", entry.shape[i]);
    text += cat("],\"data_offsets\":[", entry.begin, ",", entry.end, "]}");
  }
  return text + "}";
}

std::string in_quotes(std::string_view name) {
  constexpr std::size_t kShown = 200;
  return name.size() <= kShown ? cat("'", name, "'") : cat("'", name.substr(0, kShown), "...'");
}

}  // namespace graft::io
