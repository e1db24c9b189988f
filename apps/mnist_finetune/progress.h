// Progress on a terminal as one line that changes, elsewhere as a plain line now and then.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

namespace graft::demo {

struct ProgressState {
  std::string label;
  std::int64_t done = 0, total = 0;
  double seconds = 0;  // since the beginning
  double rate = 0;     // units a second; 0: not known
  std::string unit = "images";
  std::string note{};  // "loss 2.31"
};

/// "0.4 s", "12 s", "3 min 05 s", "1 h 02 min".
std::string format_duration(double seconds);
/// "3,120 images/s"; "" when not known.
std::string format_rate(double rate, const std::string& unit);
/// How long the rest takes at the pace so far; negative when that cannot be told.
double seconds_left(const ProgressState& state);
/// One line of at most `width` characters: label, bar, percentage, rate, time left, note. What does not fit is left
/// out from the end.
std::string format_bar(const ProgressState& state, int width);
/// The same without a bar.
std::string format_plain(const ProgressState& state);

class Console {
 public:
  /// `terminal`: whether a line can be overwritten. `width` of 0: asks the terminal.
  Console(std::ostream& out, bool terminal, int width = 0);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// A line of its own, below any bar.
  void say(const std::string& line);
  /// Shows where the work stands: at most ten times a second on a terminal, every ten seconds elsewhere.
  void progress(const ProgressState& state);
  /// Removes the bar.
  void clear();

 private:
  int width() const;

  std::ostream& out_;
  bool terminal_, bar_ = false;
  int width_;
  std::string label_;
  double last_ = 0;
};

}  // namespace graft::demo
