// Builds a Support from requirements: the first one that fails gives the reason. Nothing is formatted while all hold.
#pragma once

#include <string>
#include <utility>

#include <graft/kernels/api/support.h>
#include <graft/kernels/api/tensor_ref.h>

namespace graft::kernels {

class Contract {
 public:
  bool ok() const { return support_.ok; }
  Support result() { return std::move(support_); }

  /// Unless `holds`: the reason is the parts joined (text, numbers, dtypes, shapes, tensors).
  template <class... Parts>
  Contract& require(bool holds, const Parts&... parts) {
    if (!holds && support_.ok) [[unlikely]]
      support_ = Support::no(concat({Piece(printable(parts))...}));
    return *this;
  }

  /// Defined, with memory behind it.
  Contract& input(const char* name, const TensorRef& t);
  /// As input, and no two elements share memory.
  Contract& output(const char* name, const TensorRef& t);
  Contract& floating(const char* name, const TensorRef& t);
  Contract& dtype(const char* name, const TensorRef& t, DType expected);
  Contract& same_dtype(const char* name, const TensorRef& t, const char* other_name, const TensorRef& other);
  /// f64 beside f64 data, else f32: the dtype of statistics and of optimiser state.
  Contract& wide_dtype(const char* name, const TensorRef& t, const char* other_name, const TensorRef& other);
  Contract& rank(const char* name, const TensorRef& t, int expected);
  Contract& shape(const char* name, const TensorRef& t, const Shape& expected, const char* meaning);
  Contract& same_shape(const char* name, const TensorRef& t, const char* other_name, const TensorRef& other);
  Contract& contiguous(const char* name, const TensorRef& t);
  Contract& channels_last(const char* name, const TensorRef& t);

 private:
  template <class T>
  static const T& printable(const T& part) {
    return part;
  }
  static std::string printable(const TensorRef& t) { return to_string(t); }
  static std::string printable(const Shape& s) { return graft::to_string(s); }
  static const char* printable(DType d) { return graft::name(d); }

  Support support_;
};

}  // namespace graft::kernels
