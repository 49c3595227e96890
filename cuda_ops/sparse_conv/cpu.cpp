// Sparse convolution as an indirect matrix product: rows of x are read where they lie, sums stay in
// registers over the input channels and in the cache over the taps. Nothing is gathered or
// scattered.
//
// A task owns a tile of output rows. For every tap it lists the rows of the tile that have a
// neighbour, and multiplies their inputs with the tap's weight. The order of every sum follows from
// the sizes alone.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/compress.h"
#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"

using namespace pc3d;

namespace {

// A block of rows x up to three vectors of columns stays in registers while the product runs over
// the input channels. Columns are cut into panels of so many vectors; none is left with a single
// one, which would be too few sums to hide the latency of a multiply-add, unless there is no more
// than one.
constexpr int kRows = kRegisters == 32 ? 8 : 4;
constexpr int kRowsOfOneVector = 12;

// Columns of the next panel, if `rest` columns (a multiple of kLanes) are left.
int64_t panel_width(int64_t rest) {
  const int64_t vectors = rest / kLanes;
  return (vectors == 4 ? 2 : vectors < 3 ? vectors : 3) * kLanes;
}

constexpr int64_t kMaxTile = 512;  // output rows of a tile
// Of its sums: a part of the second-level cache.
constexpr int64_t kTileBytes = 64 << 10;
// Of the weight of a tap: a part of the first-level cache.
constexpr int64_t kWeightBytes = 20 << 10;
// Input channels per pass, so that a panel of the weight stays in the first-level cache.
constexpr int64_t kInnerBlock = 128;

// The pairs of one tap: rows of x that meet rows of sums, and the weight between them, in panels.
struct Product {
  const float* x;
  int64_t c_in;
  float* sums;
  int64_t padded;  // columns of sums
  const PairList& pairs;
  const float* weight;
  int64_t inner, depth;     // the input channels of this pass
  int64_t column, columns;  // the output channels of this pass, from and to

  // R rows and all columns of this pass. Sums of a panel stay in registers over the input channels.
  template <int R>
  PC3D_INLINE void multiply(int64_t first) const {
    const float* from[R];
    float* to[R];
    PC3D_UNROLL for (int r = 0; r < R; ++r) {
      from[r] = x + pairs.input[first + r] * c_in + inner;
      to[r] = sums + pairs.place[first + r] * padded;
    }
    for (int64_t c = column; c < columns;) {
      const int64_t width = panel_width(padded - c);
      const float* w = weight + c * c_in + inner * width;
      if constexpr (R <= kRows) {  // taller blocks have one vector
        if (width == 3 * kLanes) multiply_panel<R, 3>(from, w, to, c);
        if (width == 2 * kLanes) multiply_panel<R, 2>(from, w, to, c);
      }
      if (width == kLanes) multiply_panel<R, 1>(from, w, to, c);
      c += width;
    }
  }

  template <int R>
  void multiply_all() const {
    int64_t first = 0;
    for (; first + R <= pairs.num; first += R) multiply<R>(first);
    multiply_rest<R - 1>(first);
  }

 private:
  template <int R, int NV>
  PC3D_INLINE void multiply_panel(const float* const* from, const float* w, float* const* to,
                                  int64_t c) const {
    Vec sum[R][NV];
    PC3D_UNROLL for (int r = 0; r < R; ++r) {
      PC3D_UNROLL for (int v = 0; v < NV; ++v) sum[r][v] = load(to[r] + c + v * kLanes);
    }
    _Pragma("GCC unroll 4") for (int64_t i = 0; i < depth; ++i) {
      Vec factor[NV];
      PC3D_UNROLL for (int v = 0; v < NV; ++v) factor[v] = load(w + (i * NV + v) * kLanes);
      PC3D_UNROLL for (int r = 0; r < R; ++r) {
        const Vec value = broadcast(from[r][i]);
        PC3D_UNROLL for (int v = 0; v < NV; ++v) sum[r][v] += value * factor[v];
      }
    }
    PC3D_UNROLL for (int r = 0; r < R; ++r) {
      PC3D_UNROLL for (int v = 0; v < NV; ++v) store(to[r] + c + v * kLanes, sum[r][v]);
    }
  }

