// The vendor backend around its rows (which the op cases of tests/kernels check): enabling, tuning, capture, errors,
// threads. Over the stand-ins, which count calls and fail where a test wants it.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <vector>

#include <graft/core/ops/raw.h>
#include <graft/core/random.h>
#include <graft/core/tensor.h>
#include <graft/kernels/api/offered.h>
#include <graft/kernels/registry/registry.h>
#include <graft/kernels/runtime/cuda.h>
#include <graft/kernels/runtime/streams.h>
#include <graft/kernels/vendor/conv_plan.h>
#include <graft/kernels/vendor/tuning.h>
#include <graft/kernels/vendor/vendor.h>

#include "support/errors.h"

namespace graft::test {
namespace {

using kernels::BackendId;
using kernels::BackendScope;
using kernels::Conv2dForwardArgs;
using kernels::MatmulArgs;

constexpr Device gpu = Device::cuda(0);

/// A stand-in's side door.
class StandIn {
 public:
  explicit StandIn(const char* file) : library_(dlopen((std::string(GRAFT_STAND_INS "/") + file).c_str(), RTLD_NOW)) {}

  int calls(const char* function) const { return find<int (*)(const char*)>("stand_in_calls")(function); }
  void fail(const char* function, int times) const {
    find<void (*)(const char*, int)>("stand_in_fail")(function, times);
  }
  void slow(int candidate) const { find<void (*)(int)>("stand_in_slow")(candidate); }
  int last_candidate() const { return find<int (*)()>("stand_in_last_candidate")(); }

 private:
  template <class F>
  F find(const char* name) const {
    return reinterpret_cast<F>(dlsym(library_, name));
  }
  void* library_;
};

const std::string kBlasFile = cat("libcublasLt.so.", CUBLAS_VER_MAJOR), kDnnFile = cat("libcudnn.so.", CUDNN_MAJOR);

/// Runs an op on the vendor's backend.
template <class Args>
void run_vendor(const Args& args, const Tensor& where) {
  const BackendScope scope(BackendId::vendor);
  raw::run(args, where);
}

class VendorTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
    setenv("GRAFT_VENDOR_LIBRARIES", GRAFT_STAND_INS, 1);
    const kernels::Support support = vendor::enable();
    ASSERT_TRUE(support.ok) << support.reason;
  }
  void TearDown() override {
    blas.slow(-1);
    dnn.slow(-1);
    for (const char* function : {"cublasLtMatmul", "cublasLtMatmulAlgoGetHeuristic"}) blas.fail(function, 0);
    for (const char* function : {"cudnnBackendExecute", "cudnnSoftmaxForward", "finalize plan"}) dnn.fail(function, 0);
    vendor::enable();  // the default options
  }

  /// Plans are kept per shape: a test takes a shape of its own.
  struct Product {
    Tensor a, b, y;
    explicit Product(std::int64_t m)
        : a(randn({m, 5}).to(gpu)), b(randn({5, 7}).to(gpu)), y(Tensor::zeros({m, 7}, DType::f32, gpu)) {}
    MatmulArgs args() const { return {a.ref(), b.ref(), {}, y.ref()}; }
    void run() const { run_vendor(args(), y); }
    std::vector<float> wanted() const {
      const Tensor host = Tensor::empty({y.shape()[0], 7});
      const Tensor ha = a.to(Device::cpu()), hb = b.to(Device::cpu());
      raw::run(MatmulArgs{ha.ref(), hb.ref(), {}, host.ref()}, host);
      return host.to_vector<float>();
    }
    void expect_right() const {
      const std::vector<float> got = y.to(Device::cpu()).to_vector<float>(), want = wanted();
      for (std::size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 1e-5) << i;  // five products of numbers of a few units
    }
  };

  StandIn blas{kBlasFile.c_str()}, dnn{kDnnFile.c_str()};
};

