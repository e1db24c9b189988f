// graft_throughput: graft's side of bench/compare_pytorch. Measures one named row and prints it as a line of JSON, or
// writes the network and what it makes of a batch, so that the other side can check that it is the same network.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include <graft/graft.h>

namespace {

using namespace graft;

constexpr const char* kUsage =
    "usage: graft_throughput --row NAME [--seconds S] [--threads N] [--batch N]\n"
    "       graft_throughput --export FILE [--threads N] [--batch N]\n"
    "rows: train, inference, head_uncached, head_cached\n";

constexpr std::int64_t kSourceClasses = 1000, kTargetClasses = 10, kImages = 6400;

struct Options {
  std::string row, export_path;
  double seconds = 1;
  int threads = 2;
  std::int64_t batch = 128;
};

struct Measured {
  std::int64_t images = 0, steps = 0;
  double seconds = 0;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Steps for `seconds`, after a tenth of that (3 steps at least) to warm up.
Measured measure(const Options& options, const std::function<void()>& step) {
  const double warm_until = now() + options.seconds / 10;
  for (int i = 0; i < 3 || now() < warm_until; ++i) step();
  Measured m;
  const double begin = now();
  do {
    step();
    ++m.steps;
    m.seconds = now() - begin;
  } while (m.seconds < options.seconds);
  m.images = m.steps * options.batch;
  return m;
}

struct Batch {
  Tensor x, y;
};

Batch random_batch(const Options& options, std::int64_t classes) {
  Generator generator(7);
  Batch batch{randn({options.batch, 1, 28, 28}, generator), Tensor::empty({options.batch}, DType::i64)};
  for (std::int64_t i = 0; i < options.batch; ++i)
    batch.y.data<std::int64_t>()[i] = static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(classes)));
  return batch;
}

Measured train_row(const Options& options) {
  const auto net = models::strokes_net({.num_classes = kSourceClasses});
  const Batch batch = random_batch(options, kSourceClasses);
  optim::AdamW optimizer(net->parameters(), {.lr = 1e-3, .weight_decay = 0.01});
  return measure(options, [&] {
    cross_entropy((*net)(batch.x), batch.y).backward();
    optimizer.step();
    optimizer.zero_grad();
  });
}

Measured inference_row(const Options& options) {
  const auto net = models::strokes_net({.num_classes = kSourceClasses});
  const Batch batch = random_batch(options, kSourceClasses);
  net->eval();
  const NoGrad no_grad;
  return measure(options, [&] { (*net)(batch.x); });
}

/// fine_tune() on a data set of strokes, its own count of steps and clock. Features that are cached are computed before
/// the clock starts; everything else that a user pays for a step (loader, schedule, looking at the loss) is in it.
Measured head_row(const Options& options, bool cached) {
  const auto net = models::strokes_net({.num_classes = kTargetClasses});
  const data::Dataset dataset = data::make_strokes({.classes = kTargetClasses, .images = kImages});
  transfer::FeatureCache cache;
  transfer::FineTuneOptions fine{.batch_size = options.batch,
                                 .normalization = {.mean = 33.3, .deviation = 78.6},
                                 .use_cache = cached,
                                 .cache = &cache};
  const auto run = [&](std::int64_t steps) {
    fine.steps = steps;
    return transfer::fine_tune(*net, dataset, {}, fine);
  };
  double rate = run(cached ? 200 : 5).images_per_second;
  rate = run(std::max<std::int64_t>(5, static_cast<std::int64_t>(rate * options.seconds / 10) / options.batch))
             .images_per_second;
  const transfer::TrainResult result =
      run(std::max<std::int64_t>(10, static_cast<std::int64_t>(rate * options.seconds) / options.batch));
  return {result.steps * options.batch, result.steps, result.seconds};
}

/// The weights and buffers ("net."), an input "x", the logits "y" in inference, and "loss" with the gradient of conv1
/// in training.
void export_network(const Options& options) {
  const auto net = models::strokes_net({.num_classes = kSourceClasses});
  const Batch batch = random_batch(options, kSourceClasses);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [name, tensor] : net->state_dict()) tensors.emplace_back("net." + name, tensor.detach().clone());
  net->eval();
  tensors.emplace_back("x", batch.x);
  tensors.emplace_back("labels", batch.y);
  {
    const NoGrad no_grad;
    tensors.emplace_back("y", (*net)(batch.x));
  }
  net->train();
  const Tensor loss = cross_entropy((*net)(batch.x), batch.y);
  loss.backward();
  tensors.emplace_back("loss", loss.detach());
  tensors.emplace_back("gradient.conv1.weight", net->parameter("conv1.weight").grad());
  tensors.emplace_back("gradient.fc.weight", net->parameter("fc.weight").grad());
  io::write_safetensors(options.export_path, tensors);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    check(i + 1 < argc, "graft_throughput: ", flag, " needs a value\n", kUsage);
    const std::string value = argv[++i];
    if (flag == "--row")
      options.row = value;
    else if (flag == "--export")
      options.export_path = value;
    else if (flag == "--seconds")
      options.seconds = std::stod(value);
    else if (flag == "--threads")
      options.threads = std::stoi(value);
    else if (flag == "--batch")
      options.batch = std::stoll(value);
    else
      fail("graft_throughput: unknown option ", flag, "\n", kUsage);
  }
  check(options.row.empty() != options.export_path.empty(), kUsage);
  check(options.seconds > 0 && options.batch >= 2, "graft_throughput: --seconds must be positive, --batch 2 or more");
  return options;
}

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  set_num_threads(options.threads);
  manual_seed(1);
  if (!options.export_path.empty()) {
    export_network(options);
    return 0;
  }
  Measured m;
  if (options.row == "train")
    m = train_row(options);
  else if (options.row == "inference")
    m = inference_row(options);
  else if (options.row == "head_uncached" || options.row == "head_cached")
    m = head_row(options, options.row == "head_cached");
  else
    fail("graft_throughput: unknown row '", options.row, "'\n", kUsage);
  std::printf(
      "{\"row\": \"%s\", \"batch\": %lld, \"threads\": %d, \"steps\": %lld, \"seconds\": %.6f, "
      "\"images_per_second\": %.1f}\n",
      options.row.c_str(), static_cast<long long>(options.batch), options.threads, static_cast<long long>(m.steps),
      m.seconds, static_cast<double>(m.images) / m.seconds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
