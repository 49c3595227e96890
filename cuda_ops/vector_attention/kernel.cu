// Vector attention (op.py) by direct gathers. Weights stand as [n, taps, groups], hidden as
// [taps, n, num_hidden]. `beyond` is set for rows that are not there.
#include "scalar.cuh"
#include "tables.cuh"

using namespace pc3d;

namespace {

constexpr int kPairs = 16;  // of a block, in `logits`
constexpr int kGroups = PC3D_THREADS / kPairs;
constexpr int kChannels = 64;  // whose relations a block holds at a time

// (hidden lift)[channel]
__device__ inline float lifted(const float* hidden, const float* lift, int64_t num_hidden,
                               int64_t channels, int64_t channel) {
  float sum = 0;
  for (int64_t i = 0; i < num_hidden; ++i) sum += hidden[i] * lift[i * channels + channel];
  return sum;
}

}  // namespace

// result [n, taps, groups]. A block computes the relations of kPairs pairs (x), kChannels channels
// at a time, and their products with kGroups columns of weight [channels, groups] (y).
PC3D_KERNEL logits(const Scalar* q, const Scalar* k, const float* hidden, const float* lift,
                   const float* bias, const float* weight, const int32_t* table, int64_t taps,
                   int64_t n, int64_t sources, int64_t channels, int64_t num_hidden,
                   int64_t groups, float* result, uint8_t* beyond) {
  __shared__ float relations[kPairs * (kChannels + 1)];
  __shared__ int64_t source_of[kPairs];
  const int me = static_cast<int>(threadIdx.x), place = me / kGroups;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kPairs, num_pairs = n * taps;
  const int64_t group = static_cast<int64_t>(blockIdx.y) * kGroups + me % kGroups;
  if (me < kPairs) {
    const int64_t pair = first + me, at = pair % taps * n + pair / taps;
    source_of[me] = pair < num_pairs ? neighbor(table, at, sources, beyond) : -1;
  }
  __syncthreads();
  float sum = 0;
  for (int64_t begin = 0; begin < channels; begin += kChannels) {
    for (int i = me; i < kPairs * kChannels; i += PC3D_THREADS) {
      const int of = i / kChannels;
      const int64_t channel = begin + i % kChannels, source = source_of[of];
      if (channel >= channels || source < 0) continue;
      const int64_t row = (first + of) / taps, tap = (first + of) % taps;
      const float* position = hidden + (tap * n + row) * num_hidden;
      const float value = to_float(k[source * channels + channel]) -
                          to_float(q[row * channels + channel]) + bias[channel] +
                          lifted(position, lift, num_hidden, channels, channel);
      relations[of * (kChannels + 1) + i % kChannels] = value < 0 ? 0 : value;
    }
    __syncthreads();
    const int64_t end = begin + kChannels < channels ? begin + kChannels : channels;
    if (group < groups && source_of[place] >= 0) {
      const float* relation = relations + place * (kChannels + 1);
      for (int64_t c = begin; c < end; ++c) sum += relation[c - begin] * weight[c * groups + group];
    }
    __syncthreads();
  }
  const int64_t pair = first + place;
  if (pair < num_pairs && group < groups) result[pair * groups + group] = sum;
}

// y [n, channels]; a thread for kWidth channels of a row.
PC3D_KERNEL weighted_sum(const float* weights, const Scalar* v, const float* hidden,
                         const float* lift, const int32_t* table, int64_t taps, int64_t n,
                         int64_t sources, int64_t channels, int64_t num_hidden, int64_t groups,
                         Scalar* y, uint8_t* beyond) {
  const int64_t lanes = channels / kWidth, i = thread();
  if (i >= n * lanes) return;
  const int64_t row = i / lanes, channel = i % lanes * kWidth;
  const int64_t group = channel / (channels / groups);
  float sum[kWidth] = {};
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t source = neighbor(table, tap * n + row, sources, beyond);
    if (source < 0) continue;
    const float share = weights[(row * taps + tap) * groups + group];
    const float* position = hidden + (tap * n + row) * num_hidden;
    const Vector values = load(v + source * channels + channel);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      const float delta = lifted(position, lift, num_hidden, channels, channel + lane);
      sum[lane] += share * (to_float(values.lane[lane]) + delta);
    }
  }
  store(y + row * channels + channel, sum);
}

