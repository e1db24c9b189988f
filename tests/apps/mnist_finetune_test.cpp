// The program as a whole, on ten glyphs in MNIST's file format.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <graft/apps/mnist_finetune/source_task.h>
#include <graft/core/data/idx.h>
#include <graft/core/data/strokes.h>
#include <graft/core/io/safetensors.h>

#include "support/temporary_folder.h"

namespace graft::demo {
namespace {

class MnistFinetune : public ::testing::Test {
 protected:
  /// Starts the program in the test's folder; what it prints goes to "log".
  pid_t start(std::vector<std::string> arguments, const char* program = GRAFT_MNIST_FINETUNE) {
    arguments.insert(arguments.begin(), program);
    test::put_file(folder_ / "log", "");
    const pid_t child = fork();
    if (child != 0) return child;
    setenv("GOMP_SPINCOUNT", "100", 1);  // other tests share the cores: threads that wait should sleep
    const int log = open((folder_ / "log").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    std::vector<char*> raw;
    for (std::string& argument : arguments) raw.push_back(argument.data());
    raw.push_back(nullptr);
    if (chdir(folder_.path().c_str()) == 0) execv(raw[0], raw.data());
    _exit(127);
  }
  static int wait_for(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int run(const std::vector<std::string>& arguments, const char* program = GRAFT_MNIST_FINETUNE) {
    return wait_for(start(arguments, program));
  }
  std::string log() const { return test::get_file(folder_ / "log"); }

  void write_digits() {
    std::filesystem::create_directories(folder_ / "data/mnist");
    for (const bool train : {true, false}) {
      const data::Dataset glyphs = data::make_strokes(
          {.classes = 10, .images = train ? 200 : 50, .seed = 9, .first_index = train ? 0 : 1000});
      const std::string prefix = folder_ / (train ? "data/mnist/train" : "data/mnist/t10k");
      data::write_idx(prefix + "-images-idx3-ubyte", glyphs.images.reshape({glyphs.size(), 28, 28}));
      const std::vector<std::uint8_t> labels = glyphs.labels.to_vector<std::uint8_t>();
      data::write_idx(prefix + "-labels-idx1-ubyte", Tensor::from(labels, {glyphs.size()}));
    }
  }

  test::TemporaryFolder folder_;
};

TEST_F(MnistFinetune, LeavesReportsAndWeights) {
  write_digits();
  const std::vector<std::string> arguments = {"--labels", "1,2", "--pretrain-images", "128",
                                              "--steps",  "3",   "--threads",         "1"};
  ASSERT_EQ(run(arguments), 0) << log();
  EXPECT_NE(log().find("frozen check: 25 tensors"), std::string::npos) << log();

  const auto report = nlohmann::json::parse(test::get_file(folder_ / "out/report.json"));
  EXPECT_EQ(report.at("results").size(), 8u);
  EXPECT_EQ(report.at("interrupted"), false);
  EXPECT_EQ(report.at("frozen").at("intact"), true);
  EXPECT_EQ(report.at("source").at("reused"), false);
  for (const auto& row : report.at("results")) {
    EXPECT_GE(row.at("accuracy").get<double>(), 0);
    EXPECT_LE(row.at("accuracy").get<double>(), 1);
  }
  const std::string page = test::get_file(folder_ / "out/report.html");
  for (const char* part : {"<svg", "data:image/png;base64,", "class=\"confusion\"", "First-layer filters", "</html>"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  EXPECT_EQ(page.find("http"), std::string::npos) << "the page must stand alone";
  const auto weights = io::read_safetensors(folder_ / "out/all_layers-2-labels.safetensors");
  EXPECT_EQ(weights.at("fc.weight").shape(), (Shape{10, 256}));
  EXPECT_EQ(weights.metadata.at("method"), "all_layers");

  // The second time the pretrained network is read from its file, and everything comes out the same.
  ASSERT_EQ(run(arguments), 0) << log();
  const auto again = nlohmann::json::parse(test::get_file(folder_ / "out/report.json"));
  EXPECT_EQ(again.at("source").at("reused"), true);
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_EQ(again.at("results").at(i).at("accuracy"), report.at("results").at(i).at("accuracy")) << i;
}

#ifdef GRAFT_EMULATED_MNIST_FINETUNE
// The whole table, reduced: pretraining, the four methods, the report; on the device as on the CPU.
TEST_F(MnistFinetune, RunsOnTheDevice) {
  write_digits();
  // What the checker finds, the tests of the kernels look for at smaller sizes; here it would take minutes.
  setenv("SIMT_CHECK", "0", 1);
  const auto report_of = [&](const std::string& device) {
    const std::vector<std::string> arguments = {"--labels",  "6", "--pretrain-images", "128",      "--steps", "2",
                                                "--threads", "1", "--repretrain",      "--device", device};
    EXPECT_EQ(run(arguments, GRAFT_EMULATED_MNIST_FINETUNE), 0) << log();
    return nlohmann::json::parse(test::get_file(folder_ / "out/report.json"));
  };
  const auto cpu = report_of("cpu"), cuda = report_of("cuda");
  EXPECT_EQ(cuda.at("device"), "cuda:0");
  EXPECT_NE(cuda.at("processor"), cpu.at("processor")) << "the GPU's name is expected";
  EXPECT_EQ(cuda.at("frozen").at("intact"), true);
  ASSERT_EQ(cuda.at("results").size(), 4u);
  // Both sum in other orders, so that of 50 images one near the border between two classes may change sides.
  for (std::size_t i = 0; i < 4; ++i) {
    const auto &here = cpu.at("results").at(i), &there = cuda.at("results").at(i);
    EXPECT_EQ(there.at("method"), here.at("method"));
    EXPECT_NEAR(there.at("accuracy").get<double>(), here.at("accuracy").get<double>(), 0.0201) << here.at("method");
  }
  // The pretrained network lies in its file as the CPU reads it.
  const auto weights = io::read_safetensors(folder_ / "out/all_layers-6-labels.safetensors");
  EXPECT_TRUE(weights.at("fc.weight").device().is_cpu());
}
#endif

TEST_F(MnistFinetune, AnInterruptKeepsWhatWasFinishedAndExitsWith130) {
  write_digits();
  const pid_t child = start({"--labels", "2", "--pretrain-images", "128", "--steps", "1000000", "--threads", "1"});
  for (int i = 0; i < 600 && log().find("2 labels a class") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  kill(child, SIGINT);
  EXPECT_EQ(wait_for(child), 130) << log();
  const auto report = nlohmann::json::parse(test::get_file(folder_ / "out/report.json"));
  EXPECT_EQ(report.at("interrupted"), true);
  EXPECT_TRUE(report.at("results").empty());
  EXPECT_NE(log().find("Interrupted; what was finished is kept."), std::string::npos);
}

TEST_F(MnistFinetune, BadInputIsAnErrorOfOneKind) {
  EXPECT_EQ(run({"--labels", "none"}), 2);
  EXPECT_NE(log().find("mnist_finetune: --labels: got 'none'"), std::string::npos) << log();
  EXPECT_EQ(run({"--data", "nowhere"}), 2);
  EXPECT_NE(log().find("train-images-idx3-ubyte"), std::string::npos) << log();
  EXPECT_NE(log().find("scripts/fetch_mnist"), std::string::npos) << log();
  write_digits();
  EXPECT_EQ(run({"--labels", "21"}), 2);
  EXPECT_NE(log().find("21 images a class were asked for"), std::string::npos) << log();
  setenv("GRAFT_SIMT_DEVICE", "none", 1);  // where the program has the emulated device
  EXPECT_EQ(run({"--device", "cuda"}), 2);
  unsetenv("GRAFT_SIMT_DEVICE");
  EXPECT_NE(log().find("mnist_finetune: --device cuda: "), std::string::npos) << log();
  EXPECT_EQ(run({"--out", "log/below"}), 2);
  EXPECT_EQ(run({"--help"}), 0);
}

TEST(SourceTask, AFileIsUsedOnlyWhenWholeAndOfTheSameSettings) {
  const test::TemporaryFolder folder;
  SourceOptions options{.images = 256, .folder = folder.path()};
  std::ostringstream out;
  Console console(out, false);
  const SourceTask made = learn_source(options, console);
  EXPECT_FALSE(made.reused);
  SourceTask read;
  EXPECT_EQ(read_source(options, read), "");
  EXPECT_EQ(read.accuracy, made.accuracy);
  EXPECT_EQ(read.curve.size(), made.curve.size());

  SourceOptions other = options;
  other.images = 384;
  EXPECT_NE(read_source(other, read).find("there is no"), std::string::npos);
  std::filesystem::copy_file(source_file(options), source_file(other));
  EXPECT_NE(read_source(other, read).find("other settings (images: 256, expected 384)"), std::string::npos);

  std::string bytes = test::get_file(source_file(options));
  bytes[bytes.size() - 5] ^= 0x10;
  test::put_file(source_file(options), bytes);
  EXPECT_NE(read_source(options, read).find("do not match its checksum"), std::string::npos);
  test::put_file(source_file(options), bytes.substr(0, bytes.size() / 2));
  EXPECT_NE(read_source(options, read).find("cannot be used"), std::string::npos);
}

}  // namespace
}  // namespace graft::demo
