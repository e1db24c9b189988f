#include <algorithm>
#include <cmath>
#include <cstdio>

#include <graft/apps/mnist_finetune/report.h>
#include <graft/apps/mnist_finetune/report_style.h>
#include <graft/apps/mnist_finetune/svg.h>

namespace graft::demo {
namespace {

constexpr std::size_t kDigits = 10;

std::string percent(double fraction, int digits = 1) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f%%", digits, 100 * fraction);
  return text;
}

/// Cut, not rounded: a network is never 100% sure.
std::string confidence(double value) { return percent(std::floor(1000 * std::min(value, 0.9999)) / 1000); }

std::string image(const Picture& picture, const char* css_class, const std::string& about) {
  return cat("<img class=\"", css_class, "\" alt=\"", html_escape(about), "\" src=\"", png_data_uri(picture), "\">");
}

std::string section(const std::string& title, const std::string& about, const std::string& body) {
  return cat("<section>\n<h2>", html_escape(title), "</h2>\n<p class=\"muted\">", about, "</p>\n", body,
             "</section>\n");
}

std::string figure(const std::string& body, const std::string& caption) {
  return cat("<figure class=\"panel\">", body, "<figcaption>", caption, "</figcaption></figure>\n");
}

// --- accuracy -------------------------------------------------------------------------------------------------------

std::string accuracy_chart(const std::vector<Cell>& cells) {
  Chart chart{.x_label = "labelled images a class (logarithmic)",
              .y_label = "accuracy in %",
              .log_x = true,
              .y_unit = "%",
              .width = 900,
              .height = 400};
  for (const std::int64_t labels : labels_of(cells)) chart.x_ticks.push_back(static_cast<double>(labels));
  double lowest = 100;
  for (const Method method : methods_of(cells)) {
    Series series{title(method), key(method), {}};
    for (const Cell& cell : cells) {
      if (cell.method != method) continue;
      lowest = std::min(lowest, 100 * (cell.mean - cell.deviation));
      series.points.push_back({static_cast<double>(cell.labels), 100 * cell.mean, 100 * cell.deviation,
                               cat(title(method), ", ", cell.labels, " a class: ", format_accuracy(cell, " ± "), "%")});
    }
    chart.series.push_back(std::move(series));
  }
  chart.y_low = std::clamp(10 * std::floor(lowest / 10), 0.0, 90.0);
  chart.y_high = 100;
  return line_chart(chart);
}

std::string results_table(const std::vector<Cell>& cells) {
  const std::vector<Method> methods = methods_of(cells);
  std::string table = "<table class=\"results\"><thead><tr><th>labels a class</th>";
  for (const Method method : methods) table += cat("<th>", title(method), "</th>");
  table += "</tr></thead><tbody>\n";
  for (const std::int64_t labels : labels_of(cells)) {
    double best = 0;
    for (const Method method : methods)
      if (const Cell* cell = find(cells, labels, method)) best = std::max(best, cell->mean);
    table += cat("<tr><th>", labels, "</th>");
    for (const Method method : methods) {
      const Cell* cell = find(cells, labels, method);
      if (cell == nullptr) {
        table += "<td>–</td>";
        continue;
      }
      table += cat("<td", cell->mean == best ? " class=\"best\"" : "", ">", format_accuracy(*cell, " ± "), " <small>",
                   format_duration(cell->seconds), "</small></td>");
    }
    table += "</tr>\n";
  }
  return table + "</tbody></table>\n";
}

std::string accuracy_section(const Report& r) {
  const std::vector<Cell> cells = summarize(r.comparison.rows);
  std::int64_t runs = 0;
  for (const Cell& cell : cells) runs = std::max(runs, cell.runs);
  const std::string spread =
      runs > 1 ? cat("Means of ", runs, " labelled subsets, with the deviation between them.") : "One labelled subset.";
  return section("Accuracy against labels",
                 cat("On ", with_thousands(r.test_images), " test images. ", spread,
                     " All see the same images; scratch and option 2 take the same steps."),
                 cat("<div class=\"panel\">", accuracy_chart(cells), "</div>\n")) +
         section("The table", "Accuracy in %, and the seconds that training took. The best of a row is bold.",
                 cat("<div class=\"panel\">", results_table(cells), "</div>\n"));
}

// --- curves ---------------------------------------------------------------------------------------------------------

std::string training_section(const Report& r) {
  Chart accuracy{
      .x_label = "steps", .y_label = "accuracy in %", .y_unit = "%", .marks = false, .width = 520, .height = 340};
  double lowest = 100;
  for (const MethodCurve& curve : r.comparison.focus.curves) {
    Series series{title(curve.method), key(curve.method), {}};
    for (const transfer::TrainPoint& point : curve.points)
      if (point.accuracy >= 0) {
        series.points.push_back({static_cast<double>(point.step), 100 * point.accuracy});
        lowest = std::min(lowest, 100 * point.accuracy);
      }
    if (!series.points.empty()) accuracy.series.push_back(std::move(series));
  }
  accuracy.y_low = std::clamp(10 * std::floor(lowest / 10), 0.0, 90.0);
  accuracy.y_high = 100;

  Chart loss{.x_label = "steps", .y_label = "loss", .marks = false, .width = 520, .height = 340};
  Series series{"training loss", "source", {}};
  double highest = 1;
  for (const transfer::TrainPoint& point : r.source.curve) {
    series.points.push_back({static_cast<double>(point.step), point.loss});
    highest = std::max(highest, point.loss);
  }
  loss.y_high = std::ceil(highest);
  loss.series.push_back(std::move(series));

  std::string figures;
  if (!accuracy.series.empty())
    figures += figure(
        line_chart(accuracy),
        cat("Fine-tuning at ", r.comparison.focus.labels,
            " labels a class: accuracy on 1,000 of the test images as training goes on. Used for this picture only."));
  figures += figure(line_chart(loss), cat("Pretraining on ", with_thousands(r.source.images), " drawings of ",
                                          with_thousands(kSourceClasses), " made-up glyphs."));
  return section("How training went", "", cat("<div class=\"pair\">", figures, "</div>\n"));
}

// --- what it gets wrong ---------------------------------------------------------------------------------------------

std::string confusion_table(const std::vector<std::int64_t>& counts) {
  double most_right = 1, most_wrong = 1;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    double& most = i / kDigits == i % kDigits ? most_right : most_wrong;
    most = std::max(most, static_cast<double>(counts[i]));
  }
  std::string table = "<table class=\"confusion\"><tr><th></th>";
  for (std::size_t c = 0; c < kDigits; ++c) table += cat("<th>", c, "</th>");
  table += "</tr>\n";
  for (std::size_t t = 0; t < kDigits; ++t) {
    table += cat("<tr><th>", t, "</th>");
    for (std::size_t p = 0; p < kDigits; ++p) {
      const auto count = static_cast<double>(counts[t * kDigits + p]);
      char shade[16];
      // Square root: one mistake is seen beside fifty.
      std::snprintf(shade, sizeof shade, "%.2f",
                    t == p ? 0.35 * count / most_right : 0.85 * std::sqrt(count / most_wrong));
      table += cat("<td", t == p ? " class=\"hit\"" : "", " style=\"--v:", shade, "\">",
                   count > 0 ? std::to_string(counts[t * kDigits + p]) : "", "</td>");
    }
    table += "</tr>\n";
  }
  return table + "</table>\n";
}

