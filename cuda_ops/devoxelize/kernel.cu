// Corners and weights of points, and sums over corners (op.py).
#include "block_table.cuh"
#include "scalar.cuh"

using namespace pc3d;

// index [8, points] and weight [8, points] for positions [points, 3] in voxels.
PC3D_KERNEL trilinear(const int64_t* batch, const float* position, int64_t points, Word* slot_keys,
                      const uint64_t* occupancy, const int32_t* start, int64_t slots,
                      int32_t* index, float* weight) {
  const int64_t p = thread();
  if (p >= points) return;
  const BlockTable blocks{slot_keys, occupancy, start, slots};
  float fraction[3], share[8], total = 0;
  int64_t base[3];
  for (int axis = 0; axis < 3; ++axis) {
    const float at = position[3 * p + axis], below = floorf(at);
    fraction[axis] = at - below;
    base[axis] = static_cast<int64_t>(below);
  }
  for (int tap = 0; tap < 8; ++tap) {
    uint64_t key = static_cast<uint64_t>(batch[p]) << kBatchShift;
    float product = 1;
    for (int axis = 0; axis < 3; ++axis) {
      const int upper = tap >> (2 - axis) & 1;
      key |= spread_axis(static_cast<uint64_t>(base[axis] + upper + kBias), axis);
      product *= upper ? fraction[axis] : 1 - fraction[axis];
    }
    const int32_t row = blocks.row(static_cast<int64_t>(key));
    index[tap * points + p] = row;
    share[tap] = row < 0 ? 0 : product;
    total += share[tap];
  }
  const float scale = 1 / fmaxf(total, 1.17549435e-38f);  // a point without corners keeps zeros
  for (int tap = 0; tap < 8; ++tap) weight[tap * points + p] = share[tap] * scale;
}

// y[p] = sum over taps of weight[tap, p] x[index[tap, p]]; `beyond` is set for rows that x lacks.
PC3D_KERNEL devoxelize(const Scalar* x, int64_t rows, int64_t channels, const int32_t* index,
                       const float* weight, int64_t taps, int64_t points, Scalar* y,
                       uint8_t* beyond) {
  const int64_t lanes = channels / kWidth, i = thread();
  if (i >= points * lanes) return;
  const int64_t p = i / lanes, channel = i % lanes * kWidth;
  float sum[kWidth] = {};
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t row = index[tap * points + p];
    if (row >= rows) complain(beyond);
    if (row < 0 || row >= rows) continue;
    const float factor = weight[tap * points + p];
    const Vector values = load(x + row * channels + channel);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) sum[lane] += factor * to_float(values.lane[lane]);
  }
  store(y + p * channels + channel, sum);
}
