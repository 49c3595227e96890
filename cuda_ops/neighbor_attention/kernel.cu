// Attention over neighbours (op.py) by direct gathers.
#include "scalar.cuh"
#include "tables.cuh"

using namespace pc3d;

// dots [n, taps, heads]; a thread for each. `beyond` is set for rows that are not there.
PC3D_KERNEL dot(const Scalar* q, const Scalar* k, const int32_t* table, int64_t taps,
                int64_t heads, int64_t n, int64_t channels, float* dots, uint8_t* beyond) {
  const int64_t i = thread();
  if (i >= n * taps * heads) return;
  const int64_t head = i % heads, tap = i / heads % taps, row = i / heads / taps;
  const int64_t from = neighbor(table, tap * n + row, n, beyond);
  const int64_t size = channels / heads, first = head * size;
  float sum = 0;
  for (int64_t channel = first; from >= 0 && channel < first + size; channel += kWidth) {
    const Vector a = load(q + row * channels + channel);
    const Vector b = load(k + from * channels + channel);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      sum += to_float(a.lane[lane]) * to_float(b.lane[lane]);
    }
  }
  dots[i] = sum;
}

// y [n, channels] from weights [n, taps, heads]; a thread for kWidth channels of a voxel.
PC3D_KERNEL weighted_sum(const float* weights, const Scalar* v, const int32_t* table, int64_t taps,
                         int64_t heads, int64_t n, int64_t channels, Scalar* y, uint8_t* beyond) {
  const int64_t lanes = channels / kWidth, i = thread();
  if (i >= n * lanes) return;
  const int64_t row = i / lanes, channel = i % lanes * kWidth;
  const int64_t head = channel / (channels / heads);
  float sum[kWidth] = {};
  bool bad = false;
  for (int64_t first = 0; first < taps; first += kTapsAtOnce) {
    const Neighbors from(table, first, taps, row, n, bad);
#pragma unroll
    for (int t = 0; t < kTapsAtOnce; ++t) {
      if (from.row[t] < 0) continue;
      const float share = weights[(row * taps + first + t) * heads + head];
      const Vector values = load(v + from.row[t] * channels + channel);
#pragma unroll
      for (int lane = 0; lane < kWidth; ++lane) sum[lane] += share * to_float(values.lane[lane]);
    }
  }
  store(y + row * channels + channel, sum);
  if (bad) complain(beyond);
}

// result [n, taps, heads]: what the neighbour has at the opposite tap.
PC3D_KERNEL transpose(const float* weights, const int32_t* table, int64_t taps, int64_t heads,
                      int64_t n, float* result, uint8_t* beyond) {
  const int64_t i = thread();
  if (i >= n * taps * heads) return;
  const int64_t head = i % heads, tap = i / heads % taps, row = i / heads / taps;
  const int64_t from = neighbor(table, tap * n + row, n, beyond);
  result[i] = from < 0 ? 0 : weights[(from * taps + taps - 1 - tap) * heads + head];
}