std::string mistake_grid(const std::vector<Mistake>& mistakes) {
  std::string grid = "<div class=\"mistakes\">\n";
  for (const Mistake& m : mistakes)
    grid += cat("<figure>", image(m.picture, "digit", cat("a ", m.truth, " read as ", m.predicted)), "<figcaption><b>",
                m.truth, "</b> → <b>", m.predicted, "</b><br>", confidence(m.confidence), "</figcaption></figure>\n");
  return grid + "</div>\n";
}

std::string mistakes_section(const Report& r) {
  const Focus& focus = r.comparison.focus;
  if (!focus.method || r.confusion.size() != kDigits * kDigits) return "";
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < r.confusion.size(); ++i) wrong += i / kDigits == i % kDigits ? 0 : r.confusion[i];
  const std::string matrix =
      figure(confusion_table(r.confusion), "Rows: what it is. Columns: what it was read as. Orange: mistakes.");
  const std::string pictures = figure(
      mistake_grid(r.mistakes), "The mistakes it was surest of: what it is → what it was read as, and its confidence.");
  return section("What it still gets wrong",
                 cat(html_escape(title(*focus.method)), " at ", focus.labels, " labels a class: ",
                     with_thousands(wrong), " of ", with_thousands(focus.evaluation.images), " test images."),
                 cat("<div class=\"pair\">", matrix, pictures, "</div>\n"));
}

