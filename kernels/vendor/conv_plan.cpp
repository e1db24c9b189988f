#include <graft/kernels/vendor/conv_plan.h>

#include <algorithm>
#include <array>
#include <bit>

#include <graft/kernels/api/error.h>
#include <graft/kernels/vendor/descriptors.h>

namespace graft::kernels::vendor {
namespace {

// A plan that wants more than this is not worth its memory.
constexpr std::size_t kMostWorkspace = std::size_t{1} << 30;

enum Uid : std::int64_t { kX = 1, kW, kY };

Descriptor tensor(Uid uid, DType dtype, const Shape& sizes, std::int64_t alignment) {
  Descriptor t(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const cudnnDataType_t type = data_type(dtype);
  const Shape strides = channels_last_strides(sizes);
  t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, sizes.begin());
  t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.begin());
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  t.finalize();
  return t;
}

Descriptor convolution(const Conv2dGeometry& g) {
  Descriptor c(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t accumulate_in = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const std::int64_t strides[] = {g.stride_h, g.stride_w}, paddings[] = {g.padding_h, g.padding_w},
                     dilations[] = {g.dilation_h, g.dilation_w};
  c.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &accumulate_in);
  c.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  c.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
  c.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
  c.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, paddings);
  c.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, paddings);
  c.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations);
  c.finalize();
  return c;
}

struct OperationNames {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t x, w, y, convolution, alpha, beta;
};
OperationNames names_of(ConvKind kind) {
  switch (kind) {
    case ConvKind::forward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case ConvKind::backward_data:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case ConvKind::backward_weight:
      break;
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

// A graph of one convolution. It is not told whether cuDNN copies a descriptor that becomes an attribute of another, so
// all of them live as long as the graph.
struct ConvGraph {
  Descriptor x, w, y, geometry, operation, graph;

  ConvGraph(const ConvSpec& spec, const ConvTarget& target)
      : x(tensor(kX, spec.dtype, spec.x, spec.x_alignment)),
        w(tensor(kW, spec.dtype, spec.w, spec.w_alignment)),
        y(tensor(kY, spec.dtype, spec.y, spec.y_alignment)),
        geometry(convolution(spec.geometry)),
        operation(names_of(spec.kind).type),
        graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) {
    const OperationNames names = names_of(spec.kind);
    operation.set(names.x, x);
    operation.set(names.w, w);
    operation.set(names.y, y);
    operation.set(names.convolution, geometry);
    operation.set(names.alpha, CUDNN_TYPE_FLOAT, 1, &kOne);
    operation.set(names.beta, CUDNN_TYPE_FLOAT, 1, &spec.beta);
    operation.finalize();
    if (target.handle != nullptr) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
    graph.finalize();
  }
};

// How many values an attribute has, and the values.
std::int64_t get(const Descriptor& from, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                 std::int64_t room, void* values) {
  std::int64_t count = 0;
  GRAFT_VENDOR(cudnnBackendGetAttribute, from.get(), name, type, room, &count, values);
  return count;
}

bool keeps_promises(const Descriptor& config, DType dtype, graft::vendor::Engines engines) {
  const Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &handle);
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  const std::int64_t count = get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                 static_cast<std::int64_t>(notes.size()), notes.data());
  return std::all_of(notes.begin(), notes.begin() + std::min<std::int64_t>(count, std::ssize(notes)), [&](auto note) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:  // of f32: TF32
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
        return dtype != DType::f32;
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        return false;
      case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP:
        return true;
      default:  // Fourier, Winograd, no fixed order
        return engines == graft::vendor::Engines::fastest;
    }
  });
}

// The engines' configurations that cuDNN recommends in one of its modes, best first.
std::vector<Descriptor> recommended(const Descriptor& graph, cudnnBackendHeurMode_t mode, const ConvTarget& target) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (target.described != nullptr) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.described);
  heuristics.finalize();
  const std::int64_t most = get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::int64_t i = 0; i < most; ++i)
    handles.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  const std::int64_t count =
      get(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, handles.data());
  configs.erase(configs.begin() + std::min(count, most), configs.end());
  return configs;
}

}  // namespace

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  GRAFT_VENDOR(cudnnBackendCreateDescriptor, type, &handle_);
}
Descriptor::~Descriptor() {
  if (handle_ != nullptr) libraries().cudnnBackendDestroyDescriptor(handle_);
}
void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                     const void* values) {
  GRAFT_VENDOR(cudnnBackendSetAttribute, handle_, name, type, count, values);
}
void Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& other) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other.handle_);
}
void Descriptor::set(cudnnBackendAttributeName_t name, std::int64_t value) { set(name, CUDNN_TYPE_INT64, 1, &value); }
void Descriptor::finalize() { GRAFT_VENDOR(cudnnBackendFinalize, handle_); }

PlanKey ConvSpec::key() const {
  PlanKey key{};
  std::size_t next = 0;
  const auto add = [&](std::int64_t value) { key.at(next++) = value; };
  add(static_cast<std::int64_t>(kind));
  add(static_cast<std::int64_t>(dtype));
  for (const Shape* shape : {&x, &w, &y})
    for (const std::int64_t size : *shape) add(size);
  const Conv2dGeometry& g = geometry;
  for (const std::int64_t value : {g.stride_h, g.stride_w, g.padding_h, g.padding_w, g.dilation_h, g.dilation_w,
                                   g.groups, x_alignment, w_alignment, y_alignment})
    add(value);
  add(std::bit_cast<std::int32_t>(beta));
  add(static_cast<std::int64_t>(engines));
  return key;
}

ConvPlan::ConvPlan(Descriptor engine_config, const ConvTarget& target)
    : engine_config_(std::move(engine_config)), plan_(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
  if (target.handle != nullptr) plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine_config_);
  if (target.described != nullptr) plan_.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.described);
  plan_.finalize();
  std::int64_t bytes = 0;
  get(plan_, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
  workspace_bytes_ = static_cast<std::size_t>(bytes);
}

void ConvPlan::run(Context& context, void* x, void* w, void* y, void* workspace) const {
  const std::int64_t uids[] = {kX, kW, kY};
  void* const pointers[] = {x, w, y};
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, uids);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers);
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  GRAFT_VENDOR(cudnnBackendExecute, context.dnn, plan_.get(), pack.get());
}

std::vector<std::unique_ptr<ConvPlan>> conv_plans(const ConvSpec& spec, const ConvTarget& target, int limit) {
  const ConvGraph graph(spec, target);
  std::vector<std::unique_ptr<ConvPlan>> plans;
  std::string first_error;
  int looked_at = 0;
  // Mode B names the same engines as mode A; those of the fallback mode are slow, and there for every convolution.
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    if (static_cast<int>(plans.size()) >= limit) break;
    for (Descriptor& config : recommended(graph.graph, mode, target)) {
      ++looked_at;
      if (static_cast<int>(plans.size()) >= limit) break;
      if (!keeps_promises(config, spec.dtype, spec.engines)) continue;
      try {
        auto plan = std::make_unique<ConvPlan>(std::move(config), target);
        if (plan->workspace_bytes() <= kMostWorkspace) plans.push_back(std::move(plan));
      } catch (const Error& error) {  // recommended, and yet not for this device or these sizes
        if (first_error.empty()) first_error = error.what();
      }
    }
  }
  check(!plans.empty(), "cuDNN has no engine that adds in float and keeps to what Engines::",
        spec.engines == graft::vendor::Engines::strict ? "strict" : "fastest", " promises; it named ", looked_at,
        first_error.empty() ? "" : cat("; the first: ", first_error));
  return plans;
}

}  // namespace graft::kernels::vendor
