// How a block copies the tiles of a plain matrix to shared memory, one after another along K: the load of
// gemm_main_loop. A thread computes once where its first piece lies in memory and in the tile; from there on every
// piece of every step is a constant number of runs away.
//
// A matrix is runs of contiguous elements, `stride` apart. Along K or along the other dimension, m or n ("outer" here).
// Tiles that lie wholly inside the matrix are copied without asking what exists, 16 bytes at a time where alignment
// allows; at the edges each piece says how many of its elements there are, and the rest becomes zero.
#pragma once

#include <graft/kernels/cuda/gemm_tile.cuh>

namespace graft::kernels::cuda {

/// The widest copy, in bytes (16, 4, or the element's size), that serves runs which begin at multiples of `stride`
/// elements from `data`.
template <class T>
int copy_width(const T* data, std::initializer_list<std::int64_t> strides) {
  for (const int bytes : {16, 4}) {
    bool fits = is_aligned(data, static_cast<std::size_t>(bytes)) && bytes >= static_cast<int>(sizeof(T));
    for (const std::int64_t stride : strides) fits &= stride * static_cast<std::int64_t>(sizeof(T)) % bytes == 0;
    if (fits) return bytes;
  }
  return static_cast<int>(sizeof(T));
}

/// A tile whose runs are the matrix's own. A thread has the same 16 bytes of every kRuns-th run.
template <class Layout, int Threads>
struct RunCopies {
  using T = typename Layout::Element;
  static constexpr int kPiece = kVectorLength<T>, kPieces = Layout::kLength / kPiece, kRuns = Threads / kPieces;
  static constexpr int kRounds = Layout::kRows / kRuns;
  static_assert(Threads % kPieces == 0 && Layout::kRows % kRuns == 0 && (kRuns % 8 == 0 || sizeof(T) == 8));

  static GRAFT_DEVICE int run() { return static_cast<int>(threadIdx.x) / kPieces; }
  static GRAFT_DEVICE int position() { return static_cast<int>(threadIdx.x) % kPieces * kPiece; }
  static GRAFT_DEVICE const T* start(const T* data, std::int64_t stride) { return data + run() * stride + position(); }

  static GRAFT_DEVICE void whole(T* to, const T* from, std::int64_t stride) {
    const int into = Layout::offset(run(), position());
    GRAFT_UNROLL
    for (int r = 0; r < kRounds; ++r)
      arch::cp_async16(to + Layout::moved(into, r * kRuns, 0), from + r * kRuns * stride);
  }

  /// Of the tile `runs` runs of `length` elements exist. `width`: bytes that may be copied at once.
  static GRAFT_DEVICE void edge(T* to, const T* from, std::int64_t stride, int width, int runs, int length) {
    const int into = Layout::offset(run(), position());
    constexpr int size = sizeof(T);
    const auto count = [&](int r) { return run() + r * kRuns < runs ? length - position() : 0; };
    const auto bytes = [](int elements, int most) { return min(max(elements, 0), most) * size; };
    if (width == 16) {
      GRAFT_UNROLL
      for (int r = 0; r < kRounds; ++r)
        arch::cp_async16(to + Layout::moved(into, r * kRuns, 0), from + r * kRuns * stride, bytes(count(r), kPiece));
      return;
    }
    // Seldom: not unrolled, as the addresses of more would not fit the registers beside the result.
    GRAFT_NO_UNROLL
    for (int r = 0; r < kRounds; ++r) {
      T* const piece = to + Layout::moved(into, r * kRuns, 0);
      const T* const source = from + r * kRuns * stride;
      const int left = count(r);
      if (size == 4 || (size < 4 && width == 4)) {
        constexpr int step = size < 4 ? 4 / size : 1;
        GRAFT_UNROLL
        for (int i = 0; i < kPiece; i += step) arch::cp_async4(piece + i, source + i, bytes(left - i, step));
      } else {
        Vector<T, kPiece> values;
        GRAFT_UNROLL
        for (int i = 0; i < kPiece; ++i) values.at[i] = i < left ? source[i] : T(0.0f);
        *reinterpret_cast<Vector<T, kPiece>*>(piece) = values;  // shared memory
      }
    }
  }
};

/// A tile of (k, outer) of a matrix that is contiguous along k: element by element. Eight neighbours along k of four
/// positions a warp: whole 32-byte sectors are read, and 32 different banks written.
template <class Layout, int Threads>
struct TransposingCopies {
  using T = typename Layout::Element;
  static constexpr int kAcross = 8, kPositions = Threads / kAcross, kRounds = Layout::kLength / kPositions;
  static_assert(Layout::kRows % kAcross == 0 && Layout::kLength % kPositions == 0 && sizeof(T) >= 4);

