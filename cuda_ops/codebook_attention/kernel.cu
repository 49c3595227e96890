// Codebook attention (op.py) by direct gathers: a thread for kWidth channels of a voxel.
#include "scalar.cuh"
#include "tables.cuh"

using namespace pc3d;

namespace {

// sum += code * v over the taps of one code, for the channels at `channel`. Backward: the taps of
// the code in reverse, and every neighbour's row times its own choice.
template <bool kBackward>
__device__ void add_code(const Scalar* v, const float* choice, int64_t choices, const float* code,
                         const int32_t* table, int64_t taps, int64_t row, int64_t n,
                         int64_t channels, int64_t channel, float* sum, bool& beyond) {
  for (int64_t first = 0; first < taps; first += kTapsAtOnce) {
    const Neighbors from(table, first, taps, row, n, beyond);
#pragma unroll
    for (int t = 0; t < kTapsAtOnce; ++t) {
      if (from.row[t] < 0) continue;
      const int64_t other = from.row[t], place = kBackward ? taps - 1 - first - t : first + t;
      const Vector values = load(v + other * channels + channel);
      const Factors factors = load_factors(code + place * channels + channel);
      const float share = kBackward && choice ? choice[other * choices] : 1.0f;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        sum[i] += share * (factors.lane[i] * to_float(values.lane[i]));
      }
    }
  }
}

template <bool kBackward>
__device__ void attend(const Scalar* v, const float* choice, const float* codes,
                       const Tables& tables, int64_t num_codes, int64_t groups, int64_t n,
                       int64_t channels, Scalar* y, uint8_t* beyond) {
  const int64_t lanes = channels / kWidth, i = thread();
  if (i >= n * lanes) return;
  const int64_t row = i / lanes, channel = i % lanes * kWidth;
  const int64_t group = channel / (channels / groups), choices = num_codes * groups;
  float sum[kWidth] = {};
  bool bad = false;
  for (int64_t d = 0; d < num_codes; ++d) {
    const float* chosen = choice ? choice + d * groups + group : nullptr;
    float u[kWidth] = {};
    add_code<kBackward>(v, chosen, choices, codes, tables.table[d], tables.taps[d], row, n,
                        channels, channel, u, bad);
    const float share = chosen && !kBackward ? chosen[row * choices] : 1.0f;
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) sum[lane] += share * u[lane];
    codes += tables.taps[d] * channels;
  }
  store(y + row * channels + channel, sum);
  if (bad) complain(beyond);
}

}  // namespace

// choice [n, num_codes, groups] or null; codes [taps of all, channels].
PC3D_KERNEL attention(const Scalar* v, const float* choice, const float* codes,
                      const __grid_constant__ Tables tables, int64_t num_codes, int64_t groups,
                      int64_t n, int64_t channels, Scalar* y, uint8_t* beyond) {
  attend<false>(v, choice, codes, tables, num_codes, groups, n, channels, y, beyond);
}

PC3D_KERNEL grad_v(const Scalar* grad, const float* choice, const float* codes,
                   const __grid_constant__ Tables tables, int64_t num_codes, int64_t groups,
                   int64_t n, int64_t channels, Scalar* v_grad, uint8_t* beyond) {
  attend<true>(grad, choice, codes, tables, num_codes, groups, n, channels, v_grad, beyond);
}

// chosen [n, groups]: only that code is computed.
PC3D_KERNEL routed(const Scalar* v, const int32_t* chosen, const float* codes,
                   const __grid_constant__ Tables tables, int64_t num_codes, int64_t groups,
                   int64_t n, int64_t channels, Scalar* y, uint8_t* beyond, uint8_t* no_code) {
  const int64_t lanes = channels / kWidth, i = thread();
  if (i >= n * lanes) return;
  const int64_t row = i / lanes, channel = i % lanes * kWidth;
  const int32_t code = chosen[row * groups + channel / (channels / groups)];
  float sum[kWidth] = {};
  bool bad = false;
  if (code < 0 || code >= num_codes) {
    complain(no_code);
  } else {
    for (int32_t d = 0; d < code; ++d) codes += tables.taps[d] * channels;
    add_code<false>(v, nullptr, 0, codes, tables.table[code], tables.taps[code], row, n, channels,
                    channel, sum, bad);
  }
  store(y + row * channels + channel, sum);
  if (bad) complain(beyond);
}

