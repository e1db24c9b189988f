// The options of the emulated device, and what was never freed, told at the end of the program. (In one file: the
// linker takes the second along with the first.)
#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/settings.h>
#include <graft/kernels/simt/memory.h>
#include <graft/kernels/simt/runtime_state.h>

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>

namespace graft::simt {
namespace {

// "512M"; 8 GiB where the variable is not set.
std::size_t memory_of_environment() {
  const char* const value = std::getenv("GRAFT_SIMT_MEMORY");
  if (value == nullptr || *value == '\0') return HostOptions().memory;
  const std::string_view text = value;
  std::size_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  check(code == std::errc() && number > 0 && number < std::size_t{1} << 32 &&
            (unit.empty() || unit == "K" || unit == "M" || unit == "G"),
        "GRAFT_SIMT_MEMORY is '", text, "', expected a number of bytes, or of K, M or G, such as 512M");
  return number << (unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : 0);
}

HostOptions options_of_environment() try {
  using Device = HostOptions::Device;
  using Leaks = HostOptions::Leaks;
  constexpr Device kDevices[] = {Device::present, Device::none, Device::no_driver, Device::sm70};
  constexpr Leaks kLeaks[] = {Leaks::report, Leaks::ignore, Leaks::fail};
  HostOptions o;
  o.device = kDevices[graft::runtime::choice_setting("GRAFT_SIMT_DEVICE", {"present", "none", "nodriver", "sm70"})];
  o.devices = static_cast<int>(graft::runtime::number_setting("GRAFT_SIMT_DEVICES", 1, 32).value_or(1));
  o.memory = memory_of_environment();
  o.leaks = kLeaks[graft::runtime::choice_setting("SIMT_LEAKS", {"report", "ignore", "fail"})];
  return o;
} catch (const Error& error) {
  end_by(error);
}

void add(std::string& report, std::size_t count, const char* one, const char* many) {
  if (count == 0) return;
  report += std::to_string(count) + " " + (count == 1 ? one : many) + "\n";
}

void add(std::string& report, const std::string& line) {
  if (!line.empty()) report += line + "\n";
}

std::string leaks_of_device() {
  const runtime::State& s = runtime::state();
  std::string report;
  add(report, leaked_device_memory());
  add(report, s.graphs.size(), "graph", "graphs");
  add(report, s.executables.size(), "executable graph", "executable graphs");
  return report;
}

// After every static object's destructor. What a failed kernel left behind is nobody's leak: nothing can be freed any
// more. Nor are streams, events and page-locked memory told of here: the engine keeps its default stream and the cache
// of its page-locked memory as long as the process lives. leak_report() lists them too.
[[gnu::destructor(101)]] void report_leaks() {
  if (host_options().leaks == HostOptions::Leaks::ignore || runtime::has_failed()) return;
  const std::string report = leaks_of_device();
  if (report.empty()) return;
  std::fprintf(stderr, "SIMT emulator: never freed:\n%s", report.c_str());
  std::fflush(nullptr);
  if (host_options().leaks == HostOptions::Leaks::fail) _exit(1);
}

}  // namespace

HostOptions& host_options() {
  static HostOptions options = options_of_environment();
  return options;
}

std::string leak_report() {
  const runtime::Lock guard = runtime::lock();
  const runtime::State& s = runtime::state();
  std::string report = leaks_of_device();
  add(report, leaked_host_memory());
  add(report, s.streams.size() - 1, "stream", "streams");
  add(report, s.events.size(), "event", "events");
  return report;
}

}  // namespace graft::simt
