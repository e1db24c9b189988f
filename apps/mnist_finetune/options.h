// The command line of mnist_finetune.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <graft/apps/mnist_finetune/methods.h>
#include <graft/kernels/api/device.h>
#include <graft/kernels/api/dtype.h>

namespace graft::demo {

struct Options {
  std::string data = "data";  // pretrained weights are kept here, and MNIST in mnist/ below it
  std::string mnist;          // MNIST's folder; empty: <data>/mnist
  std::string out = "out";
  std::vector<std::int64_t> labels = {1, 10, 100};  // a class; sorted
  std::int64_t seeds = 1;
  std::uint64_t seed = 1;
  std::vector<Method> strategies = {Method::head_only, Method::all_layers};
  Device device = Device::cpu();
  DType precision = DType::f32;  // that networks are trained in
  int threads = 0;               // 0: the library's default
  std::int64_t pretrain_images = 100'000;
  bool repretrain = false;
  std::int64_t steps = 0;  // of scratch and option 2; 0: the recipe's

  std::string mnist_folder() const { return mnist.empty() ? data + "/mnist" : mnist; }
};

/// What the command line asked for: a run, or only a text (--help, --version).
struct CommandLine {
  Options options;
  std::string text;  // to print instead of running; empty: run
};

/// Arguments without the program's name. Throws Error that names the option, what came and what was expected.
CommandLine parse_command_line(const std::vector<std::string>& arguments);

/// Throws Error unless `folder` can be made and written to.
void check_writable(const std::string& folder);

}  // namespace graft::demo
