// Exact farthest point sampling with buckets of near points (QuickFPS, Han et al. 2023, arXiv
// 2208.08795): a pick looks only at buckets that it may change.
//
// Points are sorted into a k-d tree of three levels: groups, buckets of a group, points of a
// bucket. A box keeps the largest distance of its points to what has been picked; a pick that is no
// nearer to the box than that changes none of them. Distances are rounded monotonically, so the
// distance to a box, computed by the same operations, is never above the distance to a point in it:
// the same rows come out as without a tree.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"
#include "../runtime/include/squared_distance.h"

using namespace pc3d;

namespace {

constexpr int64_t kBucket = 64;          // points
constexpr int64_t kGroup = 64;           // buckets
constexpr int64_t kSortedSamples = 100;  // for fewer, sorting costs more than it saves
constexpr int kGuesses = 9;
constexpr float kInfinity = __builtin_inff();
constexpr float kPicked = -1;  // the distance of what is picked, or is no point

typedef int32_t Lanes __attribute__((vector_size(4 * kLanes)));

// One bit for each lane that is not 0.
PC3D_INLINE uint32_t bits_of(Lanes lanes) {
#if defined(__AVX512F__) && PC3D_LANES == 16
  const __m512i all = reinterpret_cast<__m512i>(lanes);
  return _mm512_test_epi32_mask(all, all);
#elif defined(__AVX2__) && PC3D_LANES == 8
  return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(lanes)));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(lanes[i] & 1) << i;
  return bits;
#endif
}

PC3D_INLINE Vec smaller(Vec a, Vec b) { return a < b ? a : b; }

PC3D_INLINE float largest_lane(Vec a) {
  float lane[kLanes];
  store(lane, a);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  }
  return lane[0];
}

struct Point {
  float at[3];
  int32_t row;
};

// The farthest of some items that lie next to each other: the largest distance, of equal ones the
// smallest row. `num` is a multiple of kLanes.
PC3D_INLINE int64_t farthest(const float* distance, const int32_t* row, int64_t num) {
  Vec most = load(distance);
  for (int64_t i = kLanes; i < num; i += kLanes) most = larger(most, load(distance + i));
  const Vec best = broadcast(largest_lane(most));
  int64_t found = -1;
  for (int64_t i = 0; i < num; i += kLanes) {
    for (uint32_t bits = bits_of(load(distance + i) == best); bits; bits &= bits - 1) {
      const int64_t item = i + __builtin_ctz(bits);
      if (found < 0 || row[item] < row[found]) found = item;
    }
  }
  return found;
}

// Boxes, and of each one the farthest point: how far, its row in the cloud, and which box or point
// of the level below it is.
struct Boxes {
  float* low[3];
  float* high[3];
  float* distance;
  int32_t* row;
  int32_t* from;

  static constexpr int64_t kArrays = 9;

  void lay_out(float*& memory, int64_t num) {
    for (int axis = 0; axis < 3; ++axis) low[axis] = memory + axis * num;
    for (int axis = 0; axis < 3; ++axis) high[axis] = memory + (3 + axis) * num;
    distance = memory + 6 * num;
    row = reinterpret_cast<int32_t*>(memory + 7 * num);
    from = reinterpret_cast<int32_t*>(memory + 8 * num);
    memory += kArrays * num;
    for (int64_t i = 0; i < num; ++i) clear(i);
  }

  void clear(int64_t i) {
    for (int axis = 0; axis < 3; ++axis) low[axis][i] = kInfinity;
    for (int axis = 0; axis < 3; ++axis) high[axis][i] = -kInfinity;
    distance[i] = kPicked;
    row[i] = from[i] = INT32_MAX;
  }

  void include(int64_t i, const float* from_low, const float* to_high) {
    for (int axis = 0; axis < 3; ++axis) {
      if (from_low[axis] < low[axis][i]) low[axis][i] = from_low[axis];
      if (to_high[axis] > high[axis][i]) high[axis][i] = to_high[axis];
    }
  }

  // Which of the kLanes boxes from `first` on a pick may change.
  PC3D_INLINE uint32_t reached(int64_t first, const Vec* pick) const {
    Vec gap[3];
    for (int axis = 0; axis < 3; ++axis) {
      const Vec below = load(low[axis] + first) - pick[axis];
      const Vec above = pick[axis] - load(high[axis] + first);
      gap[axis] = larger(larger(below, above), Vec{});
    }
    return bits_of(squared_distance(gap[0], gap[1], gap[2]) < load(distance + first));
  }
};

