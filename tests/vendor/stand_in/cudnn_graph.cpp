// The stand-in for libcudnn: graphs of one convolution.
#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "library.h"

using namespace graft::stand_in;

namespace {

/// Any descriptor: its attributes as they were set, descriptors as what they held then.
struct Node {
  cudnnBackendDescriptorType_t type{};
  std::map<int, std::vector<std::byte>> values;
  std::map<int, std::shared_ptr<Node>> nodes;
  bool finalized = false;
  int engine = -1;  // of engines and their configurations

  template <class T>
  T get(int attribute, std::size_t i = 0) const {
    T value{};
    const auto found = values.find(attribute);
    if (found != values.end() && found->second.size() >= (i + 1) * sizeof(T))
      std::memcpy(&value, found->second.data() + i * sizeof(T), sizeof(T));
    return value;
  }
};

struct Handle {
  std::shared_ptr<Node> node = std::make_shared<Node>();
};

Node& node_of(cudnnBackendDescriptor_t descriptor) { return *static_cast<Handle*>(descriptor)->node; }

std::size_t bytes_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
      return 8;
    default:
      return 4;  // floats and enumerations
  }
}

/// What each engine is like. 0: uses TF32 where it can. 1: additions in no fixed order. 2: cannot be built. 3 and 4: as
/// wanted. 5: a Winograd transform.

constexpr std::int64_t workspace_of(int engine) { return engine == 3 ? 0 : 640; }
std::vector<cudnnBackendNumericalNote_t> notes_of(int engine) {
  if (engine == 0) return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
  if (engine == 1) return {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC};
  if (engine == 5) return {CUDNN_NUMERICAL_NOTE_WINOGRAD};
  return {};
}

/// The operation of a finalised graph.
struct Convolution {
  cudnnBackendDescriptorType_t kind{};
  Tensor x, w, y;
  std::array<std::int64_t, 3> uids{}, alignments{};
  std::array<std::int64_t, 2> stride{}, padding{}, dilation{};
  double alpha = 1, beta = 0;
};

const Node* child(const Node& node, int attribute) {
  const auto found = node.nodes.find(attribute);
  return found == node.nodes.end() ? nullptr : found->second.get();
}

bool read(const Node& operation, Convolution& c) {
  c.kind = operation.type;
  // x, w, y, convolution, alpha, beta
  std::array<int, 6> names{};
  if (c.kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
    names = {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
  else if (c.kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)
    names = {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
  else
    names = {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  Tensor* tensors[] = {&c.x, &c.w, &c.y};
  for (std::size_t i = 0; i < 3; ++i) {
    const Node* t = child(operation, names[i]);
    if (t == nullptr || !t->finalized ||
        !element_of(t->get<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE), tensors[i]->element))
      return false;
    for (std::size_t d = 0; d < 4; ++d) {
      tensors[i]->size[d] = t->get<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, d);
      tensors[i]->stride[d] = t->get<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES, d);
      if (tensors[i]->size[d] <= 0) return false;
    }
    c.uids[i] = t->get<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
    c.alignments[i] = t->get<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
  }
  const Node* g = child(operation, names[3]);
  if (g == nullptr || !g->finalized ||
      g->get<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION ||
      g->get<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT ||
      g->get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != 2)
    return false;
  for (std::size_t i = 0; i < 2; ++i) {
    c.stride[i] = g->get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i);
    c.padding[i] = g->get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i);
    c.dilation[i] = g->get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS, i);
    const std::int64_t span = c.dilation[i] * (c.w.size[2 + i] - 1) + 1;
    if (c.padding[i] != g->get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i) ||
        c.y.size[2 + i] != (c.x.size[2 + i] + 2 * c.padding[i] - span) / c.stride[i] + 1)
      return false;
  }
  c.alpha = operation.get<float>(names[4]);
  c.beta = operation.get<float>(names[5]);
  return c.x.size[0] == c.y.size[0] && c.w.size[0] == c.y.size[1] && c.x.size[1] % c.w.size[1] == 0 &&
         c.w.size[0] % (c.x.size[1] / c.w.size[1]) == 0;
}

/// The elements of a tensor, densely in the order (n, c, h, w) whatever theirs was, each converted once.
struct Values {
  Tensor t;
  std::vector<double> at;

