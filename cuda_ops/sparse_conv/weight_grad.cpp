// The weight gradient of sparse convolution: for every tap the product of input rows, transposed,
// with gradient rows, over the pairs of the tap.
//
// Pairs are packed: their rows are copied next to each other, with a stride that does not map them
// onto the same few lines of the cache, and each block of the result stays in registers over the
// packed rows. Rows are split into chunks by their number, not by the threads; the chunks' sums are
// added in order.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/compress.h"
#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"

using namespace pc3d;

namespace {

// A block of R x NV vectors of the result stays in registers, with NV vectors of the one factor and
// one value of the other.
constexpr int kPanel = 2 * kLanes;
template <int NV>
constexpr int kBlockRows = (kRegisters - kRegisters / 4) / NV;

constexpr int64_t kBatch = 128;   // pairs that are packed together
constexpr int64_t kTile = 1024;   // output rows whose pairs of one tap are taken together
constexpr int64_t kTapGroup = 9;  // taps of a task
constexpr int64_t kChunkRows = 8192;
constexpr int64_t kMaxChunks = 16;
constexpr int64_t kMaxSumBytes = 64 << 20;  // of all chunks

// An odd number of cache lines, so that a column of packed rows meets every set of the cache.
int64_t packed_stride(int64_t channels) { return (round_up(channels, 16) / 16 | 1) * 16; }

// w [R, NV vectors] += the sum over pairs of x [pair, R], transposed, times g [pair, NV vectors].
template <int R, int NV>
PC3D_INLINE void accumulate(const float* x, int64_t stride_x, const float* g, int64_t stride_g,
                            int64_t num, float* w, int64_t stride_w) {
  Vec sum[R][NV];
  PC3D_UNROLL for (int r = 0; r < R; ++r) {
    PC3D_UNROLL for (int v = 0; v < NV; ++v) sum[r][v] = load(w + r * stride_w + v * kLanes);
  }
  _Pragma("GCC unroll 2") for (int64_t p = 0; p < num; ++p, x += stride_x, g += stride_g) {
    Vec factor[NV];
    PC3D_UNROLL for (int v = 0; v < NV; ++v) factor[v] = load(g + v * kLanes);
    PC3D_UNROLL for (int r = 0; r < R; ++r) {
      const Vec value = broadcast(x[r]);
      PC3D_UNROLL for (int v = 0; v < NV; ++v) sum[r][v] += value * factor[v];
    }
  }
  PC3D_UNROLL for (int r = 0; r < R; ++r) {
    PC3D_UNROLL for (int v = 0; v < NV; ++v) store(w + r * stride_w + v * kLanes, sum[r][v]);
  }
}

template <int R, int NV>
void accumulate_rest(int64_t rows, const float* x, int64_t stride_x, const float* g,
                     int64_t stride_g, int64_t num, float* w, int64_t stride_w) {
  if constexpr (R > 0) {
    if (rows == R) return accumulate<R, NV>(x, stride_x, g, stride_g, num, w, stride_w);
    accumulate_rest<R - 1, NV>(rows, x, stride_x, g, stride_g, num, w, stride_w);
  }
}

// Packed rows of x and of the gradient.
struct Batch {
  float* x;
  float* g;
  int64_t c_in, c_out, stride_x, stride_g;

  // w [c_in, padded c_out] += the sum over `num` pairs.
  void add_to(float* w, int64_t num) const {
    const int64_t padded = round_up(c_out, kLanes);
    int64_t column = 0;
    for (; column + kPanel <= padded; column += kPanel) add_columns<2>(w, padded, column, num);
    if (column < padded) add_columns<1>(w, padded, column, num);
  }

 private:
  template <int NV>
  void add_columns(float* w, int64_t padded, int64_t column, int64_t num) const {
    constexpr int R = kBlockRows<NV>;
    int64_t c = 0;
    for (; c + R <= c_in; c += R) {
      accumulate<R, NV>(x + c, stride_x, g + column, stride_g, num, w + c * padded + column,
                        padded);
    }
    accumulate_rest<R - 1, NV>(c_in - c, x + c, stride_x, g + column, stride_g, num,
                               w + c * padded + column, padded);
  }
};

void copy_row(float* to, const float* from, int64_t channels) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) store(to + c, load(from + c));
  for (; c < channels; ++c) to[c] = from[c];
}

}  // namespace