  static GRAFT_DEVICE int k() { return static_cast<int>(threadIdx.x) % kAcross; }
  static GRAFT_DEVICE int position() { return static_cast<int>(threadIdx.x) / kAcross; }
  static GRAFT_DEVICE const T* start(const T* data, std::int64_t stride) { return data + position() * stride + k(); }

  static GRAFT_DEVICE void copy(T* to, const T* from, bool exists) {
    if constexpr (sizeof(T) == 4)
      arch::cp_async4(to, from, exists ? 4 : 0);
    else
      *to = exists ? *from : T(0);
  }

  static GRAFT_DEVICE void whole(T* to, const T* from, std::int64_t stride) {
    const int into = Layout::offset(k(), position());
    GRAFT_UNROLL
    for (int r = 0; r < kRounds; ++r) GRAFT_UNROLL
    for (int j = 0; j < Layout::kRows; j += kAcross)
      copy(to + Layout::moved(into, j, r * kPositions), from + r * kPositions * stride + j, true);
  }

  static GRAFT_DEVICE void edge(T* to, const T* from, std::int64_t stride, int outer, int depth) {
    const int into = Layout::offset(k(), position());
    GRAFT_NO_UNROLL
    for (int r = 0; r < kRounds; ++r) GRAFT_UNROLL
    for (int j = 0; j < Layout::kRows; j += kAcross)
      copy(to + Layout::moved(into, j, r * kPositions), from + r * kPositions * stride + j,
           position() + r * kPositions < outer && k() + j < depth);
  }
};

/// An operand of a block: its tiles along K, each load the next one. For the 16-bit types KInside tells whether K is
/// the contiguous dimension, and the tile lies likewise; the others' tiles are (k, outer) always, and only the operand
/// is asked.
template <class Layout, int Threads, bool KInside, class T = typename Layout::Element>
class MatrixLoader {
 public:
  static constexpr bool kHalf = is_half<T>;
  using Runs = RunCopies<Layout, Threads>;
  using Transposing = TransposingCopies<Layout, Threads>;
  static constexpr int kOuter = kHalf && KInside ? Layout::kRows : Layout::kLength;
  static constexpr int kDepth = kHalf && KInside ? Layout::kLength : Layout::kRows;

  /// data: the element of the first k and the block's first m or n, of which `outer` exist. k_inside: whether K is the
  /// contiguous dimension. width: copy_width of the runs.
  GRAFT_DEVICE MatrixLoader(const T* data, std::int64_t stride, bool k_inside, int width, int outer)
      : stride_(stride), width_(width), outer_(outer), k_inside_(k_inside) {
    if constexpr (kHalf)
      from_ = Runs::start(data, stride);
    else
      from_ = k_inside ? Transposing::start(data, stride) : Runs::start(data, stride);
  }

  /// Starts the copies of the next tile, of whose K `left` elements exist. All threads of the block call.
  GRAFT_DEVICE void load(T* to, int left) {
    const bool whole = outer_ >= kOuter && left >= kDepth;
    if constexpr (!kHalf)
      if (k_inside_) {
        if (whole)
          Transposing::whole(to, from_, stride_);
        else
          Transposing::edge(to, from_, stride_, outer_, left);
        from_ += kDepth;
        return;
      }
    if (whole && width_ == 16)
      Runs::whole(to, from_, stride_);
    else if constexpr (kHalf && KInside)
      Runs::edge(to, from_, stride_, width_, outer_, left);
    else
      Runs::edge(to, from_, stride_, width_, left, outer_);
    if constexpr (kHalf && KInside)
      from_ += kDepth;
    else
      from_ += kDepth * stride_;
  }

 private:
  const T* from_;  // this thread's first piece of the next tile
  std::int64_t stride_;
  int width_, outer_;
  bool k_inside_;
};

}  // namespace graft::kernels::cuda