// --- pictures -------------------------------------------------------------------------------------------------------

/// Blue below zero, orange above, transparent at zero, so that it suits a light and a dark page.
Picture filter_sheet(const std::vector<float>& values, std::int64_t count, std::int64_t side, double scale) {
  constexpr int kColumns = 32;
  const auto n = static_cast<int>(count), s = static_cast<int>(side);
  Picture all(kColumns * (s + 1) - 1, (n + kColumns - 1) / kColumns * (s + 1) - 1, 4);
  for (int i = 0; i < n * s * s; ++i) {
    const int filter = i / (s * s), y = i / s % s, x = i % s;
    const double value = scale > 0 ? std::clamp(values[static_cast<std::size_t>(i)] / scale, -1.0, 1.0) : 0;
    std::uint8_t* pixel = all.at(filter % kColumns * (s + 1) + x, filter / kColumns * (s + 1) + y);
    const std::uint8_t blue[] = {37, 99, 235}, orange[] = {234, 88, 12};
    for (int c = 0; c < 3; ++c) pixel[c] = value < 0 ? blue[c] : orange[c];
    // Never fully transparent: a filter's square stays visible.
    pixel[3] = static_cast<std::uint8_t>(std::lround(18 + 237 * std::abs(value)));
  }
  return all;
}

std::string filters_section(const Report& r) {
  const Filters& f = r.filters;
  if (f.count == 0) return "";
  std::vector<float> change(f.before.size());
  double scale = 0, change_scale = 0;
  for (std::size_t i = 0; i < change.size(); ++i) {
    change[i] = f.after[i] - f.before[i];
    scale = std::max({scale, std::abs(static_cast<double>(f.before[i])), std::abs(static_cast<double>(f.after[i]))});
    change_scale = std::max(change_scale, std::abs(static_cast<double>(change[i])));
  }
  const auto row = [&](const char* name, const std::vector<float>& values, double own) {
    return cat("<figcaption>", name, "</figcaption>",
               image(filter_sheet(values, f.count, f.side, own), "filters", name));
  };
  const std::string difference =
      change_scale == 0
          ? "<figcaption>difference: none, this layer was frozen</figcaption>"
          : row(cat("difference, ", static_cast<int>(std::lround(scale / change_scale)), " times as strong in colour")
                    .c_str(),
                change, change_scale);
  return section(
      "First-layer filters before and after",
      cat("The ", f.count, " filters of 3 by 3 that look at the pixels. Orange: positive weights. Blue: negative."),
      cat("<figure class=\"panel\">", row("pretrained on strokes", f.before, scale),
          row("fine-tuned on digits", f.after, scale), difference, "</figure>\n"));
}

std::string samples_section(const Report& r) {
  if (r.source_samples.width == 0 || r.target_samples.width == 0) return "";
  return section(
      "What it learnt from, and for",
      "The glyphs are made up and drawn by a program, from a seed; no MNIST image or label had a part in them.",
      cat("<div class=\"pair samples\">",
          figure(image(r.source_samples, "sheet", "made-up glyphs"),
                 "Source: strokes-1000. Each column is one glyph, drawn three times."),
          figure(image(r.target_samples, "sheet", "MNIST digits"), "Target: MNIST."), "</div>\n"));
}

