// Trilinear corners and weights of points, and weighted sums of voxel features at points.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/block_index.h"
#include "../runtime/include/morton.h"
#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"

using namespace pc3d;

namespace {

constexpr int64_t kPointsPerTask = 1024;
constexpr float kTiny =
    1.17549435e-38f;  // smallest normal float: a point without corners keeps zeros

// y[c] += share * x[c]
void add_scaled(float* y, const float* x, float share, int64_t channels) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes)
    store(y + c, load(y + c) + broadcast(share) * load(x + c));
  for (; c < channels; ++c) y[c] += share * x[c];
}

}  // namespace

// The 8 corners around each point: index [8, num_points] rows of keys [num], or -1, and weight [8,
// num_points]. Returns 0, or 1 if keys are not ascending and unique.
PC3D_EXPORT int64_t pc3d_trilinear(const int64_t* keys, int64_t num, const int64_t* batch,
                                   const float* position, int64_t num_points, int32_t* index,
                                   float* weight, void* index_space, int64_t threads) {
  const BlockIndex blocks(keys, num, index_space);
  if (!blocks.ascending) return 1;
  parallel_ranges(num_points, kPointsPerTask, threads, [&](int64_t first, int64_t end) {
    for (int64_t p = first; p < end; ++p) {
      uint64_t bits[3][2];
      float share[3][2];
      for (int axis = 0; axis < 3; ++axis) {
        const float u = position[3 * p + axis];
        const float base = __builtin_floorf(u);
        share[axis][1] = u - base;
        share[axis][0] = 1 - share[axis][1];
        for (int side = 0; side < 2; ++side) {
          bits[axis][side] =
              spread_axis(static_cast<uint64_t>(static_cast<int64_t>(base) + side + kBias), axis);
        }
      }
      const uint64_t cloud = static_cast<uint64_t>(batch[p]) << kBatchShift;
      int64_t last_key = -1;
      Block block{0, 0};
      float sum = 0;
      for (int tap = 0; tap < 8; ++tap) {
        const int x = tap >> 2, y = tap >> 1 & 1, z = tap & 1;
        const int64_t key = static_cast<int64_t>(cloud | bits[0][x] | bits[1][y] | bits[2][z]);
        if (key >> 6 != last_key) block = blocks.find(last_key = key >> 6);
        const int32_t row = block.row(static_cast<int>(key & 63));
        const float w = row < 0 ? 0 : share[0][x] * share[1][y] * share[2][z];
        index[tap * num_points + p] = row;
        weight[tap * num_points + p] = w;
        sum += w;
      }
      for (int tap = 0; tap < 8; ++tap) weight[tap * num_points + p] /= sum < kTiny ? kTiny : sum;
    }
  });
  return 0;
}

// y [num_points, channels] = sum over taps of weight [taps, num_points] times the row of x that
// index names. Returns 0, or 1 if an index is beyond num_voxels.
PC3D_EXPORT int64_t pc3d_devoxelize(const float* x, const int32_t* index, const float* weight,
                                    int64_t taps, int64_t num_points, int64_t num_voxels,
                                    int64_t channels, float* y, int64_t threads) {
  int64_t beyond = 0;
  parallel_ranges(num_points, kPointsPerTask, threads, [&](int64_t first, int64_t end) {
    for (int64_t p = first; p < end; ++p) {
      float* out = y + p * channels;
      memset(out, 0, sizeof(float) * channels);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t row = index[tap * num_points + p];
        if (row >= num_voxels) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
        if (row < 0 || row >= num_voxels) continue;
        add_scaled(out, x + row * channels, weight[tap * num_points + p], channels);
      }
    }
  });
  return beyond;
}

// The gradient of pc3d_devoxelize in x [num_voxels, channels]. A task owns some channels and takes
// the points in their order, so that the sums do not depend on the threads. Returns 0, or 1 if an
// index is beyond num_voxels.
PC3D_EXPORT int64_t pc3d_devoxelize_grad(const float* grad, const int32_t* index,
                                         const float* weight, int64_t taps, int64_t num_points,
                                         int64_t num_voxels, int64_t channels, float* x_grad,
                                         int64_t threads) {
  int64_t beyond = 0;
  constexpr int64_t kSlice = 16;
  parallel_for(ceil_div(channels, kSlice), threads, [&](int64_t slice, int) {
    const int64_t first = slice * kSlice;
    const int64_t width = channels - first < kSlice ? channels - first : kSlice;
    for (int64_t v = 0; v < num_voxels; ++v) {
      memset(x_grad + v * channels + first, 0, sizeof(float) * width);
    }
    for (int64_t p = 0; p < num_points; ++p) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t row = index[tap * num_points + p];
        if (row >= num_voxels) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
        if (row < 0 || row >= num_voxels) continue;
        add_scaled(x_grad + row * channels + first, grad + p * channels + first,
                   weight[tap * num_points + p], width);
      }
    }
  });
  return beyond;
}