  // The last rows, fewer than a block.
  template <int R>
  void multiply_rest(int64_t first) const {
    if constexpr (R > 0) {
      if (pairs.num - first == R) return multiply<R>(first);
      multiply_rest<R - 1>(first);
    }
  }
};

}  // namespace

PC3D_EXPORT int64_t pc3d_conv_padded(int64_t channels) { return round_up(channels, kLanes); }

PC3D_EXPORT int64_t pc3d_conv_scratch_bytes(int64_t c_out) {
  return sizeof(float) * kMaxTile * round_up(c_out, kLanes) +
         sizeof(int32_t) * 2 * (kMaxTile + kListSlack) + 64;
}

// weight [taps, c_in, c_out] with strides to packed [taps, panels, c_in, width of the panel],
// padded with zeros.
PC3D_EXPORT void pc3d_conv_pack(const float* weight, int64_t stride_tap, int64_t stride_in,
                                int64_t stride_out, int64_t taps, int64_t c_in, int64_t c_out,
                                float* packed, int64_t threads) {
  const int64_t padded = round_up(c_out, kLanes);
  parallel_for(taps, threads, [&](int64_t tap, int) {
    float* to = packed + tap * c_in * padded;
    for (int64_t first = 0, width; first < padded; first += width) {
      width = panel_width(padded - first);
      const int64_t valid = c_out - first < width ? c_out - first : width;
      const float* from = weight + tap * stride_tap + first * stride_out;
      for (int64_t c = 0; c < c_in; ++c, to += width) {
        for (int64_t o = 0; o < valid; ++o) to[o] = from[c * stride_in + o * stride_out];
        for (int64_t o = valid; o < width; ++o) to[o] = 0;
      }
    }
  });
}

// y [num_out, c_out] = sum over taps of x[table[tap, row]] times packed weight; scratch: per
// thread. Returns 0, or 1 if the table names a row beyond num_in.
PC3D_EXPORT int64_t pc3d_conv(const float* x, const float* packed, const int32_t* table, float* y,
                              int64_t num_in, int64_t num_out, int64_t taps, int64_t c_in,
                              int64_t c_out, char* scratch, int64_t threads) {
  const int64_t padded = round_up(c_out, kLanes);
  int64_t beyond = 0;
  int64_t tile = kTileBytes / static_cast<int64_t>(sizeof(float) * padded) / 64 * 64;
  tile = tile < 64 ? 64 : tile > kMaxTile ? kMaxTile : tile;
  // All columns in one pass, if the weight of a tap stays in the first-level cache, so that a row
  // of x is fetched once; else a pass per panel, which stays there.
  const bool one_pass = static_cast<int64_t>(sizeof(float)) * c_in * padded <= kWeightBytes;
  parallel_for(ceil_div(num_out, tile), threads, [&](int64_t task, int thread) {
    char* memory = scratch + thread * pc3d_conv_scratch_bytes(c_out);
    float* sums = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    int32_t* input = reinterpret_cast<int32_t*>(sums + kMaxTile * padded);
    PairList pairs{input, input + kMaxTile + kListSlack, 0, -1};
    const int64_t first = task * tile;
    const int64_t num_rows = num_out - first < tile ? num_out - first : tile;
    memset(sums, 0, sizeof(float) * num_rows * padded);
    for (int64_t tap = 0; tap < taps; ++tap) {
      list_pairs(table + tap * num_out + first, num_rows, num_in, pairs);
      Product product{x, c_in, sums, padded, pairs, packed + tap * c_in * padded, 0, 0, 0, 0};
      for (; product.inner < c_in; product.inner += kInnerBlock) {
        const int64_t rest = c_in - product.inner;
        product.depth = rest < kInnerBlock ? rest : kInnerBlock;
        for (product.column = 0; product.column < padded; product.column = product.columns) {
          const int64_t width = panel_width(padded - product.column);
          product.columns = one_pass ? padded : product.column + width;
          if (padded == kLanes) {
            product.multiply_all<kRowsOfOneVector>();
          } else {
            product.multiply_all<kRows>();
          }
        }
      }
    }
    for (int64_t i = 0; i < num_rows; ++i) {
      memcpy(y + (first + i) * c_out, sums + i * padded, sizeof(float) * c_out);
    }
    if (pairs.last >= num_in) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
  });
  return beyond;
}
