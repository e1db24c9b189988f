// The options of the emulated device, and what was never freed, told at the end of the program. (In one file: the
// linker takes the second along with the first.)
#include <graft/kernels/simt/memory.h>
#include <graft/kernels/simt/runtime_state.h>

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace graft::simt {
namespace {

std::string_view environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

HostOptions options_of_environment() {
  HostOptions o;
  const std::string_view device = environment("GRAFT_SIMT_DEVICE");
  if (device == "none") o.device = HostOptions::Device::none;
  if (device == "nodriver") o.device = HostOptions::Device::no_driver;
  if (device == "sm70") o.device = HostOptions::Device::sm70;
  if (const std::string_view devices = environment("GRAFT_SIMT_DEVICES"); !devices.empty())
    o.devices = std::max(1, std::atoi(devices.data()));
  if (const std::string_view memory = environment("GRAFT_SIMT_MEMORY"); !memory.empty()) {
    char* unit = nullptr;
    o.memory = std::strtoull(memory.data(), &unit, 10);
    o.memory <<= *unit == 'K' ? 10 : *unit == 'M' ? 20 : *unit == 'G' ? 30 : 0;
  }
  const std::string_view leaks = environment("SIMT_LEAKS");
  if (leaks == "ignore") o.leaks = HostOptions::Leaks::ignore;
  if (leaks == "fail") o.leaks = HostOptions::Leaks::fail;
  return o;
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
