#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include <zlib.h>
#include <nlohmann/json.hpp>

#include <graft/apps/mnist_finetune/report.h>
#include <graft/apps/mnist_finetune/svg.h>

#include "support/temporary_folder.h"

namespace graft::demo {
namespace {

const std::vector<Row> kRows = {{10, 1, Method::scratch, 0.91, 7},
                                {10, 2, Method::scratch, 0.93, 7},
                                {10, 1, Method::all_layers, 0.96, 8},
                                {10, 2, Method::all_layers, 0.97, 8},
                                {1, 1, Method::all_layers, 0.8, 2}};

std::uint32_t word(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

TEST(Png, ChunksChecksumsAndPixels) {
  Picture picture(3, 2, 1);
  picture.pixels = {1, 2, 3, 4, 5, 6};
  const std::string png = encode_png(picture);
  ASSERT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  std::string data;
  for (std::size_t at = 8; at < png.size();) {
    const std::uint32_t size = word(png, at);
    const std::string body = png.substr(at + 4, size + 4);
    EXPECT_EQ(word(png, at + 8 + size), crc32(0, reinterpret_cast<const Bytef*>(body.data()), size + 4));
    if (body.substr(0, 4) == "IHDR") {
      EXPECT_EQ(word(body, 4), 3u);
      EXPECT_EQ(word(body, 8), 2u);
    }
    if (body.substr(0, 4) == "IDAT") data = body.substr(4);
    at += size + 12;
  }
  std::vector<std::uint8_t> raw(8);
  uLongf length = raw.size();
  ASSERT_EQ(uncompress(raw.data(), &length, reinterpret_cast<const Bytef*>(data.data()), data.size()), Z_OK);
  EXPECT_EQ(raw, (std::vector<std::uint8_t>{0, 1, 2, 3, 0, 4, 5, 6}));
}

TEST(Png, RefusesPixelsThatDoNotFit) {
  Picture picture(2, 2, 3);
  picture.pixels.pop_back();
  EXPECT_ERROR(encode_png(picture), "11 bytes of pixels do not fit 2 x 2 x 3");
  EXPECT_ERROR(encode_png(Picture()), "expected a picture");
}

TEST(Png, Base64) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("M"), "TQ==");
  EXPECT_EQ(base64("Ma"), "TWE=");
  EXPECT_EQ(base64("Man"), "TWFu");
  EXPECT_EQ(base64("\xff\xfe"), "//4=");
}

TEST(Svg, Escapes) { EXPECT_EQ(html_escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"); }

TEST(Svg, TicksAreRoundNumbers) {
  EXPECT_EQ(nice_ticks(50, 100, 5), (std::vector<double>{50, 60, 70, 80, 90, 100}));
  EXPECT_EQ(nice_ticks(0, 1170, 5), (std::vector<double>{0, 500, 1000}));
  EXPECT_TRUE(nice_ticks(1, 1, 5).empty());
}

TEST(Svg, ASinglePointAndPointsThatAreNotFinite) {
  Chart chart{.x_label = "x", .y_label = "y", .log_x = true};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  chart.series = {{"one & only", "scratch", {{10, 0.5}, {20, nan}, {0, 0.1}}}, {"none", "other", {}}};
  const std::string svg = line_chart(chart);
  EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
  EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
  EXPECT_NE(svg.find("one &amp; only"), std::string::npos);
  EXPECT_EQ(svg.find("none"), std::string::npos);
}

TEST(Results, MeansAndDeviationsByLabelsAndMethod) {
  const std::vector<Cell> cells = summarize(kRows);
  ASSERT_EQ(cells.size(), 3u);
  const Cell* cell = find(cells, 10, Method::scratch);
  ASSERT_NE(cell, nullptr);
  EXPECT_NEAR(cell->mean, 0.92, 1e-12);
  EXPECT_NEAR(cell->deviation, 0.01414, 1e-5);
  EXPECT_EQ(cell->runs, 2);
  EXPECT_EQ(find(cells, 1, Method::all_layers)->deviation, 0);
  EXPECT_EQ(find(cells, 1, Method::scratch), nullptr);
}

TEST(Results, TheTableMarksWhatWasNotRun) {
  const std::string table = format_table(kRows);
  EXPECT_NE(table.find("92.0 +- 1.4"), std::string::npos);
  EXPECT_NE(table.find("option 2: all layers"), std::string::npos);
  EXPECT_NE(table.find("-                  80.0"), std::string::npos);
}

TEST(Results, TheHeadlineTakesTheLabelCountNearestToTen) {
  EXPECT_EQ(headline(kRows),
            "From 10 labelled digits a class, a network pretrained on made-up pen strokes reads 96.5% of MNIST's test "
            "digits; the same network from scratch reads 92.0%.");
  EXPECT_EQ(headline({}), "");
  EXPECT_EQ(nearest_labels({1, 5, 50}, 10), 5);
}

TEST(Report, JsonHasTheAgreedShape) {
  Report report;
  report.device = "cpu";
  report.interrupted = true;
  report.comparison.rows = kRows;
  const auto json = nlohmann::json::parse(report_json(report));
  EXPECT_EQ(json.at("device"), "cpu");
  EXPECT_EQ(json.at("interrupted"), true);
  EXPECT_TRUE(json.at("frozen").is_null());
  EXPECT_TRUE(json.at("source").at("accuracy").is_null());
  ASSERT_EQ(json.at("results").size(), kRows.size());
  const auto& row = json.at("results").at(0);
  EXPECT_EQ(row.size(), 5u);
  EXPECT_EQ(row.at("labels_per_class"), 10);
  EXPECT_EQ(row.at("seed"), 1);
  EXPECT_EQ(row.at("method"), "scratch");
  EXPECT_EQ(row.at("accuracy"), 0.91);
  EXPECT_EQ(row.at("seconds"), 7);
}

TEST(Report, APageWithoutResultsIsWhole) {
  Report report;
  report.processor = "<script>";
  const std::string page = report_html(report);
  EXPECT_EQ(page.find("<script>"), std::string::npos);
  EXPECT_NE(page.find("No fine-tuning run was finished."), std::string::npos);
  EXPECT_NE(page.find("</html>"), std::string::npos);
}

TEST(Report, MistakesAreSortedByConfidence) {
  const data::Dataset dataset{
      Tensor::zeros({4, 1, 2, 2}, DType::u8), Tensor::from<std::int64_t>({0, 1, 2, 3}, {4}), 10, {}};
  transfer::Evaluation evaluation;
  evaluation.predictions = {0, 7, 8, 9};
  evaluation.confidences = {1.F, 0.5F, 0.9F, 0.7F};
  const std::vector<Mistake> mistakes = surest_mistakes(evaluation, dataset, 2);
  ASSERT_EQ(mistakes.size(), 2u);
  EXPECT_EQ(mistakes[0].truth, 2);
  EXPECT_EQ(mistakes[0].predicted, 8);
  EXPECT_EQ(mistakes[1].truth, 3);
}

}  // namespace
}  // namespace graft::demo
