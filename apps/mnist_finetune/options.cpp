#include <graft/apps/mnist_finetune/options.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>

#include <CLI/CLI.hpp>

#include <graft/apps/support/number.h>
#include <graft/kernels/api/error.h>
#include <graft/kernels/runtime/parallel.h>
#include <graft/version.h>

namespace graft::demo {
namespace {

using program::number;  // from text, so that every refusal is worded the same way

std::vector<std::int64_t> parse_labels(const std::string& text) {
  std::vector<std::int64_t> labels;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    labels.push_back(number("--labels", text.substr(begin, end - begin), 1, 1'000'000));
    begin = end + 1;
  }
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  return labels;
}

Device parse_device(const std::string& text) {
  check(text == "cpu" || text == "cuda", "--device: unknown device '", text, "', expected cpu or cuda");
  return text == "cpu" ? Device::cpu() : Device::cuda();
}

DType parse_precision(const std::string& text) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    if (text == name(dtype)) return dtype;
  fail("--precision: unknown type '", text, "', expected f32, bf16 or f16");
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments) {
  CommandLine line;
  Options& o = line.options;
  bool full = false;
  std::string labels, seeds = "1", seed = "1", strategy = "all", device = "cpu", precision = "f32", threads = "0",
                      steps = "0", images = "100000";
  CLI::App app(
      "Pretrains a small network on strokes-1000 (made-up pen glyphs), copies all layers but the last, and fine-tunes "
      "it\non a few labelled MNIST digits: option 1 trains the head only, option 2 all layers. Compares both with "
      "training\nfrom scratch and with a random frozen trunk, on the full test set.",
      "mnist_finetune");
  app.set_version_flag("--version", "mnist_finetune (graft) " GRAFT_VERSION);
  // A script gives its own folders first; what the user adds behind wins.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--labels", labels, "labelled images a class, such as 1,10,100 (the default)")->type_name("N,N,..");
  app.add_option("--seeds", seeds, "labelled subsets to average over (default 1)")->type_name("N");
  app.add_option("--seed", seed, "the first seed; everything drawn at random depends on it (default 1)")
      ->type_name("N");
  app.add_option("--strategy", strategy, "head_only, all_layers, head_then_all, or all (the first two; the default)")
      ->type_name("NAME");
  app.add_flag("--full", full, "the whole table: 1, 5, 10, 50 and 100 labels a class, three seeds");
  app.add_option("--pretrain-images", images, "drawings of the source task (default 100000; 1000000 is the whole set)")
      ->type_name("N");
  app.add_flag("--repretrain", o.repretrain, "pretrain anew even where a file of an earlier run fits");
  app.add_option("--steps", steps, "training steps of scratch and option 2 (default: the recipe's 400)")
      ->type_name("N");
  app.add_option("--device", device, "cpu or cuda (default cpu)")->type_name("NAME");
  app.add_option("--precision", precision,
                 "f32, bf16 or f16: what networks compute in while they are trained (default f32)")
      ->type_name("NAME");
  app.add_option("--threads", threads, "CPU threads (default: all cores)")->type_name("N");
  app.add_option("--data", o.data, "folder of the pretrained weights, with MNIST in mnist/ (default data)")
      ->type_name("DIR");
  app.add_option("--mnist", o.mnist, "MNIST's folder where it is another")->type_name("DIR");
  app.add_option("--out", o.out, "folder for report.json, report.html and the weights (default out)")->type_name("DIR");

  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    line.text = app.help();
    return line;
  } catch (const CLI::CallForVersion& version) {
    line.text = std::string(version.what()) + "\n";
    return line;
  } catch (const CLI::ParseError& error) {
    fail(error.what(), " (--help lists the options)");
  }

  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  if (full) o.labels = {1, 5, 10, 50, 100};
  if (!labels.empty() || app.count("--labels") > 0) o.labels = parse_labels(labels);
  o.seeds = app.count("--seeds") == 0 && full ? 3 : number("--seeds", seeds, 1, 1000);
  o.seed = static_cast<std::uint64_t>(number("--seed", seed, 0, kLargest));
  o.strategies = parse_strategy_option(strategy);
  o.device = parse_device(device);
  o.precision = parse_precision(precision);
  o.threads = static_cast<int>(number("--threads", threads, 0, kMaxThreads));
  o.steps = number("--steps", steps, 0, 1'000'000);
  // A batch is the least that BatchNorm and the schedule make sense with; ten million drawings take 8 GB.
  o.pretrain_images = number("--pretrain-images", images, 128, 10'000'000);
  check(!o.data.empty() && !o.out.empty(), "--data and --out need the name of a folder");
  return line;
}

void check_writable(const std::string& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  check(std::filesystem::is_directory(folder), "cannot make the folder ", folder, ": ",
        code ? code.message() : "something else has that name", "; name another one");
  const std::string probe = folder + "/.graft-write-test";
  const bool written = std::ofstream(probe).put('x').good();
  std::filesystem::remove(probe, code);
  check(written, "cannot write to the folder ", folder, "; give it write permission or name another one");
}

}  // namespace graft::demo
