// The k nearest points of each query (op.py), through a tree of boxes around the points.
//
// Points are sorted by cloud and Morton key; every 8 in a row get their bounding box, every 4 boxes
// theirs, and so on. Rounding is monotone, so that the distance to a box is never more than that to
// a point inside it. PC3D_WIDTH is the room for neighbours, of which the last k are in use.
#include "device.cuh"
#include "morton.h"
#include "squared_distance.h"

using namespace pc3d;

#ifndef PC3D_WIDTH
#define PC3D_WIDTH 16
#endif

constexpr int kRoom = PC3D_WIDTH;
constexpr int kLeaf = 8;    // points
constexpr int kFanout = 4;  // boxes
constexpr int kMaxLevels = 16;
constexpr int32_t kNoRow = 0x7FFFFFFF;
constexpr int32_t kLastRow = kNoRow - 1;  // no row is greater
constexpr int32_t kInfinityBits = 0x7F800000;

struct Box {
  float low[3], high[3];
  int32_t first_row, unused;
};

struct Levels {
  int64_t start[kMaxLevels];  // of the boxes of each level; level 0 are the leaves
  int64_t count;
};

union Bits {
  float value;
  int32_t bits;
};
__device__ inline float float_of(int32_t bits) {
  Bits both;
  both.bits = bits;
  return both.value;
}
__device__ inline int32_t bits_of(float value) {
  Bits both;
  both.value = value;
  return both.bits;
}

// Integers in the order of the numbers.
__device__ inline int32_t ordered(float value) {
  const int32_t bits = bits_of(value);
  return bits < 0 ? bits ^ 0x7FFFFFFF : bits;
}
__device__ inline float from_ordered(int32_t order) {
  return float_of(order < 0 ? order ^ 0x7FFFFFFF : order);
}

__device__ inline bool is_finite(const float* p) {
  for (int a = 0; a < 3; ++a) {
    if ((bits_of(p[a]) & 0x7FFFFFFF) >= kInfinityBits) return false;
  }
  return true;
}

// Nearer points are less, and of equally near ones those of smaller rows.
__device__ inline int64_t candidate(float squared, int32_t row) {
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(bits_of(squared))) << 32 |
                              static_cast<uint32_t>(row));
}
__device__ inline float squared_of(int64_t candidate) {
  return float_of(static_cast<int32_t>(candidate >> 32));
}

// The cloud of a row; one of [0, clouds) whatever the offsets are.
__device__ inline int64_t cloud_of(const int64_t* offsets, int64_t clouds, int64_t row) {
  int64_t low = 0, high = clouds - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle + 1] > row) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// `refused` is set if offsets [clouds + 1] do not ascend from 0 to num.
PC3D_KERNEL check_offsets(const int64_t* offsets, int64_t clouds, int64_t num, uint8_t* refused) {
  const int64_t i = thread();
  if (i > clouds) return;
  const int64_t before = i ? offsets[i - 1] : 0;
  const bool ends = i < clouds || offsets[i] == num;
  if (offsets[i] < before || (i == 0 && offsets[i] != 0) || !ends) complain(refused);
}

// extent [clouds, 6], the largest int32 before: `ordered` of the least, and of minus the most,
// finite coordinates of each cloud.
PC3D_KERNEL extents(const float* points, int64_t num, const int64_t* offsets, int64_t clouds,
                    int32_t* extent) {
  constexpr int64_t kRun = 32;  // points of a thread, so that few atomics meet
  const int64_t first = thread() * kRun;
  if (first >= num) return;
  const int64_t end = first + kRun < num ? first + kRun : num;
  int64_t cloud = cloud_of(offsets, clouds, first);
  int32_t least[6];
  for (int i = 0; i < 6; ++i) least[i] = kNoRow;
  for (int64_t p = first; p <= end; ++p) {
    const int64_t next = p < end ? cloud_of(offsets, clouds, p) : -1;
    if (next != cloud) {
      for (int i = 0; i < 6; ++i) {
        if (least[i] != kNoRow) atomicMin(extent + 6 * cloud + i, least[i]);
        least[i] = kNoRow;
      }
      cloud = next;
    }
    if (p == end || !is_finite(points + 3 * p)) continue;
    for (int a = 0; a < 3; ++a) {
      const float at = points[3 * p + a];
      least[a] = min(least[a], ordered(at));
      least[3 + a] = min(least[3 + a], ordered(-at));
    }
  }
}

