// The PTX inside an object that nvcc made: the very code that is shipped, read without compiling anything a second
// time.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace graft::test {

/// A kernel in PTX.
struct PtxKernel {
  std::string name;  // demangled, without its parameters: "matmul::matmul_tiles<SimtTile<float, ...>, 3, ...>"
  std::string base;  // "matmul_tiles"
  std::vector<std::string> arguments;  // of the template: "SimtTile<float, ...>", "3"
  std::string body;
};

/// The PTX of all parts of an object. Throws std::runtime_error that says why where it cannot be read.
std::string ptx_of_object(const std::filesystem::path& object);

/// The kernels of a PTX text.
std::vector<PtxKernel> kernels_of(const std::string& ptx);

/// "A<B, C>" and "D" of "A<B, C>, D"; spaces around each are gone.
std::vector<std::string> split_arguments(const std::string& text);

}  // namespace graft::test
