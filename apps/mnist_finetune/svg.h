// Line charts as inline SVG, coloured by the page's style sheet.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace graft::demo {

/// & < > " ' as entities, for text and for attributes in quotes.
std::string html_escape(std::string_view text);

struct ChartPoint {
  double x = 0, y = 0;
  double deviation = 0;  // half the height of the error bar; 0: none
  std::string note{};    // shown when pointed at
};

struct Series {
  std::string name;
  std::string css_class;
  std::vector<ChartPoint> points;  // by x
};

struct Chart {
  std::string x_label, y_label;
  bool log_x = false;
  std::vector<double> x_ticks{};  // empty: chosen
  double y_low = 0, y_high = 1;
  std::string y_unit{};
  bool marks = true;  // a dot at every point
  int width = 720, height = 380;
  std::vector<Series> series{};
};

/// Steps of 1, 2 or 5 times a power of ten inside [low, high], about `count` of them.
std::vector<double> nice_ticks(double low, double high, int count);
/// Every series is named at its right end; names are moved apart where they would overlap. Points that are not finite
/// are left out.
std::string line_chart(const Chart& chart);

}  // namespace graft::demo
