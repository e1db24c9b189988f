// cuBLASLt computes column by column, so that row-major y = a b is the product y' = b' a' of the transposes: b is its
// first operand, a its second, and n and m change places. The bias runs along the columns of y', as its epilogue wants.
#include <graft/kernels/vendor/matmul_plan.h>

#include <utility>

#include <graft/kernels/api/error.h>

namespace graft::kernels::vendor {
namespace {

// What NVIDIA recommends for Hopper; older devices need less.
constexpr std::size_t kMostWorkspace = std::size_t{32} << 20;

cudaDataType type_of(DType dtype) {
  return dtype == DType::bf16 ? CUDA_R_16BF : dtype == DType::f16 ? CUDA_R_16F : CUDA_R_32F;
}

template <class T>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  GRAFT_VENDOR(cublasLtMatmulDescSetAttribute, operation, attribute, &value, sizeof value);
}

// Columns of `leading` elements; `into` holds the layout as soon as there is one.
void make_layout(cublasLtMatrixLayout_t& into, DType dtype, std::int64_t rows, std::int64_t columns,
                 std::int64_t leading, std::int64_t batch, std::int64_t stride) {
  GRAFT_VENDOR(cublasLtMatrixLayoutCreate, &into, type_of(dtype), static_cast<std::uint64_t>(rows),
               static_cast<std::uint64_t>(columns), leading);
  if (batch == 1) return;
  const auto count = static_cast<std::int32_t>(batch);
  GRAFT_VENDOR(cublasLtMatrixLayoutSetAttribute, into, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
  GRAFT_VENDOR(cublasLtMatrixLayoutSetAttribute, into, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
               sizeof stride);
}

// An operand of `rows` x `columns` in our sense: row-major memory is the transpose in cuBLASLt's.
void make_layout(cublasLtMatrixLayout_t& into, DType dtype, const Stored& stored, std::int64_t rows,
                 std::int64_t columns, std::int64_t batch, std::int64_t stride) {
  if (!stored.column_major) std::swap(rows, columns);
  make_layout(into, dtype, rows, columns, stored.leading, batch, stride);
}

struct Preference {
  cublasLtMatmulPreference_t handle = nullptr;
  Preference() { GRAFT_VENDOR(cublasLtMatmulPreferenceCreate, &handle); }
  ~Preference() { libraries().cublasLtMatmulPreferenceDestroy(handle); }
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    GRAFT_VENDOR(cublasLtMatmulPreferenceSetAttribute, handle, attribute, &value, sizeof value);
  }
};

}  // namespace

PlanKey MatmulSpec::key() const {
  return {static_cast<std::int64_t>(dtype),
          batch,
          m,
          n,
          k,
          a.leading,
          a.column_major,
          b.leading,
          b.column_major,
          a_batch,
          b_batch,
          y_batch,
          a_alignment,
          b_alignment,
          y_alignment,
          bias_alignment,
          relu};
}

MatmulPlan::MatmulPlan(const MatmulSpec& spec, const void* bias) : spec_(spec) {
  try {
    // Float accumulation, and no TF32, which would be CUBLAS_COMPUTE_32F_FAST_TF32.
    GRAFT_VENDOR(cublasLtMatmulDescCreate, &operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    const auto transposed = [](const Stored& stored) { return stored.column_major ? CUBLAS_OP_T : CUBLAS_OP_N; };
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, transposed(spec.b));
    set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, transposed(spec.a));
    if (bias != nullptr) {
      set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, spec.relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS);
      set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    make_layout(b_, spec.dtype, spec.b, spec.k, spec.n, spec.batch, spec.b_batch);
    make_layout(a_, spec.dtype, spec.a, spec.m, spec.k, spec.batch, spec.a_batch);
    make_layout(y_, spec.dtype, spec.n, spec.m, spec.n, spec.batch, spec.y_batch);
  } catch (const Error&) {
    destroy();
    throw;
  }
}

MatmulPlan::~MatmulPlan() { destroy(); }

void MatmulPlan::destroy() {
  for (cublasLtMatrixLayout_t each : {a_, b_, y_})
    if (each != nullptr) libraries().cublasLtMatrixLayoutDestroy(each);
  if (operation_ != nullptr) libraries().cublasLtMatmulDescDestroy(operation_);
}

std::vector<cublasLtMatmulHeuristicResult_t> MatmulPlan::candidates(Context& context, int limit) const {
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(spec_.b_alignment));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(spec_.a_alignment));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(spec_.y_alignment));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(spec_.y_alignment));
  // Where K is cut into parts, they are added in float: the other schemes add in the result's dtype.
  preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                 static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<std::size_t>(limit));
  int count = 0;
  GRAFT_VENDOR(cublasLtMatmulAlgoGetHeuristic, context.blas, operation_, b_, a_, y_, y_, preference.handle, limit,
               results.data(), &count);
  results.resize(static_cast<std::size_t>(count));
  std::erase_if(results, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
  check(!results.empty(), "cublasLtMatmulAlgoGetHeuristic: cuBLASLt has no algorithm for these sizes and strides");
  return results;
}

void MatmulPlan::run(Context& context, const void* a, const void* b, const void* bias, void* y, void* workspace,
                     const Stream& stream) const {
  constexpr float one = 1, zero = 0;
  if (bias != nullptr) set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  GRAFT_VENDOR(cublasLtMatmul, context.blas, operation_, &one, b, b_, a, a_, &zero, y, y_, y, y_, &chosen_.algo,
               workspace, chosen_.workspaceSize, static_cast<cudaStream_t>(stream.native));
}

}  // namespace graft::kernels::vendor
