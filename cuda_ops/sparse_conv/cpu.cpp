// Sparse convolution as an indirect matrix product: rows of x are read where they lie, sums stay in
// registers over the input channels and in the cache over the taps. Nothing is gathered or
// scattered.
//
// A task owns a tile of output rows. For every tap it lists the rows of the tile that have a
// neighbour, and multiplies their inputs with the tap's weight. The order of every sum follows from
// the sizes alone.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"

using namespace pc3d;

namespace {

constexpr int64_t kMaxTile = 512;          // output rows of a tile
constexpr int64_t kTileBytes = 128 << 10;  // of its sums: a part of the second-level cache
constexpr int64_t kInnerBlock =
    192;  // input channels per pass: a panel of weights fits the first level

// Sums of R rows x NV vectors over `inner` channels. x [R] rows, w [inner, width], y [R] rows of
// sums.
template <int R, int NV>
PC3D_INLINE void multiply(const float* const* x, int64_t inner, const float* w, int64_t width,
                          float* const* y) {
  Vec sum[R][NV];
  const float* row[R];
  PC3D_UNROLL for (int r = 0; r < R; ++r) {
    row[r] = x[r];
    PC3D_UNROLL for (int v = 0; v < NV; ++v) sum[r][v] = load(y[r] + v * kLanes);
  }
  for (int64_t c = 0; c < inner; ++c) {
    Vec factor[NV];
    PC3D_UNROLL for (int v = 0; v < NV; ++v) factor[v] = load(w + c * width + v * kLanes);
    PC3D_UNROLL for (int r = 0; r < R; ++r) {
      const Vec value = broadcast(row[r][c]);
      PC3D_UNROLL for (int v = 0; v < NV; ++v) sum[r][v] += value * factor[v];
    }
  }
  PC3D_UNROLL for (int r = 0; r < R; ++r) {
    PC3D_UNROLL for (int v = 0; v < NV; ++v) store(y[r] + v * kLanes, sum[r][v]);
  }
}

// The last rows of a list, fewer than a block.
template <int R, int NV>
void multiply_rest(int64_t num, const float* const* x, int64_t inner, const float* w, int64_t width,
                   float* const* y) {
  if constexpr (R > 0) {
    if (num == R) return multiply<R, NV>(x, inner, w, width, y);
    multiply_rest<R - 1, NV>(num, x, inner, w, width, y);
  }
}

template <int NV>
void multiply_rows(int64_t num, const float* const* x, int64_t inner, const float* w,
                   float* const* y) {
  constexpr int R = kBlockRows<NV>;
  constexpr int64_t width = NV * kLanes;
  int64_t i = 0;
  for (; i + R <= num; i += R) multiply<R, NV>(x + i, inner, w, width, y + i);
  multiply_rest<R - 1, NV>(num - i, x + i, inner, w, width, y + i);
}

}  // namespace

PC3D_EXPORT int64_t pc3d_conv_padded(int64_t channels) { return round_up(channels, kLanes); }

PC3D_EXPORT int64_t pc3d_conv_scratch_bytes(int64_t c_out) {
  return kMaxTile * (sizeof(float) * round_up(c_out, kLanes) + sizeof(float*) * 2) + 64;
}

PC3D_EXPORT int64_t pc3d_conv_panel() { return kPanel; }

// weight [taps, c_in, c_out] with strides to packed [taps, panels, c_in, panel], padded with zeros;
// the last panel may be narrower.
PC3D_EXPORT void pc3d_conv_pack(const float* weight, int64_t stride_tap, int64_t stride_in,
                                int64_t stride_out, int64_t taps, int64_t c_in, int64_t c_out,
                                int64_t panel, float* packed, int64_t threads) {
  const int64_t padded = round_up(c_out, kLanes);
  parallel_for(taps, threads, [&](int64_t tap, int) {
    float* to = packed + tap * c_in * padded;
    for (int64_t first = 0; first < padded; first += panel) {
      const int64_t width = padded - first < panel ? padded - first : panel;
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
  parallel_for(ceil_div(num_out, tile), threads, [&](int64_t task, int thread) {
    char* memory = scratch + thread * pc3d_conv_scratch_bytes(c_out);
    float* sums = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    float** outputs = reinterpret_cast<float**>(sums + kMaxTile * padded);
    const float** inputs = const_cast<const float**>(outputs + kMaxTile);
    const int64_t first = task * tile;
    const int64_t rows = num_out - first < tile ? num_out - first : tile;
    int32_t last = -1;
    memset(sums, 0, sizeof(float) * rows * padded);
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int32_t* neighbor = table + tap * num_out + first;
      int64_t num = 0;
      for (int64_t i = 0; i < rows; ++i) {
        inputs[num] = x + neighbor[i] * c_in;
        outputs[num] = sums + i * padded;
        num += static_cast<uint64_t>(static_cast<int64_t>(neighbor[i])) <
               static_cast<uint64_t>(num_in);
        last = last < neighbor[i] ? neighbor[i] : last;
      }
      for (int64_t inner = 0; inner < c_in && num; inner += kInnerBlock) {
        const int64_t depth = c_in - inner < kInnerBlock ? c_in - inner : kInnerBlock;
        const float* w = packed + tap * c_in * padded;
        for (int64_t column = 0; column < padded; column += kPanel) {
          if (padded - column >= kPanel) {
            multiply_rows<2>(num, inputs, depth, w + column * c_in + inner * kPanel, outputs);
          } else {
            multiply_rows<1>(num, inputs, depth, w + column * c_in + inner * kLanes, outputs);
          }
          for (int64_t i = 0; i < num; ++i) outputs[i] += kPanel;
        }
        for (int64_t i = 0; i < num; ++i) {
          inputs[i] += depth;
          outputs[i] -= round_up(padded, kPanel);
        }
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      memcpy(y + (first + i) * c_out, sums + i * padded, sizeof(float) * c_out);
    }
    if (last >= num_in) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
  });
  return beyond;
}
