// Morton keys of voxels, and back (op.py says what they are).
#include "device.cuh"
#include "morton.h"

using namespace pc3d;

// indices [n, 4] -> keys [n]; `refused` is set if a row does not fit a key.
PC3D_KERNEL encode(const int32_t* indices, int64_t n, int64_t* keys, uint8_t* refused) {
  const int64_t row = thread();
  if (row >= n) return;
  const int32_t batch = indices[4 * row];
  uint64_t key = static_cast<uint64_t>(batch) << kBatchShift;
  bool fits = batch >= 0 && batch < kMaxBatch;
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t coordinate = indices[4 * row + 1 + axis];
    fits &= coordinate <= static_cast<int64_t>(kMaxCoordinate) &&
            -coordinate <= static_cast<int64_t>(kMaxCoordinate);
    key |= spread_axis(static_cast<uint64_t>(coordinate + kBias), axis);
  }
  keys[row] = static_cast<int64_t>(key);
  if (!fits) complain(refused);
}

// keys [n] -> indices [n, 4]
PC3D_KERNEL decode(const int64_t* keys, int64_t n, int32_t* indices) {
  const int64_t row = thread();
  if (row >= n) return;
  const uint64_t key = static_cast<uint64_t>(keys[row]);
  indices[4 * row] = static_cast<int32_t>(key >> kBatchShift);
  for (int axis = 0; axis < 3; ++axis) {
    indices[4 * row + 1 + axis] = static_cast<int32_t>(axis_of(key, axis));
  }
}