int64_t num_buckets(int64_t points) { return ceil_div(points, kBucket); }
int64_t num_groups(int64_t points) { return ceil_div(num_buckets(points), kGroup); }
int64_t bucket_space(int64_t points) { return round_up(num_buckets(points), kGroup); }
int64_t group_space(int64_t points) { return round_up(num_groups(points), kLanes); }

int64_t floats_of(int64_t points) {
  const int64_t slots = num_buckets(points) * kBucket;
  return 4 * points + 5 * slots + Boxes::kArrays * (bucket_space(points) + group_space(points));
}

// Brings the points whose coordinate is below `pivot` (kOrEqual: or just that) to the front;
// returns how many there are. Without branches, which would be guessed wrongly half of the time.
template <bool kOrEqual>
int64_t partition(Point* points, int64_t num, int axis, float pivot) {
  int64_t front = 0;
  for (int64_t i = 0; i < num; ++i) {
    const Point point = points[i];
    points[i] = points[front];
    points[front] = point;
    front += kOrEqual ? point.at[axis] <= pivot : point.at[axis] < pivot;
  }
  return front;
}

// About the coordinate with `wanted` smaller ones, from a sample of the points.
float guess(const Point* points, int64_t num, int64_t wanted, int axis, uint32_t& random) {
  float sample[kGuesses];
  for (int i = 0; i < kGuesses; ++i) {
    random = random * 1664525u + 1013904223u;
    const float at = points[static_cast<uint64_t>(random) * num >> 32].at[axis];
    int place = i;
    for (; place > 0 && sample[place - 1] > at; --place) sample[place] = sample[place - 1];
    sample[place] = at;
  }
  return sample[wanted * kGuesses / num];
}

// Brings the `wanted` points with the smallest coordinates to the front.
void select(Point* points, int64_t num, int64_t wanted, int axis, uint32_t& random) {
  while (wanted > 0 && wanted < num) {
    const float pivot = guess(points, num, wanted, axis, random);
    int64_t front = partition<false>(points, num, axis, pivot);
    if (front == 0) {  // the pivot is the smallest there is, and perhaps all points have it
      front = partition<true>(points, num, axis, pivot);
      if (wanted <= front) return;
    }
    if (wanted < front) {
      num = front;
    } else {
      points += front, num -= front, wanted -= front;
    }
  }
}

// Sorts points so that each bucket, and each group of buckets, is a cell of a k-d tree.
void sort_into_buckets(Point* points, int64_t num, uint32_t& random) {
  while (num > kBucket) {
    float low[3] = {kInfinity, kInfinity, kInfinity};
    float high[3] = {-kInfinity, -kInfinity, -kInfinity};
    for (int64_t i = 0; i < num; ++i) {
      for (int axis = 0; axis < 3; ++axis) {
        const float at = points[i].at[axis];
        low[axis] = at < low[axis] ? at : low[axis];
        high[axis] = at > high[axis] ? at : high[axis];
      }
    }
    int axis = 0;
    for (int other = 1; other < 3; ++other) {
      if (high[other] - low[other] > high[axis] - low[axis]) axis = other;
    }
    const int64_t unit = num > kBucket * kGroup ? kBucket * kGroup : kBucket;
    const int64_t left = ceil_div(num, unit) / 2 * unit;
    select(points, num, left, axis, random);
    sort_into_buckets(points, left, random);
    points += left, num -= left;
  }
}

class Cloud {
 public:
  Cloud(const float* points, int64_t num, int64_t num_samples, float* memory) : num_(num) {
    const int64_t slots = num_buckets(num) * kBucket;
    Point* sorted = reinterpret_cast<Point*>(memory);
    memory += 4 * num;
    for (int axis = 0; axis < 3; ++axis) at_[axis] = memory + axis * slots;
    distance_ = memory + 3 * slots;
    row_ = reinterpret_cast<int32_t*>(memory + 4 * slots);
    memory += 5 * slots;
    buckets_.lay_out(memory, bucket_space(num));
    groups_.lay_out(memory, group_space(num));

    for (int64_t i = 0; i < num; ++i) {
      memcpy(sorted[i].at, points + 3 * i, sizeof(sorted[i].at));
      sorted[i].row = static_cast<int32_t>(i);
    }
    uint32_t random = 1;
    if (num_samples >= kSortedSamples) sort_into_buckets(sorted, num, random);
    for (int64_t i = 0; i < slots; ++i) {
      const Point& point = sorted[i < num ? i : num - 1];
      for (int axis = 0; axis < 3; ++axis) at_[axis][i] = point.at[axis];
      distance_[i] = i < num ? kInfinity : kPicked;
      row_[i] = point.row;
      buckets_.include(i / kBucket, point.at, point.at);
      groups_.include(i / kBucket / kGroup, point.at, point.at);
    }
    for (int64_t b = 0; b < num_buckets(num); ++b) renew_bucket(b);
    for (int64_t g = 0; g < num_groups(num); ++g) renew_group(g);
  }

