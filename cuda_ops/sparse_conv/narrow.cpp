// Sparse convolution of a few input channels, such as the first layer of a network.
//
// There is too little to multiply per tap to load and store sums in between. So a row of sums stays
// in registers over all taps; the weights of all taps stay in the cache. The order of every sum
// follows from the sizes alone.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"

using namespace pc3d;

namespace {

constexpr int64_t kTile = 64;  // output rows of a task
constexpr int kAccumulators = 8;

// y [V vectors] = the sum over `num` pairs of x[input] times weight[tap] [c_in, padded].
template <int V>
void sum_pairs(const float* x, const int32_t* input, const int32_t* tap, int64_t num, int64_t c_in,
               const float* weight, int64_t padded, float* y) {
  constexpr int S = kAccumulators / V;  // independent sums, to hide the latency of a multiply-add
  Vec sum[S][V] = {};
  for (int64_t first = 0; first < num; first += S) {
    PC3D_UNROLL for (int s = 0; s < S; ++s) {
      if (first + s >= num) break;
      const float* row = x + static_cast<int64_t>(input[first + s]) * c_in;
      const float* w = weight + tap[first + s] * c_in * padded;
      for (int64_t c = 0; c < c_in; ++c, w += padded) {
        const Vec value = broadcast(row[c]);
        PC3D_UNROLL for (int v = 0; v < V; ++v) sum[s][v] += value * load(w + v * kLanes);
      }
    }
  }
  PC3D_UNROLL for (int v = 0; v < V; ++v) {
    PC3D_UNROLL for (int s = 1; s < S; ++s) sum[0][v] += sum[s][v];
    store(y + v * kLanes, sum[0][v]);
  }
}

}  // namespace

PC3D_EXPORT int64_t pc3d_conv_narrow_scratch_bytes(int64_t taps, int64_t c_out) {
  return sizeof(int32_t) * kTile * (2 * taps + 1) + sizeof(float) * round_up(c_out, kLanes) + 64;
}

// y [num_out, c_out] = sum over taps of x[table[tap, row]] times weight, packed with panels of all
// columns; scratch: per thread. Returns 0, or 1 if the table names a row beyond num_in.
PC3D_EXPORT int64_t pc3d_conv_narrow(const float* x, const float* packed, const int32_t* table,
                                     float* y, int64_t num_in, int64_t num_out, int64_t taps,
                                     int64_t c_in, int64_t c_out, char* scratch, int64_t threads) {
  const int64_t padded = round_up(c_out, kLanes);
  int64_t beyond = 0;
  parallel_for(ceil_div(num_out, kTile), threads, [&](int64_t task, int thread) {
    char* memory = scratch + thread * pc3d_conv_narrow_scratch_bytes(taps, c_out);
    float* sums = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    int32_t* num = reinterpret_cast<int32_t*>(sums + padded);
    int32_t* inputs = num + kTile;
    int32_t* pair_taps = inputs + kTile * taps;
    const int64_t first = task * kTile;
    const int64_t rows = num_out - first < kTile ? num_out - first : kTile;
    int32_t last = -1;
    memset(num, 0, sizeof(int32_t) * kTile);
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int32_t* neighbor = table + tap * num_out + first;
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t pair = i * taps + num[i];
        inputs[pair] = neighbor[i];
        pair_taps[pair] = static_cast<int32_t>(tap);
        num[i] += static_cast<uint64_t>(static_cast<int64_t>(neighbor[i])) <
                  static_cast<uint64_t>(num_in);
        last = last < neighbor[i] ? neighbor[i] : last;
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      const int32_t *row_inputs = inputs + i * taps, *row_taps = pair_taps + i * taps;
      int64_t column = 0;
      for (; column + 4 * kLanes <= padded; column += 4 * kLanes) {
        sum_pairs<4>(x, row_inputs, row_taps, num[i], c_in, packed + column, padded, sums + column);
      }
      for (; column < padded; column += kLanes) {
        sum_pairs<1>(x, row_inputs, row_taps, num[i], c_in, packed + column, padded, sums + column);
      }
      memcpy(y + (first + i) * c_out, sums, sizeof(float) * c_out);
    }
    if (last >= num_in) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
  });
  return beyond;
}
