// What went wrong, in words; and the options and their environment variables.
#include <graft/kernels/simt/group.h>

#include <cstdlib>
#include <string>

namespace graft::simt {
namespace {

std::string report;

void append(std::string& text, const uint3& i) {
  simt::append(text, "(");
  simt::append(text, i.x);
  simt::append(text, ",");
  simt::append(text, i.y);
  simt::append(text, ",");
  simt::append(text, i.z);
  simt::append(text, ")");
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

Options options_of_environment() {
  Options o;
  const std::string_view order = environment("SIMT_ORDER");
  if (order == "reverse") o.order = Order::Reverse;
  if (order == "random") o.order = Order::Random;
  if (const std::string_view seed = environment("SIMT_SEED"); !seed.empty())
    o.seed = std::strtoull(seed.data(), nullptr, 10);
  o.lazy_async = environment("SIMT_ASYNC") != "eager";
  o.check = environment("SIMT_CHECK") != "0";
  o.lazy_streams = environment("SIMT_STREAMS") == "lazy";
  return o;
}

}  // namespace

Options settings = options_of_environment();
Options& options() { return settings; }

const std::string& last_report() { return report; }
void clear_report() { report.clear(); }

void append(std::string& text, const char* piece) { text += piece; }
void append(std::string& text, long long piece) { text += std::to_string(piece); }
void append(std::string& text, Loc piece) {
  text += piece.file;
  text += ':';
  text += std::to_string(piece.line);
}
void append(std::string& text, Hex piece) {
  static constexpr char digits[] = "0123456789abcdef";
  text += "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += digits[piece.value >> shift & 15];
}

std::string block_name(unsigned block) {
  std::string name = "block ";
  append(name, group.block[block].index);
  return name;
}

std::string thread_name(unsigned thread) {
  const Thread& t = group.thread[thread];
  std::string name = block_name(t.block);
  append(name, ", thread ");
  append(name, t.index);
  return name;
}

void fail(const Thread* thread, Loc where, std::string_view what) {
  const OutsideKernel outside;
  if (!group.failed) {
    report = std::string(group.dims.name != nullptr ? group.dims.name : "kernel") + ": ";
    if (where.file != nullptr) {
      append(report, where);
      report += ": ";
    }
    report += what;
    if (thread != nullptr) {
      report += " [";
      report += thread_name(group.number(*thread));
      report += ']';
    }
  }
  group.failed = true;
}

}  // namespace graft::simt
