// The stand-in for libcublasLt: matrix products, column by column.
#include <cublasLt.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "stand_in.h"

using namespace graft::stand_in;

namespace {

struct Layout {
  Element element{};
  std::uint64_t rows = 0, columns = 0;
  std::int64_t leading = 0, stride = 0;
  std::int32_t batch = 1;

  std::int64_t at(std::uint64_t row, std::uint64_t column, std::int32_t product) const {
    return static_cast<std::int64_t>(row) + static_cast<std::int64_t>(column) * leading + product * stride;
  }
};

struct Operation {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};

struct Preference {
  std::size_t workspace = 0;
  std::uint32_t a = 256, b = 256, c = 256, d = 256;
  std::uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_MASK;
};

// What lies in cublasLtMatmulAlgo_t: what the candidate was chosen for.
struct Algorithm {
  std::uint64_t candidate, workspace, a, b, d, rows, columns, bias_alignment;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

template <class T, class Handle>
T& of(Handle handle) {
  return *reinterpret_cast<T*>(handle);
}

template <class T>
cublasStatus_t take(T& into, const void* from, std::size_t bytes) {
  if (bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&into, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

std::uint64_t alignment_of(const void* p) {
  const auto bits = reinterpret_cast<std::uintptr_t>(p) | 256;
  return bits & (~bits + 1);
}

// A (m, k) op, B (k, n), C and D (m, n), batches alike, leading dimensions long enough.
bool consistent(const Operation& o, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  const bool ta = o.a != CUBLAS_OP_N, tb = o.b != CUBLAS_OP_N;
  for (const Layout* l : {&a, &b, &c, &d})
    if (l->leading < static_cast<std::int64_t>(l->rows) || l->rows == 0 || l->columns == 0 || l->element != d.element ||
        l->batch != d.batch)
      return false;
  return (ta ? a.columns : a.rows) == d.rows && (tb ? b.rows : b.columns) == d.columns &&
         (ta ? a.rows : a.columns) == (tb ? b.columns : b.rows) && c.rows == d.rows && c.columns == d.columns;
}

// The `count` lines of `length` that are multiplied: rows of the matrix, or its columns.
std::vector<double> lines(const void* p, const Layout& l, bool rows, std::uint64_t count, std::uint64_t length,
                          std::int32_t product) {
  std::vector<double> all;
  all.reserve(count * length);
  for (std::uint64_t i = 0; i < count; ++i)
    for (std::uint64_t k = 0; k < length; ++k)
      all.push_back(load(p, l.element, rows ? l.at(i, k, product) : l.at(k, i, product)));
  return all;
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (fails("cublasLtCreate")) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = reinterpret_cast<cublasLtHandle_t>(new int);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<int*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED   ? "CUBLAS_STATUS_NOT_SUPPORTED"
         : status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
                                                 : "CUBLAS_STATUS_NOT_INITIALIZED";
}
const char* cublasLtGetStatusString(cublasStatus_t) { return "so says the stand-in"; }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, std::uint64_t rows,
                                          std::uint64_t columns, std::int64_t leading) {
  const Element element = type == CUDA_R_16BF ? Element::bf16 : type == CUDA_R_16F ? Element::f16 : Element::f32;
  if (element == Element::f32 && type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{element, rows, columns, leading});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete &of<Layout>(layout);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                std::size_t bytes) {
  auto& l = of<Layout>(layout);
  if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) return take(l.batch, value, bytes);
  if (attribute == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET) return take(l.stride, value, bytes);
  return CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  // Anything else would be TF32, or sums in the operands' precision.
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *operation = reinterpret_cast<cublasLtMatmulDesc_t>(new Operation);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  delete &of<Operation>(operation);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  auto& o = of<Operation>(operation);
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSA) return take(o.a, value, bytes);
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSB) return take(o.b, value, bytes);
  if (attribute == CUBLASLT_MATMUL_DESC_EPILOGUE) return take(o.epilogue, value, bytes);
  if (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER) return take(o.bias, value, bytes);
  return CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete &of<Preference>(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
  auto& p = of<Preference>(preference);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return take(p.workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return take(p.a, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return take(p.b, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return take(p.c, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return take(p.d, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return take(p.reduction, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

// Four candidates: one that turns out not to run, and three with workspaces of several sizes.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
  if (fails("cublasLtMatmulAlgoGetHeuristic")) return CUBLAS_STATUS_NOT_SUPPORTED;
  const auto& o = of<Operation>(operation);
  const auto& p = of<Preference>(preference);
  if (!consistent(o, of<Layout>(a), of<Layout>(b), of<Layout>(c), of<Layout>(d))) return CUBLAS_STATUS_INVALID_VALUE;
  if ((p.reduction & (CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE)) != 0)
    return CUBLAS_STATUS_NOT_SUPPORTED;  // sums in the result's dtype
  *count = std::min(requested, 4);
  for (int i = 0; i < *count; ++i) {
    const Algorithm algorithm{static_cast<std::uint64_t>(i),
                              i == 1   ? 4096u
                              : i == 3 ? 1000u
                                       : 0u,
                              p.a,
                              p.b,
                              p.d,
                              of<Layout>(d).rows,
                              of<Layout>(d).columns,
                              o.epilogue != CUBLASLT_EPILOGUE_DEFAULT ? alignment_of(o.bias) : 0};
    results[i] = {};
    std::memcpy(&results[i].algo, &algorithm, sizeof algorithm);
    results[i].workspaceSize = algorithm.workspace;
    results[i].state = CUBLAS_STATUS_SUCCESS;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  if (fails("cublasLtMatmul")) return CUBLAS_STATUS_NOT_SUPPORTED;
  Algorithm algorithm;
  std::memcpy(&algorithm, algo, sizeof algorithm);
  const Operation o = of<Operation>(operation);
  const Layout la = of<Layout>(a_layout), lb = of<Layout>(b_layout), lc = of<Layout>(c_layout),
               ld = of<Layout>(d_layout);
  const bool relu = o.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS, bias = relu || o.epilogue == CUBLASLT_EPILOGUE_BIAS;
  const auto aligned = [](const void* p, std::uint64_t to) { return reinterpret_cast<std::uintptr_t>(p) % to == 0; };
  if (algorithm.candidate == 2) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (!consistent(o, la, lb, lc, ld) || ld.rows != algorithm.rows || ld.columns != algorithm.columns ||
      !aligned(a, algorithm.a) || !aligned(b, algorithm.b) || !aligned(d, algorithm.d) ||
      workspace_bytes < algorithm.workspace || (workspace_bytes > 0 && !aligned(workspace, 256)) ||
      (bias && (o.bias == nullptr || !aligned(o.bias, algorithm.bias_alignment))) ||
      (o.epilogue != CUBLASLT_EPILOGUE_DEFAULT && !bias) || *static_cast<const float*>(beta) != 0 || c != d)
    return CUBLAS_STATUS_INVALID_VALUE;
  const double scale = *static_cast<const float*>(alpha);
  const int candidate = static_cast<int>(algorithm.candidate);
  const bool slow = candidate == state().slow_candidate;
  const bool queued = queue(stream, [=] {
    state().last_candidate = candidate;
    if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    scribble(workspace, workspace_bytes);
    const std::uint64_t inner = o.a == CUBLAS_OP_N ? la.columns : la.rows;
    for (std::int32_t product = 0; product < ld.batch; ++product) {
      const std::vector<double> rows = lines(a, la, o.a == CUBLAS_OP_N, ld.rows, inner, product);
      const std::vector<double> columns = lines(b, lb, o.b != CUBLAS_OP_N, ld.columns, inner, product);
      for (std::uint64_t column = 0; column < ld.columns; ++column)
        for (std::uint64_t row = 0; row < ld.rows; ++row) {
          double sum = 0;
          for (std::uint64_t k = 0; k < inner; ++k) sum += rows[row * inner + k] * columns[column * inner + k];
          sum *= scale;
          if (bias) sum += load(o.bias, ld.element, static_cast<std::int64_t>(row));
          if (relu && !(sum > 0)) sum = 0;  // loses a NaN, as cuBLASLt may
          store(d, ld.element, ld.at(row, column, product), sum);
        }
    }
  });
  return queued ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
