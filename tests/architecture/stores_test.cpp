// Reads the PTX of every kernel in the objects that nvcc made: a kernel that moves vectors writes them in 16-byte
// stores. Seen from the source it cannot be told: nvcc takes the assignment of a vector apart, and next to a path that
// stores the same elements one by one it leaves it so.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "architecture/device_code.h"

namespace {

namespace fs = std::filesystem;
using graft::test::kernels_of;
using graft::test::ptx_of_object;
using graft::test::PtxKernel;

/// Stores to global memory by the bytes that each writes.
using Stores = std::map<int, int>;

Stores stores_of(const std::string& body) {
  Stores stores;
  std::istringstream lines(body);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find("st.global");
    if (at == std::string::npos) continue;
    const std::string instruction = line.substr(at, line.find_first_of(" \t", at) - at);  // st.global.cs.v4.f32
    int count = 1, bits = 0;
    std::istringstream parts(instruction);
    for (std::string part; std::getline(parts, part, '.');) {
      if (part.size() == 2 && part[0] == 'v') count = part[1] - '0';
      if (part.size() >= 2 && std::string("bufs").find(part[0]) != std::string::npos &&
          part.find_first_not_of("0123456789", 1) == std::string::npos)
        bits = std::stoi(part.substr(1));
    }
    ++stores[count * bits / 8];
  }
  return stores;
}

int bytes_of(const std::string& type) {
  static const std::map<std::string, int> known = {
      {"float", 4}, {"double", 8},        {"__nv_bfloat16", 2}, {"__half", 2},         {"bool", 1},         {"int", 4},
      {"long", 8},  {"unsigned char", 1}, {"unsigned int", 4},  {"unsigned short", 2}, {"unsigned long", 8}};
  const auto found = known.find(type);
  return found == known.end() ? 0 : found->second;
}

bool is_half(const std::string& type) { return bytes_of(type) == 2; }

/// The least numbers of stores of 16 and of 8 bytes that a kernel may have.
struct Demand {
  int sixteen = 0, eight = 0;
};
using Rule = std::function<Demand(const PtxKernel&)>;

// Kernels whose template has the length of the vectors as its argument number `index`.
Rule by_width(std::size_t index) {
  return [index](const PtxKernel& kernel) -> Demand { return {kernel.arguments.at(index) == "1" ? 0 : 1}; };
}

// elementwise_kernel<V, F, Out, In...>: a vector has V elements, of 16 bytes in the widest operand.
Demand of_elementwise(const PtxKernel& kernel) {
  const std::string &v = kernel.arguments.at(0), &out = kernel.arguments.at(2);
  if (v == "1") return {};
  const int bytes = std::stoi(v) * bytes_of(out);
  return {bytes == 16, bytes == 8};
}

// copies in units of a type: of Vector<unsigned int, 4> where 16 bytes fit.
Demand of_units(const PtxKernel& kernel) { return {kernel.arguments.at(0).rfind("Vector<", 0) == 0 ? 1 : 0}; }

// matmul_tiles<Tile, Stages, AK, BK, T> stores a result and parts of a sum. SimtTile<T, Bm, Bn, Bk, Tm, Tn>: each
// thread a patch of (Tm, Tn). MmaTile<T, Bm, Bn, Bk, Wm, Wn, ...>: each warp (Wm, Wn), of which parts are float, two at
// once.
Demand of_matmul(const PtxKernel& kernel) {
  const std::string& tile = kernel.arguments.at(0);
  const std::size_t open = tile.find('<');
  const auto arguments = graft::test::split_arguments(tile.substr(open + 1, tile.rfind('>') - open - 1));
  const int patch = std::stoi(arguments.at(4)) * std::stoi(arguments.at(5)), size = bytes_of(arguments.at(0));
  if (tile.rfind("SimtTile", 0) == 0) return {2 * patch * size / 16};
  return {patch / 32 * size / 16, patch / 32 * 4 / 8};
}

// Of the convolution's tiles what they store is their own; parts of a weight gradient are float, two at once. Where the
// operands are copied as vectors, ConvTile<..., V>, sums of parts are stored as such too: a group's, and the result.
Demand of_weight_gradient(const PtxKernel& kernel) {
  const std::string& tile = kernel.arguments.at(0);
  const std::size_t open = tile.find('<');
  const int vectors = graft::test::split_arguments(tile.substr(open + 1, tile.rfind('>') - open - 1)).back() != "1";
  return is_half(kernel.arguments.at(1)) ? Demand{vectors, 1 + vectors} : Demand{1 + 2 * vectors};
}

