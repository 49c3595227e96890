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

constexpr int64_t kVoxelsPerTask = 16;
constexpr int kTerms = 8;  // of a sum that are added at once
constexpr int kVecs = 4;   // of channels that stay in registers

// A row of a sum, and its factor.
struct Term {
  const float* row;
  float share;
};

// y [channels] += the sum of terms [num], in their order.
void add_terms(float* y, const Term* terms, int num, int64_t channels) {
  int64_t c = 0;
  for (; c + kVecs * kLanes <= channels; c += kVecs * kLanes) {
    Vec sum[kVecs];
    for (int v = 0; v < kVecs; ++v) sum[v] = load(y + c + v * kLanes);
    for (int t = 0; t < num; ++t) {
      const Vec share = broadcast(terms[t].share);
      for (int v = 0; v < kVecs; ++v) sum[v] += share * load(terms[t].row + c + v * kLanes);
    }
    for (int v = 0; v < kVecs; ++v) store(y + c + v * kLanes, sum[v]);
  }
  for (; c + kLanes <= channels; c += kLanes) {
    Vec sum = load(y + c);
    for (int t = 0; t < num; ++t) sum += broadcast(terms[t].share) * load(terms[t].row + c);
    store(y + c, sum);
  }
  for (; c < channels; ++c) {
    for (int t = 0; t < num; ++t) y[c] += terms[t].share * terms[t].row[c];
  }
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
      Term terms[kTerms];
      int found = 0;
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t row = index[tap * num_points + p];
        if (row >= num_voxels) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
        if (row < 0 || row >= num_voxels) continue;
        terms[found++] = {x + row * channels, weight[tap * num_points + p]};
        if (found == kTerms) {
          add_terms(out, terms, found, channels);
          found = 0;
        }
      }
      add_terms(out, terms, found, channels);
    }
  });
  return beyond;
}

// The gradient of pc3d_devoxelize in x [num_voxels, channels]; starts and pairs of each voxel are
// those of pc3d_pairs_of_sources.
PC3D_EXPORT void pc3d_devoxelize_grad(const float* grad, const float* weight,
                                      const int64_t* starts, const int32_t* pairs,
                                      int64_t num_points, int64_t num_voxels, int64_t channels,
                                      float* x_grad, int64_t threads) {
  parallel_ranges(num_voxels, kVoxelsPerTask, threads, [&](int64_t first, int64_t end) {
    for (int64_t v = first; v < end; ++v) {
      float* out = x_grad + v * channels;
      memset(out, 0, sizeof(float) * channels);
      Term terms[kTerms];
      for (int64_t i = starts[v]; i < starts[v + 1]; i += kTerms) {
        int found = 0;
        for (; found < kTerms && i + found < starts[v + 1]; ++found) {
          const int64_t point = pairs[2 * (i + found)], tap = pairs[2 * (i + found) + 1];
          terms[found] = {grad + point * channels, weight[tap * num_points + point]};
        }
        add_terms(out, terms, found, channels);
      }
    }
  });
}