// keys [num]: the cloud, and below it the Morton key on a grid of 2^bits cells per axis around the
// points of the cloud.
PC3D_KERNEL space_keys(const float* rows, int64_t num, const int64_t* offsets, int64_t clouds,
                       const int32_t* extent, int64_t bits, int64_t* keys) {
  const int64_t i = thread();
  if (i >= num) return;
  const int64_t cloud = cloud_of(offsets, clouds, i);
  const int32_t* box = extent + 6 * cloud;
  float size = 0;
  for (int a = 0; a < 3; ++a) {
    size = fmaxf(size, -from_ordered(box[3 + a]) - from_ordered(box[a]));
  }
  const float cells = static_cast<float>(int64_t{1} << bits);
  uint64_t key = static_cast<uint64_t>(cloud) << 3 * bits;
  for (int a = 0; a < 3; ++a) {
    const float cell = (rows[3 * i + a] - from_ordered(box[a])) / size * cells;
    // Whatever is not a number goes to 0.
    const float inside = cell > 0 ? (cell < cells - 1 ? cell : cells - 1) : 0;
    key |= spread_axis(static_cast<uint64_t>(inside), a);
  }
  keys[i] = static_cast<int64_t>(key);
}

// Sorted points [4, padded] (the rows in the last line), and the boxes of the leaves. Of a point
// that is not finite all coordinates are NaN: it is in no box, and near nothing.
PC3D_KERNEL leaves(const float* points, const int64_t* order, int64_t num, float* sorted,
                   int32_t* rows, Box* boxes) {
  const int64_t leaf = thread(), padded = (num + kLeaf - 1) / kLeaf * kLeaf;
  if (leaf * kLeaf >= num) return;
  Box box{{float_of(kInfinityBits), float_of(kInfinityBits), float_of(kInfinityBits)},
          {-float_of(kInfinityBits), -float_of(kInfinityBits), -float_of(kInfinityBits)},
          kNoRow,
          0};
  for (int64_t i = leaf * kLeaf; i < leaf * kLeaf + kLeaf; ++i) {
    const int64_t row = i < num ? order[i] : 0;
    const bool there = i < num && is_finite(points + 3 * row);
    for (int a = 0; a < 3; ++a) {
      const float at = there ? points[3 * row + a] : float_of(0x7FC00000);
      sorted[a * padded + i] = at;
      box.low[a] = fminf(box.low[a], at);
      box.high[a] = fmaxf(box.high[a], at);
    }
    rows[i] = there ? static_cast<int32_t>(row) : kNoRow;
    box.first_row = min(box.first_row, rows[i]);
  }
  boxes[leaf] = box;
}

// The boxes of a level from the `count` ones below it.
PC3D_KERNEL enclose(const Box* below, int64_t count, Box* boxes) {
  const int64_t i = thread();
  if (i * kFanout >= count) return;
  Box box = below[i * kFanout];
  for (int64_t j = i * kFanout + 1; j < i * kFanout + kFanout && j < count; ++j) {
    for (int a = 0; a < 3; ++a) {
      box.low[a] = fminf(box.low[a], below[j].low[a]);
      box.high[a] = fmaxf(box.high[a], below[j].high[a]);
    }
    box.first_row = min(box.first_row, below[j].first_row);
  }
  boxes[i] = box;
}

struct Tree {
  const float* sorted;
  const int32_t* rows;
  const Box* boxes;
  const Levels* levels;
  int64_t num, padded;

  __device__ float squared(const float* q, int64_t place) const {
    return squared_distance(sorted[place] - q[0], sorted[padded + place] - q[1],
                            sorted[2 * padded + place] - q[2]);
  }

  // The most that k points around a place are away, or `limit`, if that is less.
  __device__ int64_t bound(const float* q, int64_t place, int64_t begin, int64_t end, int64_t k,
                           int64_t limit) const {
    if (end - begin < k) return limit;
    int64_t first = place - k / 2;
    first = first > end - k ? end - k : first;
    first = first < begin ? begin : first;
    float most = 0;
    for (int64_t i = first; i < first + k; ++i) {
      const float d = squared(q, i);
      if (!(d <= squared_of(limit))) return limit;
      most = fmaxf(most, d);
    }
    return candidate(most, kLastRow);
  }
};

