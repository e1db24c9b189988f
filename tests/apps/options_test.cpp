#include <gtest/gtest.h>

#include <filesystem>

#include <graft/apps/mnist_finetune/options.h>

#include "support/temporary_folder.h"

namespace graft::demo {
namespace {

Options parsed(const std::vector<std::string>& arguments) { return parse_command_line(arguments).options; }

TEST(Options, DefaultsCompareOneTenAndAHundredLabels) {
  const Options o = parsed({});
  EXPECT_EQ(o.labels, (std::vector<std::int64_t>{1, 10, 100}));
  EXPECT_EQ(o.seeds, 1);
  EXPECT_EQ(o.pretrain_images, 100'000);
  EXPECT_EQ(o.strategies, (std::vector<Method>{Method::head_only, Method::all_layers}));
  EXPECT_EQ(o.mnist_folder(), "data/mnist");
}

TEST(Options, LabelsAreSortedAndUnique) {
  EXPECT_EQ(parsed({"--labels", "50,5,50"}).labels, (std::vector<std::int64_t>{5, 50}));
}

TEST(Options, FullTakesThreeSeedsUnlessTold) {
  const Options o = parsed({"--full"});
  EXPECT_EQ(o.labels, (std::vector<std::int64_t>{1, 5, 10, 50, 100}));
  EXPECT_EQ(o.seeds, 3);
  EXPECT_EQ(parsed({"--full", "--seeds", "1"}).seeds, 1);
  EXPECT_EQ(parsed({"--labels", "10", "--full"}).labels, std::vector<std::int64_t>{10});
}

TEST(Options, TheLastOfTwoFoldersCounts) { EXPECT_EQ(parsed({"--out", "a", "--out", "b"}).out, "b"); }

TEST(Options, StrategiesByName) {
  EXPECT_EQ(parsed({"--strategy", "head_then_all"}).strategies, std::vector<Method>{Method::head_then_all});
  EXPECT_ERROR(parsed({"--strategy", "scratch"}), "expected head_only, all_layers, head_then_all or all");
}

TEST(Options, RefusalsNameTheOptionTheValueAndWhatWasExpected) {
  EXPECT_ERROR(parsed({"--labels", "1,ten"}), "--labels: got 'ten', expected a whole number from 1");
  EXPECT_ERROR(parsed({"--labels", "1,,2"}), "--labels: got ''");
  EXPECT_ERROR(parsed({"--labels", "0"}), "--labels: got '0'");
  EXPECT_ERROR(parsed({"--seeds", "2.5"}), "--seeds: got '2.5'");
  EXPECT_ERROR(parsed({"--threads", "-1"}), "--threads: got '-1'");
  EXPECT_ERROR(parsed({"--pretrain-images", "5"}), "--pretrain-images: got '5', expected a whole number from 128");
  EXPECT_ERROR(parsed({"--device", "tpu"}), "--device: unknown device 'tpu', expected cpu or cuda");
  EXPECT_ERROR(parsed({"--lables", "1"}), "--lables");
}

TEST(Options, HelpAndVersionAreTextsToPrint) {
  EXPECT_NE(parse_command_line({"--help"}).text.find("--pretrain-images"), std::string::npos);
  EXPECT_NE(parse_command_line({"--version"}).text.find("mnist_finetune"), std::string::npos);
}

TEST(Options, AFolderThatCannotBeMadeIsNamed) {
  const test::TemporaryFolder folder;
  test::put_file(folder / "file", "x");
  EXPECT_ERROR(check_writable(folder / "file"), "cannot make the folder");
  EXPECT_ERROR(check_writable(folder / "file/below"), "cannot make the folder");
  check_writable(folder / "new/deep");
  EXPECT_TRUE(std::filesystem::is_empty(folder / "new/deep"));
}

}  // namespace
}  // namespace graft::demo
