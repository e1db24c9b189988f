// Errors, types, thread-local state and inline functions across the border of the library, shared or not. Prints what
// is wrong; exit code 1 then.
#include <graft/graft.h>

#include <cstdio>
#include <cstring>
#include <set>
#include <stdexcept>
#include <thread>

namespace {

int failures = 0;

void expect(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "border: %s\n", what);
  ++failures;
}

struct OwnError : graft::Error {
  using graft::Error::Error;
};

/// A layer of the program's own: called by the library, and throws through it.
struct Own : graft::Module {
  explicit Own(bool fails) : fails_(fails) {}
  graft::Tensor forward(const graft::Tensor& x) override {
    if (fails_) throw OwnError("own");
    return x * 2.0;
  }
  std::string describe() const override { return "Own"; }
  bool fails_;
};

template <class Caught, class F>
bool throws(F&& f) {
  try {
    f();
  } catch (const Caught&) {
    return true;
  } catch (...) {
  }
  return false;
}

void errors() {
  using namespace graft;
  const Tensor a = Tensor::ones({2, 3}), b = Tensor::ones({2, 4});
  expect(throws<Error>([&] { matmul(a, b); }), "an error that the library throws is not caught as graft::Error");
  expect(throws<std::runtime_error>([&] { matmul(a, b); }), "a graft::Error is not caught as std::runtime_error");
  expect(throws<Error>([] { (void)Shape::filled(99, 1); }),
         "an error thrown by an inline function is not graft::Error");
  Sequential net({std::make_shared<Own>(true)});
  expect(throws<OwnError>([&] { net(a); }), "an error of the program's own does not come through the library");
  expect(throws<Error>([&] { parallel_for(1000, 1, [](std::int64_t, std::int64_t) { fail("inside"); }); }),
         "an error in a loop of the library is not graft::Error");
}

void types() {
  using namespace graft;
  std::shared_ptr<Module> net = models::mlp({.hidden = {8}});
  expect(dynamic_cast<Sequential*>(net.get()) != nullptr, "dynamic_cast to Sequential of what the library made");
  expect(std::dynamic_pointer_cast<Linear>(net->children().front().second) ||
             std::dynamic_pointer_cast<Linear>(net->children().at(1).second),
         "dynamic_pointer_cast to Linear of what the library made");
  expect(dynamic_cast<Conv2d*>(net.get()) == nullptr, "dynamic_cast to another type succeeds");
  std::shared_ptr<Module> made = std::make_shared<Linear>(2, 2);
  expect(typeid(*made) == typeid(Linear), "typeid of a layer made here");
  Sequential own({std::make_shared<Own>(false), made});
  expect(own(Tensor::ones({1, 2})).shape() == Shape{1, 2}, "a layer of the program's own in the library's container");
  expect(dynamic_cast<Own*>(own.children().front().second.get()) != nullptr,
         "dynamic_cast to a layer of the program's own");
  std::unique_ptr<optim::Optimizer> optimizer = std::make_unique<optim::AdamW>(own.parameters(), optim::AdamOptions{});
  expect(dynamic_cast<optim::Adam*>(optimizer.get()) != nullptr, "dynamic_cast of an optimiser to its base");
}

void state() {
  using namespace graft;
  const NoGrad off;
  bool elsewhere = false;
  std::thread([&] { elsewhere = grad_enabled(); }).join();
  expect(!grad_enabled() && elsewhere, "NoGrad is not the calling thread's alone");
  kernels::reset_kernel_counts();
  const Tensor sum = Tensor::ones({2}) + Tensor::ones({2});
  expect(sum.to_vector<float>() == std::vector<float>{2, 2} && kernels::kernel_calls("binary") == 1,
         "the library does not count the ops that run here");
  // An inline function here and functions of the library draw from one counter.
  Tensor x = Tensor::ones({4});
  std::set<std::uint64_t> tags;
  for (int i = 0; i < 100; ++i) {
    x.storage()->touch();
    tags.insert(x.storage()->content_tag());
    tags.insert(Tensor::ones({1}).storage()->content_tag());
  }
  expect(tags.size() == 200, "content tags of inline functions and of the library repeat");
  manual_seed(5);
  const double first = default_generator().uniform();
  manual_seed(5);
  expect(default_generator().uniform() == first, "the default generator is not one");
}

}  // namespace

int main() {
  errors();
  types();
  state();
  expect(std::strcmp(GRAFT_VERSION, PACKAGE_VERSION) == 0, "GRAFT_VERSION is not the package's version");
  expect(std::strcmp(GRAFT_VERSION, graft::version()) == 0, "the library is of another version than its headers");
  static_assert(GRAFT_VERSION_MAJOR >= 0 && GRAFT_VERSION_MINOR >= 0 && GRAFT_VERSION_PATCH >= 0);
  std::printf("%s\n", graft::version());
  return failures == 0 ? 0 : 1;
}