[[noreturn]] void enable_and_leave(const char* folder) {
  setenv("GRAFT_VENDOR_LIBRARIES", folder, 1);
  const kernels::Support support = vendor::enable();
  std::fprintf(stderr, "%s; offered: %s\n", support.reason.c_str(),
               kernels::offered_backend(BackendId::vendor) != nullptr ? "yes" : "no");
  std::exit(support.ok ? 1 : 0);
}

/// In a process of its own, as the libraries are opened once.
class VendorMissing : public testing::Test {
 protected:
  VendorMissing() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
  void SetUp() override {
    if (const std::string why = runtime::cuda_unavailable(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_F(VendorMissing, LibrariesAreNamedWithWhereTheyWereLookedFor) {
  EXPECT_EXIT(
      enable_and_leave("/nowhere"), testing::ExitedWithCode(0),
      "graft::vendor: cuBLASLt cannot be opened .*/nowhere/libcublasLt.so.*GRAFT_VENDOR_LIBRARIES.*offered: no");
}

TEST_F(VendorMissing, ALibraryThatDoesNotStartIsToldWithItsReason) {
  EXPECT_EXIT(
      {
        StandIn(kDnnFile.c_str()).fail("cudnnCreate", 1);
        enable_and_leave(GRAFT_STAND_INS);
      },
      testing::ExitedWithCode(0),
      "cannot start the libraries on cuda:0: cudnnCreate: CUDNN_STATUS_NOT_INITIALIZED.*offered: no");
}

TEST_F(VendorTest, IsAskedOnlyWhereAScopeAsksForIt) {
  for (const kernels::BackendTable* table : kernels::backends(DeviceType::cuda))
    EXPECT_NE(table->id, BackendId::vendor);
  ASSERT_NE(kernels::find_backend(BackendId::vendor), nullptr);
  const Product product(3);
  const int before = blas.calls("cublasLtMatmul");
  raw::run(product.args(), product.y);
  product.expect_right();
  EXPECT_EQ(blas.calls("cublasLtMatmul"), before) << "our own kernels ran";
  product.run();
  EXPECT_GT(blas.calls("cublasLtMatmul"), before);
  const BackendScope scope(BackendId::vendor);
  EXPECT_ERROR(raw::unary(kernels::UnaryOp::exp, product.y), "vendor: has no such op");
}

TEST_F(VendorTest, FirstCallOfAShapeTriesAllAndTheNextRunsTheFastest) {
  const Product product(11);
  blas.slow(0);
  const int before = blas.calls("cublasLtMatmul"), asked = blas.calls("cublasLtMatmulAlgoGetHeuristic");
  product.run();
  product.expect_right();
  // Candidates 0, 1 and 3 once uncounted and three times timed; 2 fails at once; then the chosen one.
  EXPECT_EQ(blas.calls("cublasLtMatmul") - before, 3 * 4 + 1 + 1);
  EXPECT_NE(blas.last_candidate(), 0) << "the slow one";
  product.run();
  product.expect_right();
  EXPECT_EQ(blas.calls("cublasLtMatmul") - before, 3 * 4 + 1 + 2);
  EXPECT_EQ(blas.calls("cublasLtMatmulAlgoGetHeuristic") - asked, 1);
  // Another shape is tuned for itself.
  Product(12).run();
  EXPECT_EQ(blas.calls("cublasLtMatmulAlgoGetHeuristic") - asked, 2);
}

struct Convolution {
  Tensor x, w, bias, y;
  explicit Convolution(std::int64_t channels, DType dtype = DType::f32)
      : x(make({2, channels, 5, 5}, dtype)),
        w(make({4, channels, 3, 3}, dtype)),
        bias(Tensor::full({4}, 3, dtype, gpu)),
        y(make({2, 4, 3, 3}, dtype)) {}
  static Tensor make(const Shape& shape, DType dtype) {
    return randn(shape).contiguous(MemoryFormat::channels_last).to(dtype).to(gpu);
  }
  void run() const { run_vendor(Conv2dForwardArgs{x.ref(), w.ref(), bias.ref(), y.ref(), {}}, y); }
  void expect_right() const {
    const Tensor hx = x.to(Device::cpu()), hw = w.to(Device::cpu()), hb = bias.to(Device::cpu()),
                 want = y.to(Device::cpu());
    raw::run(Conv2dForwardArgs{hx.ref(), hw.ref(), hb.ref(), want.ref(), {}}, want);
    const std::vector<float> got = y.to(Device::cpu()).to_vector<float>(), wanted = want.to_vector<float>();
    for (std::size_t i = 0; i < wanted.size(); ++i)
      ASSERT_NEAR(got[i], wanted[i], 1e-4) << i;  // tens of products of numbers of a few units
  }
};

TEST_F(VendorTest, ConvolutionsAreTunedToo) {
  const Convolution convolution(6);
  dnn.slow(3);
  const int before = dnn.calls("cudnnBackendExecute");
  convolution.run();
  convolution.expect_right();
  // f32 may use engines 3 and 4 (of the fallback): once uncounted, three times timed; then the chosen one.
  EXPECT_EQ(dnn.calls("cudnnBackendExecute") - before, 2 * 4 + 1);
  EXPECT_EQ(dnn.last_candidate(), 4);
  convolution.run();
  convolution.expect_right();
  EXPECT_EQ(dnn.calls("cudnnBackendExecute") - before, 2 * 4 + 2);
}

TEST_F(VendorTest, EnginesAreChosenByWhatTheyPromise) {
  using namespace kernels::vendor;
  ConvSpec spec;
  spec.x = {2, 8, 6, 6};
  spec.w = {4, 8, 3, 3};
  spec.y = {2, 4, 4, 4};
  spec.x_alignment = spec.w_alignment = spec.y_alignment = 16;
  const auto plans = [&](DType dtype, vendor::Engines engines) {
    spec.dtype = dtype;
    spec.engines = engines;
    return conv_plans(spec, {context(runtime::default_stream(0)).dnn}, kCandidates).size();
  };
  // Of the stand-in's engines 0 uses tensor cores, 1 adds in lower precision, 2 cannot be built, 5 is a transform.
  EXPECT_EQ(plans(DType::f32, vendor::Engines::strict), 2u) << "3 and 4";
  EXPECT_EQ(plans(DType::f32, vendor::Engines::fastest), 3u) << "and 5";
  EXPECT_EQ(plans(DType::bf16, vendor::Engines::strict), 3u) << "0, 3 and 4";
  EXPECT_EQ(plans(DType::bf16, vendor::Engines::fastest), 4u) << "and 5";
  EXPECT_EQ(conv_plans(spec, {context(runtime::default_stream(0)).dnn}, 1).size(), 1u);
  dnn.fail("finalize plan", 100);
  EXPECT_ERROR(plans(DType::f32, vendor::Engines::strict), "cuDNN has no engine that adds in float");
}

TEST_F(VendorTest, OptionsChangeTheChoiceOfShapesThatWereTunedBefore) {
  const Convolution convolution(9);
  convolution.run();
  ASSERT_TRUE(vendor::enable({.engines = vendor::Engines::fastest}).ok);
  const int before = dnn.calls("cudnnBackendExecute");
  convolution.run();
  convolution.expect_right();
  EXPECT_EQ(dnn.calls("cudnnBackendExecute") - before, 3 * 4 + 1) << "tuned again, with engine 5";
}

TEST_F(VendorTest, CapturesWithoutTiming) {
  const runtime::OwnedStream stream(0);
  for (const bool tuned : {false, true}) {
    const Product p(tuned ? 13 : 14);
    const Convolution c(tuned ? 7 : 8);
    if (tuned) {
      p.run();
      c.run();
    }
    runtime::synchronize(runtime::current_stream(0));
    const int products = blas.calls("cublasLtMatmul"), convolutions = dnn.calls("cudnnBackendExecute");
    runtime::Graph graph;
    {
      runtime::GraphCapture capture(graph, stream);
      p.run();
      c.run();
      capture.finish();
    }
    EXPECT_EQ(blas.calls("cublasLtMatmul") - products, 1) << (tuned ? "the tuned one" : "the first, untimed");
    EXPECT_EQ(dnn.calls("cudnnBackendExecute") - convolutions, 1);
    for (int launch = 0; launch < 2; ++launch) {
      graph.launch(stream);
      stream.synchronize();
      p.expect_right();
      c.expect_right();
    }
    if (tuned) continue;
    // A shape that was captured untuned is tuned by its next call outside.
    p.run();
    EXPECT_GT(blas.calls("cublasLtMatmul") - products, 2);
    p.expect_right();
    graph.launch(stream);  // by the plan that it was captured with
    stream.synchronize();
    p.expect_right();
  }
}

TEST_F(VendorTest, ReluIsFusedWhereTheFastestIsAskedFor) {
  const Product p(16);
  const Tensor bias = randn({7}).to(gpu);
  MatmulArgs args = p.args();
  args.bias = bias.ref();
  args.activation = kernels::Activation::relu;
  const auto product = [&](vendor::Engines engines) {
    EXPECT_TRUE(vendor::enable({.engines = engines}).ok);
    run_vendor(args, p.y);  // tunes
    const int before = dnn.calls("cudnnActivationForward");
    run_vendor(args, p.y);
    EXPECT_EQ(dnn.calls("cudnnActivationForward") - before, engines == vendor::Engines::strict ? 1 : 0);
    return p.y.to(Device::cpu()).to_vector<float>();
  };
  const std::vector<float> strict = product(vendor::Engines::strict);
  EXPECT_NE(std::count(strict.begin(), strict.end(), 0.0f), 0);
  EXPECT_EQ(product(vendor::Engines::fastest), strict);
}

TEST_F(VendorTest, ErrorsNameTheCallTheStatusTheOpAndTheShapes) {
  const Product product(15);
  blas.fail("cublasLtMatmulAlgoGetHeuristic", 1);
  EXPECT_ERROR(
      product.run(),
      "matmul on cuda:0 by the vendor's libraries: cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_NOT_SUPPORTED "
      "(so says the stand-in); with a f32 (15, 5), b f32 (5, 7), y f32 (15, 7)");
  blas.fail("cublasLtMatmul", 1000);
  EXPECT_ERROR(product.run(), "none of 4 candidates runs; the first: cublasLtMatmul: CUBLAS_STATUS_NOT_SUPPORTED");
  blas.fail("cublasLtMatmul", 0);
  product.run();
  product.expect_right();

  const Tensor x = randn({3, 4}).to(gpu), y = x.empty_like();
  dnn.fail("cudnnSoftmaxForward", 1);
  const kernels::SoftmaxArgs softmax{x.ref(), y.ref(), false};
  EXPECT_ERROR(run_vendor(softmax, x),
               "softmax on cuda:0 by the vendor's libraries: cudnnSoftmaxForward: CUDNN_STATUS_NOT_SUPPORTED (the test "
               "wants it); with x f32 (3, 4)");
  run_vendor(softmax, x);
  const std::vector<float> p = y.to(Device::cpu()).to_vector<float>();
  EXPECT_NEAR(p[0] + p[1] + p[2] + p[3], 1, 1e-6);  // four roundings of numbers below 1
}

TEST_F(VendorTest, EveryThreadHasHandlesOfItsOwn) {
  const int before = dnn.calls("cudnnCreate");
  const auto work = [](std::int64_t m) {
    const runtime::OwnedStream stream(0);
    const runtime::StreamScope here(stream);
    const Product product(m);
    for (int i = 0; i < 3; ++i) product.run();
    stream.synchronize();
    product.expect_right();
  };
  for (int round = 0; round < 2; ++round) {
    std::vector<std::thread> threads;
    for (std::int64_t m = 20; m < 24; ++m) threads.emplace_back(work, m);
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_LE(dnn.calls("cudnnCreate") - before, 4) << "threads that ended leave theirs to the next";
}

}  // namespace
}  // namespace graft::test
