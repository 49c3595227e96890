// Unique keys with inverse and counts, and the mean of each voxel's points.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/parallel.h"

using namespace pc3d;

namespace {

constexpr int kDigitBits = 11;
constexpr int kBuckets = 1 << kDigitBits;
constexpr int kMaxDigits = (64 + kDigitBits - 1) / kDigitBits;

struct Entry {
  uint64_t key;
  uint32_t point;
};

// Stable radix sort by the bits in [low, high) that `varying` has; the result is in the array
// returned.
Entry* sort(Entry* entries, Entry* other, int64_t num, uint64_t varying) {
  const int low = __builtin_ctzll(varying), high = 64 - __builtin_clzll(varying);
  static_assert(kMaxDigits * kDigitBits >= 64, "digits cover a key");
  for (int shift = low; shift < high; shift += kDigitBits) {
    const uint64_t mask = kBuckets - 1;
    if (!(varying >> shift & mask)) continue;
    uint32_t place[kBuckets] = {};
    for (int64_t i = 0; i < num; ++i) ++place[entries[i].key >> shift & mask];
    uint32_t sum = 0;
    for (uint32_t& p : place) {
      const uint32_t count = p;
      p = sum;
      sum += count;
    }
    for (int64_t i = 0; i < num; ++i) other[place[entries[i].key >> shift & mask]++] = entries[i];
    Entry* swap = entries;
    entries = other;
    other = swap;
  }
  return entries;
}

}  // namespace

PC3D_EXPORT int64_t pc3d_voxelize_bytes(int64_t num) {
  return 2 * num * static_cast<int64_t>(sizeof(Entry));
}

// keys [num], num < 2^32, to unique keys ascending, inverse [num] and counts; the outputs have room
// for num voxels. Returns the number of voxels.
PC3D_EXPORT int64_t pc3d_voxelize(const int64_t* keys, int64_t num, int64_t* unique,
                                  int64_t* inverse, int64_t* counts, void* workspace) {
  if (num == 0) return 0;
  constexpr uint64_t kSign = uint64_t{1} << 63;  // a signed order, like the reference's
  Entry* entries = static_cast<Entry*>(workspace);
  uint64_t varying = 0;
  bool sorted = true;
  for (int64_t i = 0; i < num; ++i) {
    entries[i] = {static_cast<uint64_t>(keys[i]) ^ kSign, static_cast<uint32_t>(i)};
    varying |= entries[i].key ^ entries[0].key;
    sorted &= i == 0 || keys[i - 1] <= keys[i];
  }
  if (!sorted) entries = sort(entries, entries + num, num, varying);
  int64_t voxel = -1, start = 0;
  for (int64_t i = 0; i < num; ++i) {
    if (i == 0 || entries[i].key != entries[i - 1].key) {
      if (i) counts[voxel] = i - start;
      start = i;
      unique[++voxel] = static_cast<int64_t>(entries[i].key ^ kSign);
    }
    inverse[entries[i].point] = voxel;
  }
  counts[voxel] = num - start;
  return voxel + 1;
}

// mean [num_voxels, channels] of feats [num_points, channels]. A task owns some channels and takes
// the points in their order, so that the sums do not depend on the threads. Returns 0, or 1 if
// point2voxel names a voxel that is not there.
PC3D_EXPORT int64_t pc3d_voxel_mean(const float* feats, const int64_t* point2voxel,
                                    const int64_t* counts, int64_t num_points, int64_t num_voxels,
                                    int64_t channels, float* mean, int64_t threads) {
  constexpr int64_t kSlice = 16;
  int64_t beyond = 0;
  parallel_for(ceil_div(channels, kSlice), threads, [&](int64_t slice, int) {
    const int64_t first = slice * kSlice;
    const int64_t width = channels - first < kSlice ? channels - first : kSlice;
    for (int64_t v = 0; v < num_voxels; ++v)
      memset(mean + v * channels + first, 0, sizeof(float) * width);
    for (int64_t p = 0; p < num_points; ++p) {
      if (static_cast<uint64_t>(point2voxel[p]) >= static_cast<uint64_t>(num_voxels)) {
        __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
        continue;
      }
      float* sum = mean + point2voxel[p] * channels + first;
      const float* values = feats + p * channels + first;
      for (int64_t c = 0; c < width; ++c) sum[c] += values[c];
    }
    for (int64_t v = 0; v < num_voxels; ++v) {
      const float count = static_cast<float>(counts[v]);
      for (int64_t c = 0; c < width; ++c) mean[v * channels + first + c] /= count;
    }
  });
  return beyond;
}
