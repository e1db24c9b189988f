// mnist_finetune: shows why transfer learning works, in two minutes.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <iostream>

#include <unistd.h>

#include <graft/apps/mnist_finetune/interrupt.h>
#include <graft/apps/mnist_finetune/options.h>
#include <graft/apps/mnist_finetune/report.h>
#include <graft/apps/support/start.h>
#include <graft/core/cuda.h>
#include <graft/core/data/idx.h>
#include <graft/core/io/file.h>
#include <graft/core/random.h>
#include <graft/kernels/runtime/parallel.h>
#include <graft/version.h>

namespace graft::demo {
namespace {

constexpr int kFailed = 1, kBadInput = 2, kInterrupted = 130;

struct Digits {
  data::Dataset train, test;
};

/// Everything that can be refused is refused here, before any time is spent.
Digits check_input(const Options& o) {
  if (o.threads > 0) set_num_threads(o.threads);
  if (o.device.is_cuda()) check(cuda::is_available(), "--device cuda: ", cuda::why_not());
  check_writable(o.out);
  check_writable(o.data);
  Digits digits;
  try {
    digits = {data::load_mnist(o.mnist_folder(), true), data::load_mnist(o.mnist_folder(), false)};
  } catch (const Error& error) {
    fail(error.what(), "\n  scripts/fetch_mnist fetches MNIST; --mnist names another folder");
  }
  std::vector<std::int64_t> counts(static_cast<std::size_t>(digits.train.classes));
  for (const std::int64_t label : digits.train.labels.to_vector<std::int64_t>())
    ++counts[static_cast<std::size_t>(label)];
  for (std::size_t c = 0; c < counts.size(); ++c)
    check(o.labels.back() <= counts[c], "--labels: ", o.labels.back(), " images a class were asked for, but ",
          o.mnist_folder(), " has ", with_thousands(counts[c]), " training images of class ", c);
  return digits;
}

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "unknown";
}

std::string now() {
  const std::time_t time = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

Report begin_report(const Options& o, const Digits& digits) {
  Report r;
  r.device = to_string(o.device);
  r.processor = o.device.is_cuda() ? cuda::device_name(o.device.index) : processor();
  r.started = now();
  r.threads = num_threads();
  r.versions = {{"graft", GRAFT_VERSION}, {"compiler", GRAFT_COMPILER}, {"onednn", GRAFT_ONEDNN_VERSION}};
  std::string labels;
  for (const std::int64_t n : o.labels) labels += cat(labels.empty() ? "" : ",", n);
  std::string strategies;
  for (const Method m : o.strategies) strategies += cat(strategies.empty() ? "" : ",", key(m));
  r.settings = {{"labels", labels},
                {"seeds", std::to_string(o.seeds)},
                {"seed", std::to_string(o.seed)},
                {"strategies", strategies},
                {"precision", name(o.precision)},
                {"steps", o.steps > 0 ? std::to_string(o.steps) : "400"},
                {"pretrain_images", std::to_string(o.pretrain_images)}};
  r.train_images = digits.train.size();
  r.test_images = digits.test.size();
  return r;
}

/// What the page shows of the run in focus.
void inspect(Report& r, const Options& o, const Digits& digits) {
  // Ten glyphs, three times each: what varies between two drawings of one class is what the network learns to ignore.
  std::vector<std::int64_t> strokes, digit_positions;
  const data::Dataset drawings = held_out_strokes(o.seed, 3 * kSourceClasses);
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t c = 0; c < 10; ++c) strokes.push_back(i * kSourceClasses + c * 73);
  const data::Dataset few = data::stratified_subset(digits.test, 3, o.seed);
  for (std::int64_t i = 0; i < 30; ++i) digit_positions.push_back(i % 10 * 3 + i / 10);
  r.source_samples = sheet(drawings, strokes, 10);
  r.target_samples = sheet(few, digit_positions, 10);
  const Focus& focus = r.comparison.focus;
  if (!focus.method) return;
  r.confusion = transfer::confusion_matrix(focus.evaluation, digits.test);
  r.mistakes = surest_mistakes(focus.evaluation, digits.test, 24);
  r.filters = first_filters(*r.source.net, *focus.net);
}

void write_text(const std::string& path, const std::string& text) {
  io::AtomicFile file(path);
  file.write(text);
  file.commit();
}

void conclude(const Report& r, Console& console) {
  const std::string table = format_table(r.comparison.rows);
  console.say("\nAccuracy on " + with_thousands(r.test_images) + " test images, %");
  console.say(table);
  const FrozenCheck& frozen = r.comparison.frozen;
  if (frozen.runs > 0) {
    char sums[80];
    std::snprintf(sums, sizeof sums, "%016llx %s %016llx",
                  static_cast<unsigned long long>(frozen.report.checksum_before),
                  frozen.intact ? "=" : "!=", static_cast<unsigned long long>(frozen.report.checksum_after));
    console.say(cat("frozen check: ", frozen.report.tensors, " tensors, ", with_thousands(frozen.report.bytes),
                    " bytes, checksum before ", sums, " after",
                    frozen.runs > 1 ? cat(", in all ", frozen.runs, " runs of option 1") : ""));
  }
}

int run(const Options& o, Console& console) {
  const auto begin = std::chrono::steady_clock::now();
  const Digits digits = check_input(o);
  catch_interrupts();
  Report r = begin_report(o, digits);
  console.say(cat("graft " GRAFT_VERSION ", ", r.device, " with ", r.threads, r.threads == 1 ? " thread" : " threads",
                  "; MNIST: ", with_thousands(r.train_images), " training and ", with_thousands(r.test_images),
                  " test images from ", o.mnist_folder()));

  console.say("\n1. The source task: strokes-1000");
  r.source =
      learn_source({o.pretrain_images, o.seed, o.repretrain, o.data, o.device, o.precision, interrupted}, console);
  if (!r.source.interrupted) {
    char accuracy[96];
    std::snprintf(accuracy, sizeof accuracy, "  source accuracy %.1f%% on %s unseen drawings of %s classes",
                  100 * r.source.accuracy, with_thousands(held_out_images(r.source.images)).c_str(),
                  with_thousands(kSourceClasses).c_str());
    console.say(accuracy);

    console.say("\n2. All layers but the last are copied, and trained on labelled digits");
    r.comparison =
        compare(*r.source.net, digits.train, digits.test,
                {o.labels, o.seeds, o.seed, o.strategies, o.steps, o.out, o.device, o.precision, interrupted}, console);
    if (!r.comparison.copied.empty()) console.say("  " + r.comparison.copied);
  }
  r.interrupted = r.source.interrupted || r.comparison.interrupted;
  if (r.interrupted) console.say("\nInterrupted; what was finished is kept.");
  if (!r.comparison.rows.empty()) {
    inspect(r, o, digits);
    conclude(r, console);
  }
  r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  write_text(o.out + "/report.json", report_json(r));
  write_text(o.out + "/report.html", report_html(r));
  for (const std::string& file : r.comparison.files) console.say("wrote " + file);
  console.say(
      cat("wrote ", o.out, "/report.json and ", o.out, "/report.html, ", format_duration(r.seconds), " in all"));
  return r.interrupted ? kInterrupted : r.comparison.frozen.intact ? 0 : kFailed;
}

}  // namespace
}  // namespace graft::demo

int main(int argc, char** argv) {
  using namespace graft::demo;
  graft::program::limit_spinning("mnist_finetune", argv);
  try {
    const CommandLine line = parse_command_line({argv + 1, argv + argc});
    if (!line.text.empty()) {
      std::cout << line.text;
      return 0;
    }
    graft::program::check_setup("mnist_finetune");
    Console console(std::cout, isatty(STDOUT_FILENO) != 0);
    return run(line.options, console);
  } catch (const graft::Error& error) {
    std::cerr << "mnist_finetune: " << error.what() << '\n';
    return kBadInput;
  } catch (const std::exception& error) {
    std::cerr << "mnist_finetune: unexpected: " << error.what() << '\n';
    return kFailed;
  }
}
