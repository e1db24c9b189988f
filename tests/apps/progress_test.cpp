#include <gtest/gtest.h>

#include <sstream>

#include <graft/apps/mnist_finetune/progress.h>

namespace graft::demo {
namespace {

TEST(Progress, Durations) {
  EXPECT_EQ(format_duration(0.42), "0.4 s");
  EXPECT_EQ(format_duration(9.96), "10 s");
  EXPECT_EQ(format_duration(59.7), "1 min 00 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(3720), "1 h 02 min");
  EXPECT_EQ(format_duration(-1), "?");
}

TEST(Progress, RateAndTimeLeft) {
  EXPECT_EQ(format_rate(3120.4, "images"), "3,120 images/s");
  EXPECT_EQ(format_rate(0, "images"), "");
  EXPECT_DOUBLE_EQ(seconds_left({"a", 25, 100, 5}), 15);
  EXPECT_LT(seconds_left({"a", 0, 100, 5}), 0);
}

TEST(Progress, TheBarFillsAndFitsItsWidth) {
  const ProgressState half{"train", 50, 100, 10, 3000};
  EXPECT_EQ(format_bar(half, 200), "train  [============>           ]  50%  3,000 images/s  10 s left");
  EXPECT_EQ(format_bar(half, 30).size(), 30u);
  EXPECT_EQ(format_bar({"train", 100, 100, 20}, 200), "train  [========================] 100%");
  EXPECT_NE(format_bar({"train", 0, 100, 0}, 200).find("[>"), std::string::npos);
}

TEST(Progress, ATerminalGetsOneLineThatChanges) {
  std::ostringstream out;
  {
    Console console(out, true, 80);
    console.progress({"a", 1, 10, 0.0});
    console.progress({"a", 2, 10, 0.05});  // too soon
    console.progress({"a", 3, 10, 0.2});
    console.say("done");
  }
  EXPECT_EQ(out.str().find("20%"), std::string::npos);
  EXPECT_NE(out.str().find("30%"), std::string::npos);
  EXPECT_NE(out.str().find("\r\x1b[Kdone\n"), std::string::npos);
}

TEST(Progress, AFileGetsPlainLinesNowAndThen) {
  std::ostringstream out;
  Console console(out, false);
  for (int second = 0; second <= 25; ++second) console.progress({"a", second, 100, static_cast<double>(second)});
  EXPECT_EQ(out.str(), "a  10%  1 min 30 s left\na  20%  1 min 20 s left\n");
}

}  // namespace
}  // namespace graft::demo
