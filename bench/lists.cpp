// Lists of rows for runs that have little time: `graft_bench --list=core --benchmark_min_time=0.05`.
#include <support.h>

#include <graft/kernels/api/error.h>

namespace graft::bench {
namespace {

// What a first run on a GPU should bring home within minutes: what the device can do at all, whole training steps, and
// each family of kernels at the sizes that matter, ours beside the vendor's.
std::vector<std::string> core() {
  std::vector<std::string> rows = {"device_copy/memcpy/1024", "device_copy/kernel/1024",
                                   "matmul/vendor/bf16/8192x8192x8192", "graph_nodes/1000"};
  const auto add = [&](const std::string& name) { rows.push_back(name); };
  for (const char* task : {"strokes_pretrain", "lenet5", "strokes_head_only"})
    for (const char* dtype : {"f32", "bf16"}) add(cat("train/cuda/captured/", dtype, "/", task, "/128"));
  add("matmul/cuda/bf16/8192x8192x8192");
  add("matmul/*/bf16/4096x4096x4096");
  for (const char* size : {"4096x4096x4096", "8192x8192x8192"}) add(cat("matmul_nt/*/bf16/", size));
  for (const char* size : {"4096x4096x4096", "8192x8192x8192"}) add(cat("matmul/*/f32/", size));
  add("matmul_nt/*/f32/4096x4096x4096");
  add("matmul_tn/*/bf16/4096x4096x4096");
  add("matmul_bias_relu/*/bf16/4096x4096x4096");
  add("matmul/*/f16/4096x4096x4096");

  // Bandwidth.
  for (const char* op : {"softmax", "softmax_backward", "cross_entropy", "cross_entropy_backward"})
    for (const char* dtype : {"f32", "bf16"}) add(cat(op, "/*/", dtype, "/8192x8192"));
  for (const char* op : {"batch_norm_training", "batch_norm_backward", "batch_norm_inference"})
    add(cat(op, "/*/bf16/resnet50_layer1.0.bn3/64"));
  for (const char* op : {"batch_norm_training", "batch_norm_backward"})
    for (const char* dtype : {"f32", "bf16"}) add(cat(op, "/*/", dtype, "/strokes_bn1/128"));
  for (const char* op : {"layer_norm", "layer_norm_backward"}) add(cat(op, "/*/bf16/65536x1024"));
  for (const char* what : {"f32/sgd_momentum", "f32/adam", "f32/adamw", "bf16/adamw"})
    add(cat("optim/cuda/", what, "/resnet50"));
  add("optim/cuda/f32/adamw/strokes_net");
  for (const char* what : {"copy/cuda/f32/f32", "copy/cuda/bf16/nchw_to_nhwc", "copy/cuda/f32/f32_to_bf16",
                           "unary/cuda/bf16/gelu", "unary/cuda/f32/relu", "binary/cuda/bf16/add", "unary/cuda/f32/fill",
                           "chain/cuda/bf16/bias_gelu_residual/fused", "random/cuda/f32/normal"})
    add(what);
  for (const char* axis : {"all", "rows", "columns"}) add(cat("reduce/cuda/bf16/sum_", axis));
  for (const char* op : {"max_pool_relu", "max_pool_relu_backward"}) add(cat(op, "/cuda/bf16/resnet50_maxpool/64"));
  add("max_pool_relu_inference/*/bf16/resnet50_maxpool/64");
  add("avg_pool/*/bf16/resnet50_maxpool/64");

  // Convolutions: ours first, as the vendor's rows try every engine beforehand.
  const char* directions[] = {"conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight"};
  for (const char* backend : {"/cuda/", "/vendor/"}) {
    for (const char* layer :
         {"resnet50_layer1.0.conv2", "resnet50_layer2.1.conv2", "resnet50_layer3.1.conv2", "resnet50_layer4.1.conv2",
          "resnet50_layer1.0.conv3", "resnet50_layer3.1.conv1", "resnet50_layer2.0.conv2", "resnet50_conv1"})
      for (const char* direction : directions) add(cat(direction, backend, "bf16/", layer, "/64"));
    for (const char* layer : {"resnet50_layer1.0.conv2", "resnet50_layer3.1.conv2"})
      add(cat("conv2d_forward", backend, "f32/", layer, "/64"));
    for (const char* layer : {"strokes_conv1", "strokes_conv2", "strokes_conv3"})
      for (const char* direction : directions)
        for (const char* dtype : {"f32/", "bf16/"}) add(cat(direction, backend, dtype, layer, "/128"));
  }

  // The small networks' linear layers.
  for (const char* kind : {"matmul_nt", "matmul", "matmul_tn"})
    for (const char* dtype : {"f32", "bf16"}) add(cat(kind, "/*/", dtype, "/strokes_fc1/128"));
  for (const char* layer : {"strokes_fc", "lenet_fc1"})
    for (const char* dtype : {"f32", "bf16"}) add(cat("matmul_nt/*/", dtype, "/", layer, "/128"));
  for (const char* what : {"222", "640", "16000", "adamw/640"}) add(cat("graph_making/", what));
  return rows;
}

// Each kind of row once, at the sizes of the emulated device.
std::vector<std::string> small() {
  std::vector<std::string> rows = {"device_copy/memcpy/1", "device_copy/kernel/1", "graph_nodes/1000",
                                   "graph_making/222", "graph_making/adamw/8"};
  for (const char* dtype : {"f32", "bf16"})
    for (const char* name : {"matmul", "matmul_tn", "matmul_nt", "matmul_bias_relu"})
      rows.push_back(cat(name, "/*/", dtype, "/32x32x32"));
  for (const char* dtype : {"f32", "bf16"})
    for (const char* name : {"conv2d_forward", "conv2d_bias_relu", "conv2d_backward_data", "conv2d_backward_weight"})
      rows.push_back(cat(name, "/*/", dtype, "/small/2"));
  for (const char* dtype : {"f32", "bf16"})
    for (const char* name :
         {"batch_norm_training", "batch_norm_inference", "batch_norm_backward", "max_pool_relu_inference",
          "max_pool_relu", "max_pool_relu_backward", "avg_pool", "avg_pool_backward"})
      rows.push_back(cat(name, "/*/", dtype, "/small"));
  for (const char* dtype : {"f32", "bf16"})
    for (const char* name : {"softmax", "softmax_backward", "log_softmax", "log_softmax_backward", "cross_entropy",
                             "cross_entropy_backward"})
      rows.push_back(cat(name, "/*/", dtype, "/8x40"));
  for (const char* name : {"layer_norm", "layer_norm_backward"}) rows.push_back(cat(name, "/*/bf16/8x64"));
  for (const char* what : {"f32/sgd_momentum", "f32/adamw", "bf16/adamw"})
    rows.push_back(cat("optim/cuda/", what, "/small"));
  return rows;
}

}  // namespace

const std::vector<std::string>& list(const std::string& name) {
  static const std::vector<std::string> core_rows = core(), emulated_rows = small();
  if (name == "core") return core_rows;
  check(emulated() && name == "emulated", "graft_bench: there is no list '", name, "', only 'core'");
  return emulated_rows;
}

}  // namespace graft::bench