// --- details --------------------------------------------------------------------------------------------------------

std::string details_section(const Report& r) {
  std::string list = "<dl>\n";
  const auto item = [&](const std::string& name, const std::string& value) {
    list += cat("<dt>", html_escape(name), "</dt><dd>", value, "</dd>\n");
  };
  const SourceTask& s = r.source;
  if (s.accuracy >= 0)
    item("source task",
         cat(with_thousands(s.images), " drawings, ", with_thousands(s.steps), " steps, ", percent(s.accuracy), " of ",
             with_thousands(held_out_images(s.images)), " unseen drawings right (chance 0.1%)",
             s.reused ? "; read from an earlier run's file" : ""));
  item("pretraining", cat(format_duration(s.seconds), ", ", format_rate(s.images_per_second, "images")));
  for (const auto& [method, rate] : r.comparison.images_per_second) item(title(method), format_rate(rate, "images"));
  if (!r.comparison.copied.empty()) item("copied", html_escape(r.comparison.copied));
  const FrozenCheck& frozen = r.comparison.frozen;
  if (frozen.runs > 0) {
    char sums[80];
    std::snprintf(sums, sizeof sums, "%016llx</code> %s <code>%016llx",
                  static_cast<unsigned long long>(frozen.report.checksum_before), frozen.intact ? "=" : "≠",
                  static_cast<unsigned long long>(frozen.report.checksum_after));
    item("frozen check",
         cat(frozen.intact ? "passed" : "FAILED", " in ", frozen.runs, frozen.runs == 1 ? " run" : " runs",
             " of option 1: ", frozen.report.tensors, " tensors, ", with_thousands(frozen.report.bytes),
             " bytes, checksum before and after <code>", sums, "</code>"));
  }
  item("random frozen trunk", "untrained weights; BatchNorm statistics settled on unlabelled drawings");
  item("device", cat(html_escape(r.device), ", ", r.threads, r.threads == 1 ? " thread, " : " threads, ",
                     html_escape(r.processor)));
  for (const auto& [name, version] : r.versions) item(name, html_escape(version));
  for (const auto& [name, value] : r.settings) {
    std::string words = name;
    std::replace(words.begin(), words.end(), '_', ' ');
    item(words, html_escape(value));
  }
  item("started", cat(html_escape(r.started), ", took ", format_duration(r.seconds)));
  return section("Details", "", cat("<div class=\"panel\">", list, "</dl></div>\n"));
}

}  // namespace

std::string report_html(const Report& r) {
  std::string sentence = headline(r.comparison.rows);
  if (sentence.empty()) sentence = "No fine-tuning run was finished.";
  std::string page = cat(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Graft: fine-tuning on "
      "MNIST</title>\n"
      "<link rel=\"icon\" href=\"data:,\">\n<style>",
      kReportStyle,
      "</style>\n</head>\n<body>\n<main>\n<header>\n<p class=\"kicker\">Graft · transfer learning on MNIST</p>\n<h1>",
      html_escape(sentence), "</h1>\n");
  page +=
      "<p>A small convolutional network first learns to tell a thousand made-up glyphs apart. All its layers but the "
      "last "
      "are copied into a network for digits, which is then trained on a few labelled images: <b>option 1</b> trains "
      "the "
      "new last layer only, <b>option 2</b> all layers. Two controls: the same network from scratch, and a frozen "
      "trunk of "
      "random weights.</p>\n";
  if (r.interrupted) page += "<p class=\"notice\">The run was interrupted: this page shows what was finished.</p>\n";
  page += "</header>\n";
  if (!r.comparison.rows.empty()) page += accuracy_section(r);
  page += training_section(r) + mistakes_section(r) + samples_section(r) + filters_section(r) + details_section(r);
  return page + "</main>\n</body>\n</html>\n";
}

}  // namespace graft::demo
