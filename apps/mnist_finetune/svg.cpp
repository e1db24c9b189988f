#include <graft/apps/mnist_finetune/svg.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include <graft/kernels/api/error.h>

namespace graft::demo {
namespace {

constexpr double kLeft = 52, kRight = 168, kTop = 14, kBottom = 46, kLine = 17;

std::string at(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value + 0.0);  // no "-0"
  return text;
}

bool usable(const ChartPoint& p, bool log_x) { return std::isfinite(p.x) && std::isfinite(p.y) && (!log_x || p.x > 0); }

class Plot {
 public:
  explicit Plot(const Chart& chart) : c_(chart) {
    for (const Series& series : c_.series)
      for (const ChartPoint& p : series.points)
        if (usable(p, c_.log_x)) {
          low_ = std::min(low_, scale(p.x));
          high_ = std::max(high_, scale(p.x));
        }
    if (low_ > high_) low_ = 0, high_ = 1;
    // A single place on the axis stands in its middle.
    if (low_ == high_) low_ -= 1, high_ += 1;
  }

  std::string draw() {
    out_ = cat("<svg class=\"chart\" viewBox=\"0 0 ", c_.width, " ", c_.height, "\" role=\"img\" aria-label=\"",
               html_escape(c_.y_label), " against ", html_escape(c_.x_label), "\">\n");
    grid();
    for (const Series& series : c_.series) line(series);
    names();
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  double scale(double x) const { return c_.log_x ? std::log10(x) : x; }
  double right() const { return c_.width - kRight; }
  double bottom() const { return c_.height - kBottom; }
  double x_of(double x) const { return kLeft + 12 + (right() - kLeft - 24) * (scale(x) - low_) / (high_ - low_); }
  double y_of(double y) const {
    const double inside = std::clamp(y, c_.y_low, c_.y_high);
    return bottom() - (bottom() - kTop) * (inside - c_.y_low) / (c_.y_high - c_.y_low);
  }

  void text(double x, double y, const char* css_class, const std::string& value) {
    out_ +=
        cat("<text class=\"", css_class, "\" x=\"", at(x), "\" y=\"", at(y), "\">", html_escape(value), "</text>\n");
  }

  void grid() {
    for (const double y : nice_ticks(c_.y_low, c_.y_high, 5)) {
      out_ += cat("<line class=\"grid\" x1=\"", at(kLeft), "\" x2=\"", at(right()), "\" y1=\"", at(y_of(y)), "\" y2=\"",
                  at(y_of(y)), "\"/>\n");
      text(kLeft - 8, y_of(y) + 4, "tick end", number(y) + c_.y_unit);
    }
    std::vector<double> ticks = c_.x_ticks;
    if (ticks.empty() && c_.log_x)
      for (double power = std::ceil(low_); power <= high_; ++power) ticks.push_back(std::pow(10, power));
    else if (ticks.empty())
      ticks = nice_ticks(low_, high_, 5);
    for (const double x : ticks) text(x_of(x), bottom() + 19, "tick middle", number(x));
    text((kLeft + right()) / 2, c_.height - 6, "label middle", c_.x_label);
  }

  void line(const Series& series) {
    std::string path, marks;
    for (const ChartPoint& p : series.points) {
      if (!usable(p, c_.log_x)) continue;
      const std::string x = at(x_of(p.x)), y = at(y_of(p.y));
      path += cat(path.empty() ? "M" : "L", x, " ", y);
      if (p.deviation > 0)
        marks += cat("<line class=\"error\" x1=\"", x, "\" x2=\"", x, "\" y1=\"", at(y_of(p.y - p.deviation)),
                     "\" y2=\"", at(y_of(p.y + p.deviation)), "\"/>");
      if (c_.marks)
        marks += cat("<circle cx=\"", x, "\" cy=\"", y, "\" r=\"4\"><title>", html_escape(p.note), "</title></circle>");
    }
    if (path.empty()) return;
    out_ += cat("<g class=\"series ", series.css_class, "\"><path d=\"", path, "\"/>", marks, "</g>\n");
  }

  void names() {
    struct Name {
      const Series* series;
      double y;
    };
    std::vector<Name> all;
    for (const Series& series : c_.series)
      for (auto p = series.points.rbegin(); p != series.points.rend(); ++p)
        if (usable(*p, c_.log_x)) {
          all.push_back({&series, y_of(p->y)});
          break;
        }
    std::stable_sort(all.begin(), all.end(), [](const Name& a, const Name& b) { return a.y < b.y; });
    for (std::size_t i = 1; i < all.size(); ++i) all[i].y = std::max(all[i].y, all[i - 1].y + kLine);
    // What was pushed below the plot moves up again, together with what is in its way.
    for (std::size_t i = all.size(); i-- > 0;)
      all[i].y = std::min(all[i].y, i + 1 < all.size() ? all[i + 1].y - kLine : bottom());
    for (const Name& name : all)
      text(right() + 8, name.y + 4, ("name " + name.series->css_class).c_str(), name.series->name);
  }

  const Chart& c_;
  double low_ = std::numeric_limits<double>::infinity(), high_ = -std::numeric_limits<double>::infinity();
  std::string out_;
};

}  // namespace

std::string html_escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::vector<double> nice_ticks(double low, double high, int count) {
  if (!(high > low) || count < 1) return {};
  const double rough = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough * (1 - 1e-9)) {
      step = factor * power;
      break;
    }
  std::vector<double> ticks;
  // By multiplication: adding up steps would print 0.30000000000000004.
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string line_chart(const Chart& chart) {
  check(chart.y_high > chart.y_low && chart.width > 0 && chart.height > 0,
        "line_chart: expected a y range and a size, got y from ", chart.y_low, " to ", chart.y_high);
  return Plot(chart).draw();
}

}  // namespace graft::demo