__device__ inline void insert(int64_t* best, int64_t found) {
#pragma unroll
  for (int j = kRoom - 1; j > 0; --j) {
    const int64_t kept = found < best[j] ? found : best[j];
    best[j] = kept > best[j - 1] ? kept : best[j - 1];
  }
  best[0] = found < best[0] ? found : best[0];
}

// Offers the points at places [begin, end) to best [kRoom], without a stack: the boxes stand in the
// order in which they are entered.
__device__ inline void walk(const Tree& tree, const float* q, int64_t begin, int64_t end,
                            int64_t* best) {
  int64_t level = tree.levels->count - 1, index = 0, span = kLeaf;
  for (int64_t l = 0; l < level; ++l) span *= kFanout;
  while (index * span < end) {
    bool enter = (index + 1) * span > begin;
    if (enter) {
      const Box& box = tree.boxes[tree.levels->start[level] + index];
      float outside[3];
      for (int a = 0; a < 3; ++a) {
        outside[a] = fmaxf(fmaxf(box.low[a] - q[a], q[a] - box.high[a]), 0.0f);
      }
      const float d = squared_distance(outside[0], outside[1], outside[2]);
      enter = candidate(d, box.first_row) <= best[kRoom - 1];
    }
    if (enter && level > 0) {
      --level;
      index *= kFanout;
      span /= kFanout;
      continue;
    }
    if (enter) {
      for (int64_t i = index * kLeaf; i < index * kLeaf + kLeaf; ++i) {
        const float d = tree.squared(q, i);
        if (i < begin || i >= end || !(d <= squared_of(best[kRoom - 1]))) continue;
        const int64_t found = candidate(d, tree.rows[i]);
        if (found < best[kRoom - 1]) insert(best, found);
      }
    }
    for (++index; index % kFanout == 0 && level + 1 < tree.levels->count; ++level) {
      index /= kFanout;
      span *= kFanout;
    }
  }
}

// table and squared [k, num_queries]; thread i serves query order[i], whose key is keys[i]. Points
// are those of `leaves`, num of them, with sorted keys; limit_bits are those of the largest squared
// distance.
PC3D_KERNEL search(const float* sorted, const int32_t* rows, const int64_t* point_keys,
                   const int64_t* point_offsets, int64_t num, const Box* boxes, Levels levels,
                   const float* queries, const int64_t* keys, const int64_t* order,
                   const int64_t* query_offsets, int64_t num_queries, int64_t clouds, int64_t k,
                   int64_t limit_bits, int32_t* table, float* squared) {
  const int64_t i = thread();
  if (i >= num_queries) return;
  const int64_t query = order[i], cloud = cloud_of(query_offsets, clouds, query);
  const float q[3] = {queries[3 * query], queries[3 * query + 1], queries[3 * query + 2]};
  int64_t begin = point_offsets[cloud], end = point_offsets[cloud + 1];
  begin = begin < 0 ? 0 : begin;
  end = end > num ? num : end;
  int64_t best[kRoom];
  const bool known = is_finite(q) && begin < end;
  const int64_t limit = limit_bits << 32 | kLastRow;
  if (known) {
    int64_t place = begin, above = end;  // of the first key that is not less
    while (place < above) {
      const int64_t middle = (place + above) / 2;
      if (point_keys[middle] < keys[i]) {
        place = middle + 1;
      } else {
        above = middle;
      }
    }
    const Tree tree{sorted, rows, boxes, &levels, num, (num + kLeaf - 1) / kLeaf * kLeaf};
    const int64_t worst = tree.bound(q, place, begin, end, k, limit);
#pragma unroll
    for (int j = 0; j < kRoom; ++j) best[j] = j < kRoom - k ? -1 : worst + 1;
    walk(tree, q, begin, end, best);
  }
#pragma unroll
  for (int j = 0; j < kRoom; ++j) {
    if (j < kRoom - k) continue;
    const int64_t at = (j - (kRoom - k)) * num_queries + query;
    const int32_t row = known ? static_cast<int32_t>(best[j]) : kNoRow;
    table[at] = row == kNoRow ? -1 : row;
    squared[at] = row == kNoRow ? float_of(kInfinityBits) : squared_of(best[j]);
  }
}
