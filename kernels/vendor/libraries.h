// cuBLASLt and cuDNN, opened at run time: the functions that this backend calls, and statuses as errors. Internal.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>

#include <string>

namespace graft::kernels::vendor {

#define GRAFT_CUBLASLT_FUNCTIONS(X)       \
  X(cublasLtCreate)                       \
  X(cublasLtDestroy)                      \
  X(cublasLtGetStatusName)                \
  X(cublasLtGetStatusString)              \
  X(cublasLtMatmul)                       \
  X(cublasLtMatmulAlgoGetHeuristic)       \
  X(cublasLtMatmulDescCreate)             \
  X(cublasLtMatmulDescDestroy)            \
  X(cublasLtMatmulDescSetAttribute)       \
  X(cublasLtMatmulPreferenceCreate)       \
  X(cublasLtMatmulPreferenceDestroy)      \
  X(cublasLtMatmulPreferenceSetAttribute) \
  X(cublasLtMatrixLayoutCreate)           \
  X(cublasLtMatrixLayoutDestroy)          \
  X(cublasLtMatrixLayoutSetAttribute)

#define GRAFT_CUDNN_FUNCTIONS(X)                              \
  X(cudnnActivationForward)                                   \
  X(cudnnAddTensor)                                           \
  X(cudnnBackendCreateDescriptor)                             \
  X(cudnnBackendDestroyDescriptor)                            \
  X(cudnnBackendExecute)                                      \
  X(cudnnBackendFinalize)                                     \
  X(cudnnBackendGetAttribute)                                 \
  X(cudnnBackendSetAttribute)                                 \
  X(cudnnBatchNormalizationBackward)                          \
  X(cudnnBatchNormalizationBackwardEx)                        \
  X(cudnnBatchNormalizationForwardInference)                  \
  X(cudnnBatchNormalizationForwardTrainingEx)                 \
  X(cudnnConvolutionBackwardBias)                             \
  X(cudnnCreate)                                              \
  X(cudnnCreateActivationDescriptor)                          \
  X(cudnnCreatePoolingDescriptor)                             \
  X(cudnnCreateTensorDescriptor)                              \
  X(cudnnDestroyActivationDescriptor)                         \
  X(cudnnDestroyPoolingDescriptor)                            \
  X(cudnnDestroyTensorDescriptor)                             \
  X(cudnnGetBatchNormalizationBackwardExWorkspaceSize)        \
  X(cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize) \
  X(cudnnGetBatchNormalizationTrainingExReserveSpaceSize)     \
  X(cudnnGetErrorString)                                      \
  X(cudnnGetLastErrorString)                                  \
  X(cudnnGetVersion)                                          \
  X(cudnnPoolingBackward)                                     \
  X(cudnnPoolingForward)                                      \
  X(cudnnSetActivationDescriptor)                             \
  X(cudnnSetPooling2dDescriptor)                              \
  X(cudnnSetStream)                                           \
  X(cudnnSetTensor4dDescriptorEx)                             \
  X(cudnnSoftmaxBackward)                                     \
  X(cudnnSoftmaxForward)

#define GRAFT_DECLARE(function) decltype(&::function) function = nullptr;
struct Libraries {
  GRAFT_CUBLASLT_FUNCTIONS(GRAFT_DECLARE)
  GRAFT_CUDNN_FUNCTIONS(GRAFT_DECLARE)
  /// Empty when all functions are there; else which library or function is missing, where it was looked for, and what
  /// to do.
  std::string missing;
};
#undef GRAFT_DECLARE

/// Opens the libraries at the first call; they stay open.
const Libraries& libraries();

/// Throws Error naming the call, the status and the library's own explanation unless the call succeeded.
void check_status(cublasStatus_t status, const char* call);
void check_status(cudnnStatus_t status, const char* call);

/// Calls a function of one of the libraries; throws Error unless it succeeds.
#define GRAFT_VENDOR(function, ...) \
  ::graft::kernels::vendor::check_status(::graft::kernels::vendor::libraries().function(__VA_ARGS__), #function)

}  // namespace graft::kernels::vendor
