#include <graft/apps/mnist_finetune/progress.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <sys/ioctl.h>
#include <unistd.h>

#include <graft/kernels/api/error.h>

namespace graft::demo {
namespace {

constexpr double kTerminalEvery = 0.1, kPlainEvery = 10;
constexpr int kBarCells = 24;

std::string format(const char* pattern, auto... values) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

double fraction(const ProgressState& s) {
  return s.total > 0 ? std::clamp(static_cast<double>(s.done) / static_cast<double>(s.total), 0.0, 1.0) : 0;
}

/// Rate, time left and note, each with what stands before it.
std::string details(const ProgressState& s) {
  std::string text = format("%3.0f%%", std::floor(100 * fraction(s)));
  if (const std::string rate = format_rate(s.rate, s.unit); !rate.empty()) text += "  " + rate;
  if (const double left = seconds_left(s); left >= 0 && s.done < s.total)
    text += "  " + format_duration(left) + " left";
  if (!s.note.empty()) text += "  " + s.note;
  return text;
}

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return format("%.1f s", seconds);
  const auto whole = static_cast<long long>(std::llround(std::min(seconds, 1e12)));
  if (whole < 60) return format("%lld s", whole);
  if (whole < 3600) return format("%lld min %02lld s", whole / 60, whole % 60);
  return format("%lld h %02lld min", whole / 3600, whole / 60 % 60);
}

std::string format_rate(double rate, const std::string& unit) {
  if (!std::isfinite(rate) || rate <= 0) return "";
  return cat(with_thousands(std::llround(rate)), " ", unit, "/s");
}

double seconds_left(const ProgressState& s) {
  if (s.done <= 0 || s.total <= 0 || s.done > s.total) return -1;
  return s.seconds * static_cast<double>(s.total - s.done) / static_cast<double>(s.done);
}

std::string format_bar(const ProgressState& s, int width) {
  std::string cells(kBarCells, ' ');
  const auto full = static_cast<std::size_t>(std::floor(kBarCells * fraction(s)));
  std::fill_n(cells.begin(), full, '=');
  if (full < cells.size()) cells[full] = '>';
  const std::string line = cat(s.label, "  [", cells, "] ", details(s));
  return line.substr(0, static_cast<std::size_t>(std::max(width, 0)));
}

std::string format_plain(const ProgressState& s) { return s.label + " " + details(s); }

Console::Console(std::ostream& out, bool terminal, int width) : out_(out), terminal_(terminal), width_(width) {}

Console::~Console() { clear(); }

int Console::width() const {
  if (width_ > 0) return width_;
  winsize size{};
  // One column less: some terminals wrap when the last one is filled.
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
}

void Console::say(const std::string& line) {
  clear();
  out_ << line << '\n' << std::flush;
}

void Console::progress(const ProgressState& state) {
  const bool fresh = state.label != label_ || state.seconds < last_;
  if (fresh) {
    label_ = state.label;
    last_ = terminal_ ? -kTerminalEvery : 0;
  }
  if (state.seconds - last_ < (terminal_ ? kTerminalEvery : kPlainEvery)) return;
  last_ = state.seconds;
  if (terminal_) {
    out_ << '\r' << format_bar(state, width()) << "\x1b[K" << std::flush;
    bar_ = true;
  } else {
    out_ << format_plain(state) << '\n' << std::flush;
  }
}

void Console::clear() {
  if (bar_) out_ << "\r\x1b[K" << std::flush;
  bar_ = false;
}

}  // namespace graft::demo