// conv2d_direct_weight_kernel<T>: sums of a group's parts, and the result.
Demand of_direct_weight(const PtxKernel& kernel) {
  return is_half(kernel.arguments.at(0)) ? Demand{1, 1} : Demand{2};
}

// conv2d_direct_kernel<T>: a thread's 8 results for each of 4 positions.
Demand of_direct(const PtxKernel& kernel) { return {4 * 8 * bytes_of(kernel.arguments.at(0)) / 16}; }

// update_parameters<T, ...>: the parameter and two states, and the master where T is not float.
Demand of_optimiser(const PtxKernel& kernel) {
  const std::string& type = kernel.arguments.at(0);
  return {is_half(type) ? 1 + 3 * 2 : type == "double" ? 4 : 3};
}

Demand of_sum_parts(const PtxKernel& kernel) {  // four elements a thread
  return is_half(kernel.arguments.at(0)) ? Demand{0, 1} : Demand{1};
}

Demand always(const PtxKernel&) { return {1}; }
Demand never(const PtxKernel&) { return {}; }

/// What each kernel must store, by its name. One that writes single elements, a result a row or a block, is `never`.
const std::map<std::string, Rule>& rules() {
  static const std::map<std::string, Rule> table = {
      {"elementwise_kernel", of_elementwise},
      {"chain_forward", by_width(0)},
      {"chain_backward", by_width(0)},
      {"matmul_tiles", of_matmul},
      {"matmul_sum_parts", of_sum_parts},
      {"conv2d_forward_kernel", always},
      {"conv2d_backward_data_kernel", always},
      {"conv2d_backward_weight_kernel", of_weight_gradient},
      {"conv2d_direct_kernel", of_direct},
      {"batch_norm_apply", by_width(1)},
      {"batch_norm_backward_data", by_width(1)},
      {"layer_norm_wide", by_width(1)},
      {"layer_norm_rows", by_width(2)},
      {"layer_norm_backward_wide", by_width(1)},
      {"layer_norm_backward_rows", by_width(2)},
      {"softmax_wide", by_width(1)},
      {"softmax_rows", by_width(2)},
      {"softmax_backward_wide", by_width(1)},
      {"softmax_backward_rows", by_width(2)},
      {"cross_entropy_gradient", by_width(1)},
      {"max_pool_windows", by_width(1)},
      {"max_pool_gradient", by_width(1)},
      {"average_pool_windows", by_width(1)},
      {"average_pool_large", by_width(1)},
      {"average_pool_gradient", by_width(1)},
      {"add_runs", by_width(1)},
      {"add_selected", by_width(1)},
      {"copy_selected", of_units},
      {"copy_gathered", of_units},
      {"load_rows", of_units},
      {"random_uniform", always},
      {"random_normal", always},
      {"dropout", always},
      {"update_parameters", of_optimiser},
      // one value a row, column, block or chunk
      {"argmax_kernel", never},
      {"batch_norm_moments", never},
      {"batch_norm_gradient_sums", never},
      {"layer_norm_gradient_sums", never},
      {"cross_entropy_rows", never},
      {"cross_entropy_weight_sum", never},
      {"reduce_rows", never},
      {"reduce_columns", never},
      {"reduce_finish", never},
      {"squared_norm_pieces", never},
      {"bucket_count", never},
      {"bucket_scan", never},
      {"bucket_place", never},
      {"find_destinations", never},
      {"grad_scale", never},
      {"finish_step", never},
      // one element a thread, neighbouring threads neighbouring ones
      {"affine_warp", never},
      {"copy_transpose", never},
      {"add_gathered", never},
      {"conv2d_direct_data_kernel", never},  // one to four channels
      {"conv2d_direct_weight_kernel", of_direct_weight},
      {"conv2d_add_parts", never},
      {"conv2d_bias_kernel", never},
      {"depthwise_forward_kernel", never},
      {"depthwise_backward_data_kernel", never},
      {"depthwise_backward_weight_kernel", never},
      {"load_pixels", never},
      {"load_warped_pixels", never},
  };
  return table;
}

/// What is wrong with a kernel's stores; empty when nothing is.
std::string fault_of(const PtxKernel& kernel) {
  const auto rule = rules().find(kernel.base);
  if (rule == rules().end())
    return kernel.base + " is not in the table above: say there whether it stores vectors, and how many";
  const Demand demand = rule->second(kernel);
  Stores stores = stores_of(kernel.body);
  std::string text;
  for (const auto& [bytes, least] : {std::pair(16, demand.sixteen), std::pair(8, demand.eight)})
    if (stores[bytes] < least)
      text += "has " + std::to_string(stores[bytes]) + " stores of " + std::to_string(bytes) + " bytes, at least " +
              std::to_string(least) + " are expected; ";
  return text;
}