PC3D_EXPORT int64_t pc3d_weight_grad_chunks(int64_t num_out, int64_t taps, int64_t c_in,
                                            int64_t c_out) {
  const int64_t bytes = static_cast<int64_t>(sizeof(float)) * taps * c_in * round_up(c_out, kLanes);
  int64_t chunks = ceil_div(num_out, kChunkRows);
  if (chunks > kMaxChunks) chunks = kMaxChunks;
  if (chunks * bytes > kMaxSumBytes) chunks = kMaxSumBytes / bytes;
  return chunks < 1 ? 1 : chunks;
}

PC3D_EXPORT int64_t pc3d_weight_grad_scratch_bytes(int64_t c_in, int64_t c_out) {
  return sizeof(float) * kBatch * (packed_stride(c_in) + packed_stride(c_out)) +
         sizeof(int32_t) * 2 * (kTile + kListSlack) + 64;
}

// sums [chunks, taps, c_in, padded c_out]: the gradient of every chunk of output rows; scratch: per
// thread. Returns 0, or 1 if the table names a row beyond num_in.
PC3D_EXPORT int64_t pc3d_weight_grad(const float* x, const float* grad, const int32_t* table,
                                     float* sums, int64_t num_in, int64_t num_out, int64_t taps,
                                     int64_t c_in, int64_t c_out, char* scratch, int64_t threads) {
  const int64_t padded = round_up(c_out, kLanes);
  const int64_t chunks = pc3d_weight_grad_chunks(num_out, taps, c_in, c_out);
  const int64_t chunk_rows = ceil_div(num_out, chunks);
  const int64_t groups = ceil_div(taps, kTapGroup);
  int64_t beyond = 0;
  parallel_for(chunks * groups, threads, [&](int64_t task, int thread) {
    char* memory = scratch + thread * pc3d_weight_grad_scratch_bytes(c_in, c_out);
    Batch batch{reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64),
                nullptr,
                c_in,
                c_out,
                packed_stride(c_in),
                packed_stride(c_out)};
    batch.g = batch.x + kBatch * batch.stride_x;
    int32_t* input = reinterpret_cast<int32_t*>(batch.g + kBatch * batch.stride_g);
    PairList pairs{input, input + kTile + kListSlack, 0, -1};
    for (int64_t i = 0; i < kBatch; ++i) {  // the padding, once
      memset(batch.g + i * batch.stride_g + c_out, 0, sizeof(float) * (batch.stride_g - c_out));
    }
    const int64_t chunk = task / groups, first_tap = task % groups * kTapGroup;
    const int64_t last_tap = first_tap + kTapGroup < taps ? first_tap + kTapGroup : taps;
    const int64_t end = (chunk + 1) * chunk_rows < num_out ? (chunk + 1) * chunk_rows : num_out;
    float* w = sums + (chunk * taps + first_tap) * c_in * padded;
    memset(w, 0, sizeof(float) * (last_tap - first_tap) * c_in * padded);
    for (int64_t first = chunk * chunk_rows; first < end; first += kTile) {
      const int64_t rows = end - first < kTile ? end - first : kTile;
      for (int64_t tap = first_tap; tap < last_tap; ++tap) {
        list_pairs(table + tap * num_out + first, rows, num_in, pairs);
        for (int64_t start = 0; start < pairs.num; start += kBatch) {
          const int64_t num = pairs.num - start < kBatch ? pairs.num - start : kBatch;
          for (int64_t i = 0; i < num; ++i) {
            copy_row(batch.x + i * batch.stride_x, x + pairs.input[start + i] * c_in, c_in);
            copy_row(batch.g + i * batch.stride_g, grad + (first + pairs.place[start + i]) * c_out,
                     c_out);
          }
          batch.add_to(w + (tap - first_tap) * c_in * padded, num);
        }
      }
    }
    if (pairs.last >= num_in) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
  });
  return beyond;
}

// weight_grad [taps, c_in, c_out]: the chunks' sums, added in order.
PC3D_EXPORT void pc3d_weight_grad_reduce(const float* sums, int64_t chunks, int64_t taps,
                                         int64_t c_in, int64_t c_out, float* weight_grad,
                                         int64_t threads) {
  const int64_t padded = round_up(c_out, kLanes);
  parallel_for(taps, threads, [&](int64_t tap, int) {
    for (int64_t row = tap * c_in; row < (tap + 1) * c_in; ++row) {
      float* out = weight_grad + row * c_out;
      memcpy(out, sums + row * padded, sizeof(float) * c_out);
      for (int64_t chunk = 1; chunk < chunks; ++chunk) {
        const float* sum = sums + (chunk * taps * c_in + row) * padded;
        for (int64_t o = 0; o < c_out; ++o) out[o] += sum[o];
      }
    }
  });
}
