// Morton keys of voxel rows, and back.
#include "../runtime/include/morton.h"
#include "../runtime/include/parallel.h"

using namespace pc3d;

constexpr int64_t kChunk = 16384;

// indices [num, 4] rows (batch, x, y, z) to keys [num]. Returns 0, or 1 if any row does not fit a
// key.
PC3D_EXPORT int64_t pc3d_morton_encode(const int32_t* indices, int64_t num, int64_t* keys,
                                       int64_t threads) {
  int failed = 0;
  parallel_ranges(num, kChunk, threads, [&](int64_t first, int64_t end) {
    bool bad = false;
    for (int64_t i = first; i < end; ++i) {
      const int32_t* row = indices + 4 * i;
      bad |= static_cast<uint32_t>(row[0]) >= static_cast<uint32_t>(kMaxBatch);
      uint64_t key = static_cast<uint64_t>(row[0]) << kBatchShift;
      for (int axis = 0; axis < 3; ++axis) {
        const int64_t c = row[1 + axis];
        bad |= static_cast<uint64_t>(c + kMaxCoordinate) > 2 * kMaxCoordinate;
        key |= spread_axis(static_cast<uint64_t>(c + kBias), axis);
      }
      keys[i] = static_cast<int64_t>(key);
    }
    if (bad) __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
  });
  return failed;
}

PC3D_EXPORT void pc3d_morton_decode(const int64_t* keys, int64_t num, int32_t* indices,
                                    int64_t threads) {
  parallel_ranges(num, kChunk, threads, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      int32_t* row = indices + 4 * i;
      row[0] = static_cast<int32_t>(keys[i] >> kBatchShift);
      for (int axis = 0; axis < 3; ++axis) {
        row[1 + axis] = static_cast<int32_t>(axis_of(static_cast<uint64_t>(keys[i]), axis));
      }
    }
  });
}