  explicit Values(Tensor of) : t(of), at(static_cast<std::size_t>(of.numel())) {
    t.stride = {of.size[1] * of.size[2] * of.size[3], of.size[2] * of.size[3], of.size[3], 1};
  }
  Values(Tensor of, const void* p) : Values(of) {
    auto into = at.begin();
    for_each(of, [&](auto n, auto c, auto h, auto w) { *into++ = load(p, of.element, of.at(n, c, h, w)); });
  }
  double* from(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) { return at.data() + t.at(n, c, h, w); }
};

// Calls f(x, w, y, length) for the products that the convolution adds, a row of the output at a time: pointers to the first
// element of x, which lie stride[1] apart, to the one of w, and to the first of y.
template <class F>
void for_each_run(const Convolution& v, Values& x, Values& w, Values& y, F&& f) {
  const std::int64_t per_group = v.w.size[0] / (v.x.size[1] / v.w.size[1]);
  const auto quotient = [](std::int64_t a, std::int64_t b) { return a <= 0 ? 0 : (a + b - 1) / b; };  // rounded up
  for_each(v.w, [&](std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) {
    const std::int64_t left = s * v.dilation[1] - v.padding[1];  // the place in a row of x for the first of y's
    const std::int64_t first = quotient(-left, v.stride[1]);
    const std::int64_t length = std::min(v.y.size[3], quotient(v.x.size[3] - left, v.stride[1])) - first;
    if (length <= 0) return;
    for (std::int64_t n = 0; n < v.y.size[0]; ++n)
      for (std::int64_t p = 0; p < v.y.size[2]; ++p) {
        const std::int64_t h = p * v.stride[0] - v.padding[0] + r * v.dilation[0];
        if (h < 0 || h >= v.x.size[2]) continue;
        f(x.from(n, k / per_group * v.w.size[1] + c, h, first * v.stride[1] + left), w.from(k, c, r, s), y.from(n, k, p, first),
          length);
      }
  });
}

void compute(const Convolution& v, void* x, void* w, void* y) {
  const std::int64_t step = v.stride[1];
  const auto give = [&v](Values& result, const Tensor& t, void* into) {
    auto sum = result.at.begin();
    for_each(t, [&](auto n, auto c, auto h, auto q) { blend(into, t, t.at(n, c, h, q), v.alpha, *sum++, v.beta); });
  };
  if (v.kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) {
    Values vx(v.x, x), vw(v.w, w), vy(v.y);
    for_each_run(v, vx, vw, vy, [step](const double* a, const double* b, double* to, std::int64_t length) {
      for (std::int64_t i = 0; i < length; ++i) to[i] += a[i * step] * *b;
    });
    give(vy, v.y, y);
  } else if (v.kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR) {
    Values vx(v.x), vw(v.w, w), vy(v.y, y);
    for_each_run(v, vx, vw, vy, [step](double* to, const double* b, const double* a, std::int64_t length) {
      for (std::int64_t i = 0; i < length; ++i) to[i * step] += a[i] * *b;
    });
    give(vx, v.x, x);
  } else {
    Values vx(v.x, x), vw(v.w), vy(v.y, y);
    for_each_run(v, vx, vw, vy, [step](const double* a, double* to, const double* b, std::int64_t length) {
      double sum = 0;
      for (std::int64_t i = 0; i < length; ++i) sum += a[i * step] * b[i];
      *to += sum;
    });
    give(vw, v.w, w);
  }
}