// choice_grad [n, num_codes, groups]: the sum of grad * u over the channels of a group. Threads run
// over groups first and codes last, so that neighbours in a warp read the same code and table.
PC3D_KERNEL choice_grad(const Scalar* v, const float* codes,
                        const __grid_constant__ Tables tables, int64_t num_codes, int64_t groups,
                        int64_t n, int64_t channels, const Scalar* grad, float* result,
                        uint8_t* beyond) {
  const int64_t i = thread();
  if (i >= n * num_codes * groups) return;
  const int64_t group = i % groups, row = i / groups % n, d = i / groups / n;
  const int64_t size = channels / groups, begin = group * size, taps = tables.taps[d];
  for (int64_t before = 0; before < d; ++before) codes += tables.taps[before] * channels;
  float sum = 0;
  bool bad = false;
  for (int64_t first = 0; first < taps; first += kTapsAtOnce) {
    const Neighbors from(tables.table[d], first, taps, row, n, bad);
    for (int64_t channel = begin; channel < begin + size; channel += kWidth) {
      const Vector slopes = load(grad + row * channels + channel);
#pragma unroll
      for (int t = 0; t < kTapsAtOnce; ++t) {
        if (from.row[t] < 0) continue;
        const Vector values = load(v + from.row[t] * channels + channel);
        const Factors factors = load_factors(codes + (first + t) * channels + channel);
#pragma unroll
        for (int lane = 0; lane < kWidth; ++lane) {
          sum += factors.lane[lane] * to_float(values.lane[lane]) * to_float(slopes.lane[lane]);
        }
      }
    }
  }
  result[(row * num_codes + d) * groups + group] = sum;
  if (bad) complain(beyond);
}

// sums [chunks, taps of all codes, channels], of the rows of each chunk. A block takes a chunk
// (x), up to kTapsAtOnce taps of one code and up to PC3D_THREADS vectors of channels (y).
PC3D_KERNEL codes_grad(const Scalar* v, const float* choice,
                       const __grid_constant__ Tables tables, int64_t groups, int64_t num_codes,
                       int64_t n, int64_t channels, const Scalar* grad, int64_t rows_of_chunk,
                       int64_t channel_tiles, int64_t all_taps, float* sums, uint8_t* beyond) {
  __shared__ float partial[PC3D_THREADS * kWidth];
  const int tiles = static_cast<int>(channel_tiles);
  int part = static_cast<int>(blockIdx.y) / tiles, d = 0, taps_before = 0;
  for (;; ++d) {
    const int parts = (static_cast<int>(tables.taps[d]) + kTapsAtOnce - 1) / kTapsAtOnce;
    if (part < parts) break;
    part -= parts;
    taps_before += static_cast<int>(tables.taps[d]);
  }
  const int first_tap = part * kTapsAtOnce;
  const int last_tap = min(first_tap + kTapsAtOnce, static_cast<int>(tables.taps[d]));
  const int first_lane = static_cast<int>(blockIdx.y) % tiles * PC3D_THREADS;
  const int width = min(static_cast<int>(channels) / kWidth - first_lane, PC3D_THREADS);
  const int rows_at_once = PC3D_THREADS / width;
  const int lane = static_cast<int>(threadIdx.x) % width;
  const int place = static_cast<int>(threadIdx.x) / width;
  const int channel = (first_lane + lane) * kWidth;
  const int group = channel / (static_cast<int>(channels) / static_cast<int>(groups));
  const int64_t begin = blockIdx.x * rows_of_chunk;
  const int64_t end = begin + rows_of_chunk < n ? begin + rows_of_chunk : n;

  float sum[kTapsAtOnce][kWidth] = {};
  bool bad = false;
  for (int64_t row = begin + place; place < rows_at_once && row < end; row += rows_at_once) {
    const float share = choice ? choice[(row * num_codes + d) * groups + group] : 1.0f;
    const Vector slopes = load(grad + row * channels + channel);
    float mixed[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) mixed[i] = share * to_float(slopes.lane[i]);
    const Neighbors from(tables.table[d], first_tap, last_tap, row, n, bad);
#pragma unroll
    for (int t = 0; t < kTapsAtOnce; ++t) {
      if (from.row[t] < 0) continue;
      const Vector values = load(v + from.row[t] * channels + channel);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[t][i] += mixed[i] * to_float(values.lane[i]);
    }
  }
  if (bad) complain(beyond);
#pragma unroll
  for (int t = 0; t < kTapsAtOnce; ++t) {
    const int tap = first_tap + t;
    if (tap >= last_tap) break;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kWidth; ++i) partial[threadIdx.x * kWidth + i] = sum[t][i];
    __syncthreads();
    if (place != 0) continue;
    float* result = sums + (blockIdx.x * all_taps + taps_before + tap) * channels + channel;
    for (int i = 0; i < kWidth; ++i) {
      float total = 0;
      for (int other = 0; other < rows_at_once; ++other) {
        total += partial[(other * width + lane) * kWidth + i];
      }
      result[i] = total;
    }
  }
}

// result [n]: the sum of sums [chunks, n], chunk after chunk.
PC3D_KERNEL sum_chunks(const float* sums, int64_t chunks, int64_t n, float* result) {
  const int64_t i = thread();
  if (i >= n) return;
  float total = 0;
#pragma unroll 8
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += sums[chunk * n + i];
  result[i] = total;
}
