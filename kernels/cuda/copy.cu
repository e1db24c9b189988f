// y = x across dtypes and layouts, and fill.
//
// A copy within one dtype moves bytes: elements are unsigned integers of their size, so NaN keeps its bits and four
// sizes serve eight dtypes. The driver (elementwise.cuh) does 16 bytes at a time where it can. Where x and y are each
// dense along another dimension, NCHW to NHWC say, a plain walk would read (or write) one element a line of memory;
// there a block moves a tile through shared memory, read along x's dense dimension and written along y's.
#include <bit>

#include <graft/kernels/cuda/rows.h>
#include <graft/kernels/cuda/convert.cuh>
#include <graft/kernels/cuda/elementwise.cuh>

namespace graft::kernels::cuda {
namespace {

// --- through tiles --------------------------------------------------------------------------------------------------

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // threads: kTile x kTileRows, each kTile / kTileRows elements
/// Along a shorter dimension most of a tile would stay empty, and the cache serves the plain walk.
constexpr std::int64_t kShortest = 8;

/// y(r, c, b) = x(r, c, b): x is dense along r, y along c; b numbers the matrices of a batch.
struct Transpose {
  std::uint32_t rows, cols;
  Divider row_tiles, col_tiles;
  std::int64_t x_col, y_row;  // the strides that are not 1
  Walk<2> batch;              // operand 0: y, 1: x
};

template <class T>
GRAFT_KERNEL(kTile* kTileRows)
copy_transpose(Transpose t, const T* x, T* y) {
  // One column more, so that neither a row nor a column lies in one bank.
  GRAFT_SHARED(tile, T[kTile][kTile + 1]);
  const std::uint32_t column_tile = t.col_tiles.quotient(blockIdx.x), matrix = t.row_tiles.quotient(column_tile);
  const std::uint32_t c0 = (blockIdx.x - column_tile * t.col_tiles.divisor()) * kTile;
  const std::uint32_t r0 = (column_tile - matrix * t.row_tiles.divisor()) * kTile;
  const Place<2> place = t.batch.locate<1>(matrix);
  const std::uint32_t lane = threadIdx.x % kTile, first = threadIdx.x / kTile;
  x += place.offset[1];
  y += place.offset[0];
  GRAFT_UNROLL
  for (std::uint32_t k = first; k < kTile; k += kTileRows)
    if (r0 + lane < t.rows && c0 + k < t.cols)
      tile[k][lane] = x[(r0 + lane) + static_cast<std::int64_t>(c0 + k) * t.x_col];
  __syncthreads();
  GRAFT_UNROLL
  for (std::uint32_t k = first; k < kTile; k += kTileRows)
    if (r0 + k < t.rows && c0 + lane < t.cols)
      y[static_cast<std::int64_t>(r0 + k) * t.y_row + (c0 + lane)] = tile[lane][k];
}

/// The dimension that x is dense along, where y is dense along another and both are long enough; else 0.
int transposed_dimension(const Dims<2>& dims) {
  if (dims.strides[0][0] != 1 || dims.strides[0][1] == 1 || dims.sizes[0] < kShortest) return 0;
  for (int d = 1; d < dims.rank; ++d) {
    const auto i = static_cast<std::size_t>(d);
    if (dims.strides[i][1] == 1 && dims.sizes[i] >= kShortest) return d;
  }
  return 0;
}

template <class T>
void launch_transpose(const Stream& stream, const Dims<2>& dims, int dense, const T* x, T* y) {
  Dims<2> batch;
  batch.first = dims.first;
  for (int d = 1; d < dims.rank; ++d) {
    if (d == dense) continue;
    const auto from = static_cast<std::size_t>(d), to = static_cast<std::size_t>(batch.rank++);
    batch.sizes[to] = dims.sizes[from];
    batch.strides[to] = dims.strides[from];
  }
  if (batch.rank == 0) batch.sizes[static_cast<std::size_t>(batch.rank++)] = 1;

  const auto r = static_cast<std::size_t>(dense);
  Transpose t;
  t.rows = static_cast<std::uint32_t>(dims.sizes[r]);
  t.cols = static_cast<std::uint32_t>(dims.sizes[0]);
  t.row_tiles = Divider(static_cast<std::uint32_t>(ceil_div<std::int64_t>(t.rows, kTile)));
  t.col_tiles = Divider(static_cast<std::uint32_t>(ceil_div<std::int64_t>(t.cols, kTile)));
  t.x_col = dims.strides[0][1];
  t.y_row = dims.strides[r][0];
  t.batch = Walk<2>(batch, 1);
  const std::int64_t tiles = std::int64_t{t.batch.items} * t.row_tiles.divisor() * t.col_tiles.divisor();
  launch("copy_transpose", copy_transpose<T>, {.grid = dim3(blocks_for(tiles, 1)), .block = dim3(kTile * kTileRows)},
         stream, t, x, y);
}

// --- the ops --------------------------------------------------------------------------------------------------------

struct Same {
  template <class T>
  GRAFT_DEVICE T operator()(T value) const {
    return value;
  }
};

template <class To>
struct Convert {
  template <class From>
  GRAFT_DEVICE To operator()(From value) const {
    return convert<To>(value);
  }
};

/// Conversions that networks live on go by vectors: among floats, and from the bytes of images.
template <class To, class From>
inline constexpr Access kAccess = std::is_integral_v<To> ||
                                          (std::is_integral_v<From> && !std::is_same_v<From, std::uint8_t>)
                                      ? Access::elements
                                      : Access::vectors;

template <class T>
struct Constant {
  T value;
  GRAFT_DEVICE T operator()() const { return value; }
};

/// Calls f with a value of the unsigned type that has the size of a dtype's elements.
template <class F>
void visit_bytes(DType dtype, F&& f) {
  switch (size_of(dtype)) {
    case 1:
      return f(std::uint8_t{});
    case 2:
      return f(std::uint16_t{});
    case 4:
      return f(std::uint32_t{});
    default:
      return f(std::uint64_t{});
  }
}

void run_copy(const CopyArgs& args, Stream& stream) {
  if (args.y.numel() == 0) return;
  if (args.x.dtype == args.y.dtype)
    return visit_bytes(args.x.dtype, [&]<class T>(T) {
      const auto dims = collapse<2>(args.y.shape, {args.y.strides, args.x.strides});
      const T* x = args.x.as<T>();
      T* y = args.y.as<T>();
      for_each_launch(dims, [&](const Dims<2>& piece) {
        if (const int dense = transposed_dimension(piece))
          launch_transpose(stream, piece, dense, x, y);
        else
          elementwise_detail::run<Access::vectors>(stream, "copy", piece, Same{}, y, x);
      });
    });
  visit_element(args.x.dtype, [&]<class From>(From) {
    visit_element(args.y.dtype, [&]<class To>(To) {
      if constexpr (!std::is_same_v<From, To>)
        elementwise<kAccess<To, From>>(stream, "copy_convert", Convert<To>{}, Elements<To, From>{args.y, {args.x}});
    });
  });
}

/// The bits of `value` as an element.
std::uint64_t element_bits(DType dtype, double value) {
  switch (dtype) {
    case DType::f32:
      return std::bit_cast<std::uint32_t>(static_cast<float>(value));
    case DType::f64:
      return std::bit_cast<std::uint64_t>(value);
    case DType::bf16:
      return bf16(static_cast<float>(value)).bits;
    case DType::f16:
      return f16(static_cast<float>(value)).bits;
    case DType::boolean:
      return value != 0 ? 1 : 0;
    default:
      return static_cast<std::uint64_t>(truncate(value));
  }
}

void run_fill(const FillArgs& args, Stream& stream) {
  visit_bytes(args.y.dtype, [&]<class T>(T) {
    const auto bits = static_cast<T>(element_bits(args.y.dtype, args.value));
    elementwise(stream, "fill", Constant<T>{bits}, Elements<T>{args.y, {}});
  });
}

}  // namespace

void add_copy(BackendTable& table) {
  table.row<CopyArgs>() = row(run_copy);
  table.row<FillArgs>() = row(run_fill);
}

}  // namespace graft::kernels::cuda