// --- the reading ----------------------------------------------------------------------------------------------------

TEST(Stores, AreCountedByTheirBytes) {
  const Stores stores = stores_of(
      "\tst.global.f32 \t[%rd1+4], %f1;\n\tst.global.v4.f32 \t[%rd1], {%f1, %f2, %f3, %f4};\n"
      "\tst.global.v4.b32 [%rd1], {%r1,%r2,%r3,%r4};\n\tst.global.v2.f64 \t[%rd1], {%fd1, %fd2};\n"
      "\t@%p1 st.global.cs.v4.u16 [%rd1], {%rs1, %rs2, %rs3, %rs4};\n\tst.shared.v4.f32 [%r1], {%f1, %f2, %f3, "
      "%f4};\n");
  EXPECT_EQ(stores, (Stores{{4, 1}, {8, 1}, {16, 3}}));
}

TEST(Stores, KernelsAreToldByTheirNames) {
  const auto kernels = kernels_of(
      ".visible .entry _ZN5graft7kernels4cuda12_GLOBAL__N_115layer_norm_rowsIfLi32ELi4ELi8EEEvPT_(\n.param .u64 "
      "p\n)\n{\n"
      "st.global.v4.f32 [%rd1], {};\n}\n.entry _Z4nextv()\n{\nret;\n}\n");
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].base, "layer_norm_rows");
  EXPECT_EQ(kernels[0].arguments, (std::vector<std::string>{"float", "32", "4", "8"}));
  EXPECT_EQ(stores_of(kernels[0].body), (Stores{{16, 1}}));
  EXPECT_EQ(kernels[1].base, "next");
  EXPECT_TRUE(stores_of(kernels[1].body).empty());
}

TEST(Stores, SplitVectorsAreFound) {
  PtxKernel kernel{
      "", "softmax_rows", {"float", "32", "4", "4"}, "st.global.f32 [%rd1], %f1;\nst.global.f32 [%rd2], %f1;"};
  EXPECT_NE(fault_of(kernel), "");
  kernel.arguments[2] = "1";
  EXPECT_EQ(fault_of(kernel), "");
  kernel.base = "nobody_knows";
  EXPECT_NE(fault_of(kernel), "");
}

// --- the kernels ----------------------------------------------------------------------------------------------------

#ifdef GRAFT_DEVICE_OBJECTS
TEST(Stores, KernelsOfVectorsStoreSixteenBytes) {
  int kernels = 0;
  std::set<std::string> seen;
  for (const auto& source : fs::directory_iterator(fs::path(GRAFT_SOURCE_DIR) / "kernels/cuda")) {
    if (source.path().extension() != ".cu") continue;
    const std::string stem = source.path().stem().string();
    for (const PtxKernel& kernel : kernels_of(ptx_of_object(fs::path(GRAFT_DEVICE_OBJECTS) / (stem + ".o")))) {
      ++kernels;
      seen.insert(kernel.base);
      const std::string fault = fault_of(kernel);
      EXPECT_TRUE(fault.empty()) << stem << ".cu: " << kernel.name << ": " << fault;
    }
  }
  EXPECT_GT(kernels, 500) << "the objects look incomplete";
  for (const auto& [name, rule] : rules()) EXPECT_TRUE(seen.contains(name)) << "there is no kernel " << name;
}
#endif

// What the counts cannot show, one plain store among several: in the source no vector is assigned through a pointer.
TEST(Stores, VectorsAreWrittenByStoreVector) {
  const fs::path folder = fs::path(GRAFT_SOURCE_DIR) / "kernels/cuda";
  int allowed = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    int number = 1;
    for (std::string line; std::getline(file, line); ++number) {
      const std::size_t first = line.find_first_not_of(' ');
      if (first == std::string::npos || line.compare(first, 24, "*reinterpret_cast<Vector") != 0) continue;
      const std::string name = entry.path().filename().string();
      const bool fine = name == "common.cuh" || line.find("// shared memory") != std::string::npos;
      EXPECT_TRUE(fine) << name << ":" << number
                        << ": write store_vector(pointer, vector), which nvcc cannot take apart";
      allowed += fine;
    }
  }
  EXPECT_EQ(allowed, 3) << "of store_vector itself, of the tiles' synchronous copies, and of store_shared";
}

}  // namespace
