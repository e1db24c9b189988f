// One matrix product of cuBLASLt: its descriptors and the algorithm that was chosen for it. Internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <graft/kernels/api/tensor_ref.h>
#include <graft/kernels/vendor/context.h>

namespace graft::kernels::vendor {

/// A matrix as cuBLASLt sees memory: columns of `leading` elements. A row-major matrix is its own transpose there.
struct Stored {
  std::int64_t leading = 0;
  bool column_major = false;
};

/// y = a @ b + bias, or max(0, a @ b + bias), for `batch` products: sizes, how the operands lie, bytes that the addresses are multiples of.
struct MatmulSpec {
  DType dtype{};
  std::int64_t batch = 1, m = 0, n = 0, k = 0;
  Stored a, b;
  std::int64_t a_batch = 0, b_batch = 0, y_batch = 0;  // elements from one product to the next; 0: the same operand
  std::int64_t a_alignment = 0, b_alignment = 0, y_alignment = 0, bias_alignment = 0;  // bias_alignment 0: no bias
  bool relu = false;  // needs a bias

  PlanKey key() const;
};

class MatmulPlan {
 public:
  /// `bias` tells cuBLASLt the alignment only; each run names its own.
  MatmulPlan(const MatmulSpec& spec, const void* bias);
  ~MatmulPlan();
  MatmulPlan(const MatmulPlan&) = delete;
  MatmulPlan& operator=(const MatmulPlan&) = delete;

  /// Asks cuBLASLt for algorithms, best first. Throws Error when it has none.
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(Context& context, int limit) const;
  void choose(const cublasLtMatmulHeuristicResult_t& candidate) { chosen_ = candidate; }
  std::size_t workspace_bytes() const { return chosen_.workspaceSize; }

  void run(Context& context, const void* a, const void* b, const void* bias, void* y, void* workspace,
           const Stream& stream) const;

 private:
  void destroy();

  MatmulSpec spec_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, y_ = nullptr;
  cublasLtMatmulHeuristicResult_t chosen_{};
};

}  // namespace graft::kernels::vendor