// result [n, taps, groups]: sums of grad times (v + hidden lift) over the channels of each group.
PC3D_KERNEL grad_weights(const Scalar* grad, const Scalar* v, const float* hidden,
                         const float* lift, const int32_t* table, int64_t taps, int64_t n,
                         int64_t sources, int64_t channels, int64_t num_hidden, int64_t groups,
                         float* result, uint8_t* beyond) {
  const int64_t i = thread();
  if (i >= n * taps * groups) return;
  const int64_t group = i % groups, tap = i / groups % taps, row = i / groups / taps;
  const int64_t source = neighbor(table, tap * n + row, sources, beyond);
  const int64_t size = channels / groups, first = group * size;
  const float* position = hidden + (tap * n + row) * num_hidden;
  float sum = 0;
  for (int64_t channel = first; source >= 0 && channel < first + size; channel += kWidth) {
    const Vector slopes = load(grad + row * channels + channel);
    const Vector values = load(v + source * channels + channel);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      const float delta = lifted(position, lift, num_hidden, channels, channel + lane);
      sum += to_float(slopes.lane[lane]) * (to_float(values.lane[lane]) + delta);
    }
  }
  result[i] = sum;
}

// v_grad [sources, channels]: the sum of weights times grad over the pairs of each source, which are
// pairs [starts[source], starts[source + 1]): numbers of places in a table [taps, n].
PC3D_KERNEL grad_v(const Scalar* grad, const float* weights, const int64_t* pairs,
                   const int64_t* starts, int64_t taps, int64_t n, int64_t sources,
                   int64_t channels, int64_t groups, Scalar* v_grad) {
  const int64_t lanes = channels / kWidth, i = thread();
  if (i >= sources * lanes) return;
  const int64_t source = i / lanes, channel = i % lanes * kWidth;
  const int64_t group = channel / (channels / groups);
  float sum[kWidth] = {};
  for (int64_t term = starts[source]; term < starts[source + 1]; ++term) {
    const int64_t row = pairs[term] % n, tap = pairs[term] / n;
    const float share = weights[(row * taps + tap) * groups + group];
    const Vector slopes = load(grad + row * channels + channel);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) sum[lane] += share * to_float(slopes.lane[lane]);
  }
  store(v_grad + source * channels + channel, sum);
}

// hidden_grad [taps, n, num_hidden]: sums of grad times weights times lift over all channels.
PC3D_KERNEL grad_hidden(const Scalar* grad, const float* weights, const float* lift,
                        const int32_t* table, int64_t taps, int64_t n, int64_t channels,
                        int64_t num_hidden, int64_t groups, float* hidden_grad) {
  const int64_t i = thread();
  if (i >= taps * n * num_hidden) return;
  const int64_t hidden = i % num_hidden, row = i / num_hidden % n, tap = i / num_hidden / n;
  const bool there = table[tap * n + row] >= 0;
  const int64_t size = channels / groups;
  float sum = 0;
  for (int64_t group = 0; there && group < groups; ++group) {
    const float share = weights[(row * taps + tap) * groups + group];
    for (int64_t channel = group * size; channel < (group + 1) * size; channel += kWidth) {
      const Vector slopes = load(grad + row * channels + channel);
#pragma unroll
      for (int lane = 0; lane < kWidth; ++lane) {
        sum += to_float(slopes.lane[lane]) * share * lift[hidden * channels + channel + lane];
      }
    }
  }
  hidden_grad[i] = sum;
}

// sums [chunks, num_hidden, channels]: of grad times weights times hidden, over the rows of each
// chunk and their neighbours.
PC3D_KERNEL grad_lift(const Scalar* grad, const float* weights, const float* hidden,
                      const int32_t* table, int64_t taps, int64_t n, int64_t channels,
                      int64_t num_hidden, int64_t groups, int64_t chunks, int64_t rows_of_chunk,
                      float* sums) {
  const int64_t i = thread();
  if (i >= chunks * num_hidden * channels) return;
  const int64_t channel = i % channels, of = i / channels % num_hidden;
  const int64_t begin = i / channels / num_hidden * rows_of_chunk;
  const int64_t end = begin + rows_of_chunk < n ? begin + rows_of_chunk : n;
  const int64_t group = channel / (channels / groups);
  float sum = 0;
  for (int64_t row = begin; row < end; ++row) {
    float mixed = 0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t pair = tap * n + row;
      if (table[pair] < 0) continue;
      mixed += weights[(row * taps + tap) * groups + group] * hidden[pair * num_hidden + of];
    }
    sum += to_float(grad[row * channels + channel]) * mixed;
  }
  sums[i] = sum;
}
