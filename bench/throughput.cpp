// graft_throughput: graft's side of bench/compare_pytorch. Measures one named row and prints it as a line of JSON, or
// writes the network and what it makes of a batch, so that the other side can check that it is the same network.
// --serve measures a row for each line of standard input.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include <graft/apps/support/number.h>
#include <graft/apps/support/start.h>
#include <graft/graft.h>
#include <transfer/training.h>

namespace {

using namespace graft;

constexpr const char* kUsage =
    "usage: graft_throughput --row NAME [--seconds S] [--threads N] [--batch N]\n"
    "                        [--device cuda [--precision f32|bf16] [--eager]]\n"
    "       graft_throughput --serve [options as above, for every line]\n"
    "       graft_throughput --export FILE [--network strokes|lenet5] [--threads N] [--batch N]\n"
    "rows: train, inference, head_uncached, head_cached; with --device cuda also all_layers, lenet5\n"
    "--eager: without capturing CUDA graphs\n"
    "--serve: reads lines \"NAME [options]\" and answers each with a line of JSON, of a failure {\"error\": ...}\n";

constexpr std::int64_t kSourceClasses = 1000, kTargetClasses = 10, kImages = 6400;
constexpr std::int64_t kMostImages = 1 << 20;  // of a batch

struct Options {
  std::string row, export_path, network = "strokes";
  double seconds = 1;
  int threads = 2;
  std::int64_t batch = 128;
  Device device;
  DType precision = DType::f32;
  bool eager = false, serve = false;
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

/// Steps of transfer::train() on the device, the data set there.
Measured device_training_row(const Options& options, const std::string& task) {
  bench::Training training(bench::training_task(task), {.device = options.device,
                                                        .precision = options.precision,
                                                        .capture = !options.eager,
                                                        .batch = options.batch,
                                                        .images = 64 * options.batch});
  const auto at_most = static_cast<std::int64_t>(500'000 * std::max(1.0, options.seconds));  // of 2 us
  double begin = 0;
  const auto go_on = [&](std::int64_t) {
    if (begin == 0) begin = now();
    return now() - begin < options.seconds;
  };
  const bench::Training::Steady steady = training.run(go_on, at_most, 256);
  return {steady.steps * options.batch, steady.steps, steady.seconds};
}

/// Logits of a batch that lies on the device.
Measured device_inference_row(const Options& options) {
  const auto net = models::strokes_net({.num_classes = kSourceClasses});
  net->to(options.device).to(options.precision).eval();
  const Tensor x = random_batch(options, kSourceClasses).x.to(options.device).to(options.precision);
  const NoGrad no_grad;
  cuda::synchronize(options.device);  // the stream's work is unordered with what made the network
  const cuda::Stream stream(options.device.index);
  const cuda::StreamScope scope(stream);
  Tensor logits = (*net)(x);
  cuda::Graph graph;
  if (!options.eager) {
    cuda::GraphCapture capture(graph, stream);
    logits = (*net)(x);
    capture.finish();
  }
  constexpr std::int64_t kGroup = 32;  // passes given to the device before the host waits
  Options grouped = options;
  grouped.batch *= kGroup;
  Measured m = measure(grouped, [&] {
    for (std::int64_t i = 0; i < kGroup; ++i) {
      if (graph.defined())
        graph.launch(stream);
      else
        logits = (*net)(x);
    }
    stream.synchronize();
  });
  m.steps *= kGroup;
  return m;
}

std::shared_ptr<Sequential> make_network(const std::string& name) {
  if (name == "strokes") return models::strokes_net({.num_classes = kSourceClasses});
  check(name == "lenet5", "graft_throughput: unknown network '", name, "'\n", kUsage);
  return models::lenet5();
}

/// The weights and buffers ("net."), an input "x", the logits "y" in inference, and "loss" with the gradients of the
/// first and the last layer's weights in training.
void export_network(const Options& options) {
  const auto net = make_network(options.network);
  const std::string head = net->head() + ".weight";
  const Batch batch = random_batch(options, net->parameter(head).size(0));
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
  for (const std::string& name : {std::string("conv1.weight"), head})
    tensors.emplace_back("gradient." + name, net->parameter(name).grad());
  io::write_safetensors(options.export_path, tensors);
}

Options parse(Options options, const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& flag = words[i];
    if (flag == "--eager" || flag == "--serve") {
      (flag == "--eager" ? options.eager : options.serve) = true;
      continue;
    }
    check(i + 1 < words.size(), "graft_throughput: ", flag, " needs a value\n", kUsage);
    const std::string& value = words[++i];
    if (flag == "--row")
      options.row = value;
    else if (flag == "--export")
      options.export_path = value;
    else if (flag == "--seconds")
      options.seconds = program::seconds(flag, value);
    else if (flag == "--threads")
      options.threads = static_cast<int>(program::number(flag, value, 1, kMaxThreads));
    else if (flag == "--batch")
      options.batch = program::number(flag, value, 2, kMostImages);
    else if (flag == "--network")
      options.network = value;
    else if (flag == "--device" && (value == "cpu" || value == "cuda"))
      options.device = value == "cpu" ? Device::cpu() : Device::cuda();
    else if (flag == "--precision" && (value == "f32" || value == "bf16"))
      options.precision = value == "f32" ? DType::f32 : DType::bf16;
    else
      fail("graft_throughput: unknown option ", flag, " ", value, "\n", kUsage);
  }
  check((options.serve ? 1 : 0) + (options.row.empty() ? 0 : 1) + (options.export_path.empty() ? 0 : 1) == 1, kUsage);
  check(options.seconds > 0, "graft_throughput: --seconds must be positive");
  check(options.device.is_cuda() || (options.precision == DType::f32 && !options.eager),
        "graft_throughput: --precision and --eager need --device cuda");
  return options;
}

Measured measure_on_cpu(const Options& options) {
  if (options.row == "train") return train_row(options);
  if (options.row == "inference") return inference_row(options);
  if (options.row == "head_uncached" || options.row == "head_cached")
    return head_row(options, options.row == "head_cached");
  fail("graft_throughput: unknown row '", options.row, "'\n", kUsage);
}

Measured measure_on_device(const Options& options) {
  check(cuda::is_available(), "graft_throughput: --device cuda: ", cuda::why_not());
  if (options.row == "inference") return device_inference_row(options);
  const std::pair<const char*, const char*> tasks[] = {{"train", "strokes_pretrain"},
                                                       {"head_uncached", "strokes_head_uncached"},
                                                       {"head_cached", "strokes_head_only"},
                                                       {"all_layers", "strokes_all_layers"},
                                                       {"lenet5", "lenet5"}};
  for (const auto& [row, task] : tasks)
    if (options.row == row) return device_training_row(options, task);
  fail("graft_throughput: unknown row '", options.row, "'\n", kUsage);
}

void measure_and_print(const Options& options) {
  const Measured m = options.device.is_cuda() ? measure_on_device(options) : measure_on_cpu(options);
  std::printf(
      "{\"row\": \"%s\", \"device\": \"%s\", \"precision\": \"%s\", \"batch\": %lld, \"threads\": %d, \"steps\": %lld, "
      "\"seconds\": %.6f, \"images_per_second\": %.1f}\n",
      options.row.c_str(), to_string(options.device).c_str(), name(options.precision),
      static_cast<long long>(options.batch), options.threads, static_cast<long long>(m.steps), m.seconds,
      static_cast<double>(m.images) / m.seconds);
  std::fflush(stdout);
}

std::string quoted(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    json += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return json + "\"";
}

void serve(Options options) {
  options.serve = false;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::istringstream words(line);
      std::vector<std::string> all = {"--row"};
      all.insert(all.end(), std::istream_iterator<std::string>(words), {});
      measure_and_print(parse(options, all));
    } catch (const std::exception& error) {
      std::printf("{\"error\": %s}\n", quoted(error.what()).c_str());
      std::fflush(stdout);
    }
  }
}

int run(int argc, char** argv) {
  const Options options = parse({}, {argv + 1, argv + argc});
  program::check_setup("graft_throughput");
  set_num_threads(options.threads);
  manual_seed(1);
  if (!options.export_path.empty())
    export_network(options);
  else if (options.serve)
    serve(options);
  else
    measure_and_print(options);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  program::limit_spinning("graft_throughput", argv);
  if (argc == 2 && std::string_view(argv[1]) == "--help") {
    std::fputs(kUsage, stdout);
    return 0;
  }
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
