// What went wrong, in words; and the options and their environment variables.
#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/settings.h>
#include <graft/kernels/simt/group.h>
#include <graft/kernels/simt/host.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
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

Options options_of_environment() try {
  using graft::runtime::choice_setting;
  constexpr Order kOrders[] = {Order::Forward, Order::Reverse, Order::Random};
  Options o;
  o.order = kOrders[choice_setting("SIMT_ORDER", {"forward", "reverse", "random"})];
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  o.seed = static_cast<std::uint64_t>(graft::runtime::number_setting("SIMT_SEED", 0, kLargest).value_or(1));
  o.lazy_async = choice_setting("SIMT_ASYNC", {"lazy", "eager"}) == 0;
  o.lazy_streams = choice_setting("SIMT_STREAMS", {"eager", "lazy"}) == 1;
  o.check = choice_setting("SIMT_CHECK", {"1", "0"}) == 0;
  return o;
} catch (const Error& error) {
  end_by(error);
}

}  // namespace

void end_by(const Error& error) {
  std::fprintf(stderr, "SIMT emulator: %s\n", error.what());
  std::fflush(stderr);
  std::_Exit(2);
}

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