  // The row of the farthest point, which counts as picked from now on.
  int32_t pick() {
    const int64_t group = farthest(groups_.distance, groups_.row, group_space(num_));
    const int64_t bucket = groups_.from[group], slot = buckets_.from[bucket];
    distance_[slot] = kPicked;
    buckets_.distance[bucket] = groups_.distance[group] = kInfinity;  // surely to be looked at
    Vec at[3];
    for (int axis = 0; axis < 3; ++axis) at[axis] = broadcast(at_[axis][slot]);
    for (int64_t first = 0; first < group_space(num_); first += kLanes) {
      for (uint32_t bits = groups_.reached(first, at); bits; bits &= bits - 1) {
        visit_group(first + __builtin_ctz(bits), at);
      }
    }
    return row_[slot];
  }

 private:
  void renew_bucket(int64_t b) {
    const int64_t slot =
        b * kBucket + farthest(distance_ + b * kBucket, row_ + b * kBucket, kBucket);
    buckets_.distance[b] = distance_[slot];
    buckets_.row[b] = row_[slot];
    buckets_.from[b] = static_cast<int32_t>(slot);
  }

  void renew_group(int64_t g) {
    const int64_t first = g * kGroup;
    const int64_t b = first + farthest(buckets_.distance + first, buckets_.row + first, kGroup);
    groups_.distance[g] = buckets_.distance[b];
    groups_.row[g] = buckets_.row[b];
    groups_.from[g] = static_cast<int32_t>(b);
  }

  void visit_group(int64_t g, const Vec* pick) {
    for (int64_t first = g * kGroup; first < (g + 1) * kGroup; first += kLanes) {
      for (uint32_t bits = buckets_.reached(first, pick); bits; bits &= bits - 1) {
        visit_bucket(first + __builtin_ctz(bits), pick);
      }
    }
    // Distances only fall: while the farthest point stays where it was, it stays the farthest.
    const int32_t b = groups_.from[g];
    if (buckets_.distance[b] != groups_.distance[g] || buckets_.row[b] != groups_.row[g]) {
      renew_group(g);
    }
  }

  void visit_bucket(int64_t b, const Vec* pick) {
    PC3D_UNROLL
    for (int64_t i = b * kBucket; i < (b + 1) * kBucket; i += kLanes) {
      Vec gap[3];
      for (int axis = 0; axis < 3; ++axis) gap[axis] = load(at_[axis] + i) - pick[axis];
      const Vec found = squared_distance(gap[0], gap[1], gap[2]);
      store(distance_ + i, smaller(found, load(distance_ + i)));
    }
    if (distance_[buckets_.from[b]] != buckets_.distance[b]) renew_bucket(b);
  }

  int64_t num_;
  float* at_[3];
  float* distance_;
  int32_t* row_;
  Boxes buckets_, groups_;
};

}  // namespace

// Bytes of scratch memory for each thread.
PC3D_EXPORT int64_t pc3d_farthest_points_bytes(int64_t largest_cloud) {
  return 4 * floats_of(largest_cloud);
}

// rows [sum of num_samples], cloud by cloud, of points [.., 3], which are finite; offsets
// [num_clouds + 1], num_samples [num_clouds] and their sums before each cloud in `starts` fit them.
// The scratch memory holds pc3d_farthest_points_bytes for each of the threads.
PC3D_EXPORT int64_t pc3d_farthest_points(const float* points, const int64_t* offsets,
                                         const int64_t* num_samples, const int64_t* starts,
                                         int64_t num_clouds, int64_t largest_cloud, float* scratch,
                                         int64_t* rows, int64_t threads) {
  parallel_for(num_clouds, threads, [&](int64_t c, int thread) {
    if (num_samples[c] == 0) return;
    const int64_t first = offsets[c];
    Cloud cloud(points + 3 * first, offsets[c + 1] - first, num_samples[c],
                scratch + thread * floats_of(largest_cloud));
    for (int64_t i = 0; i < num_samples[c]; ++i) rows[starts[c] + i] = first + cloud.pick();
  });
  return 0;
}