const Node* graph_of(const Node& plan) {
  const Node* config = child(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  return config == nullptr ? nullptr : child(*config, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
}

}  // namespace

#define REFUSE_UNLESS(condition) \
  if (!(condition)) return refuse(CUDNN_STATUS_BAD_PARAM, "!(" #condition ")")

extern "C" {

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
  auto* made = new Handle;
  made->node->type = type;
  *descriptor = made;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete static_cast<Handle*>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t count, const void* values) {
  Node& node = node_of(descriptor);
  REFUSE_UNLESS(!node.finalized);
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    REFUSE_UNLESS(count == 1);
    node.nodes[name] = static_cast<Handle*>(*static_cast<const cudnnBackendDescriptor_t*>(values))->node;
    REFUSE_UNLESS(node.nodes[name]->finalized);
    return CUDNN_STATUS_SUCCESS;
  }
  const auto* begin = static_cast<const std::byte*>(values);
  node.values[name].assign(begin, begin + static_cast<std::size_t>(count) * bytes_of(type));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  Node& node = node_of(descriptor);
  Convolution convolution;
  switch (node.type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
      REFUSE_UNLESS(read(node, convolution));
      break;
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      REFUSE_UNLESS(node.get<void*>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE) != nullptr);
      REFUSE_UNLESS(child(node, CUDNN_ATTR_OPERATIONGRAPH_OPS) != nullptr);
      break;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: {
      if (fails("finalize plan")) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "the test wants it");
      REFUSE_UNLESS(graph_of(node) != nullptr);
      const int engine = child(node, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->engine;
      if (engine == 2) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "an engine that was recommended and is not there");
      node.engine = engine;
      break;
    }
    default:
      break;
  }
  node.finalized = true;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, std::int64_t room, std::int64_t* count,
                                       void* values) {
  const Node& node = node_of(descriptor);
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: {
      // Mode A names all engines but the last good one, which the fallback has; it promises one more than it gives.
      const bool fallback = node.get<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_FALLBACK;
      const std::vector<int> engines = fallback ? std::vector<int>{4} : std::vector<int>{0, 1, 2, 3, 5};
      if (room == 0) {
        *count = std::ssize(engines) + 1;
        return CUDNN_STATUS_SUCCESS;
      }
      *count = std::min<std::int64_t>(room, std::ssize(engines));
      for (std::int64_t i = 0; i < *count; ++i) {
        Node& config = node_of(static_cast<cudnnBackendDescriptor_t*>(values)[i]);
        config.engine = engines[static_cast<std::size_t>(i)];
        config.nodes[CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH] = node.nodes.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
        config.finalized = true;
      }
      return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_ENGINECFG_ENGINE: {
      Node& engine = node_of(*static_cast<cudnnBackendDescriptor_t*>(values));
      engine.engine = node.engine;
      *count = 1;
      return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE: {
      const auto notes = notes_of(node.engine);
      *count = std::ssize(notes);
      REFUSE_UNLESS(room >= *count);
      std::copy(notes.begin(), notes.end(), static_cast<cudnnBackendNumericalNote_t*>(values));
      return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      *static_cast<std::int64_t*>(values) = workspace_of(node.engine);
      *count = 1;
      return CUDNN_STATUS_SUCCESS;
    default:
      return refuse(CUDNN_STATUS_NOT_SUPPORTED, "an attribute that the stand-in does not know");
  }
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_,
                                  cudnnBackendDescriptor_t pack_) {
  if (fails("cudnnBackendExecute")) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "the test wants it");
  const Node &plan = node_of(plan_), &pack = node_of(pack_);
  REFUSE_UNLESS(plan.finalized && pack.finalized);
  REFUSE_UNLESS(plan.get<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE) == handle);
  Convolution convolution;
  REFUSE_UNLESS(read(*child(*graph_of(plan), CUDNN_ATTR_OPERATIONGRAPH_OPS), convolution));
  // One of f32 that may use TF32 rounds as TF32 does, which the tests would see.
  REFUSE_UNLESS(plan.engine != 0 || convolution.x.element != Element::f32);
  std::array<void*, 3> pointers{};
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j)
      if (pack.get<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, j) == convolution.uids[i])
        pointers[i] = pack.get<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, j);
    REFUSE_UNLESS(pointers[i] != nullptr);
    REFUSE_UNLESS(
        reinterpret_cast<std::uintptr_t>(pointers[i]) % static_cast<std::uintptr_t>(convolution.alignments[i]) == 0);
  }
  void* workspace = pack.get<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  const std::int64_t bytes = workspace_of(plan.engine);
  REFUSE_UNLESS(bytes == 0 || workspace != nullptr);
  const int engine = plan.engine;
  const bool slow = engine == state().slow_candidate;
  const bool queued = queue(of<Library>(handle).stream, [=] {
    state().last_candidate = engine;
    if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    scribble(workspace, static_cast<std::size_t>(bytes));
    compute(convolution, pointers[0], pointers[1], pointers[2]);
  });
  return queued ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED_CUDART;
}

}  // extern "C"
