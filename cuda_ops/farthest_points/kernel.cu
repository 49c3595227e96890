// Exact farthest point sampling (op.py): a block of threads for each cloud.
#include "device.cuh"
#include "squared_distance.h"

using namespace pc3d;

namespace {

constexpr float kPicked = -1;  // the distance of what has been picked

union FloatBits {
  float value;
  uint32_t bits;
};

__device__ inline float infinity() {
  FloatBits all;
  all.bits = 0x7F800000u;
  return all.value;
}

__device__ inline bool finite(const float* point) {
  const float far = infinity();
  return fabsf(point[0]) < far && fabsf(point[1]) < far && fabsf(point[2]) < far;
}

// Larger for a point that is farther, of equally far ones for the smaller row; never 0.
__device__ inline Word rank_of(float distance, int64_t row) {
  FloatBits far;
  far.value = distance;
  return static_cast<Word>(far.bits) << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(row));
}

// The largest rank of the block, for every thread of it.
__device__ inline Word largest(Word mine) {
  __shared__ Word rank[PC3D_THREADS];
  const unsigned me = threadIdx.x;
  rank[me] = mine;
  __syncthreads();
  for (unsigned half = PC3D_THREADS / 2; half > 0; half /= 2) {
    if (me < half && rank[me + half] > rank[me]) rank[me] = rank[me + half];
    __syncthreads();
  }
  const Word found = rank[0];
  __syncthreads();
  return found;
}

}  // namespace

// rows [sum of num_samples], -1 before, of points [num_points, 3]; the picks of a cloud go to
// starts[cloud] and after. distance [num_points] is scratch memory. `misfit` is set for offsets
// that are not those of clouds and for too many samples, `infinite` for points that are not finite,
// which are at distance 0 from all others.
PC3D_KERNEL farthest_points(const float* points, int64_t num_points, const int64_t* offsets,
                            int64_t num_clouds, const int64_t* num_samples, const int64_t* starts,
                            float* distance, int64_t* rows, uint8_t* misfit, uint8_t* infinite) {
  const int64_t cloud = blockIdx.x, first = offsets[cloud], end = offsets[cloud + 1];
  const bool leads = cloud > 0 || first == 0, ends = cloud + 1 < num_clouds || end == num_points;
  const bool inside = 0 <= first && first <= end && end <= num_points;
  const int64_t num = inside ? end - first : 0;
  const int64_t wanted = num_samples[cloud] < num ? num_samples[cloud] : num;
  if (!leads || !ends || !inside || wanted < num_samples[cloud]) complain(misfit);
  if (num == 0) return;

  points += 3 * first, distance += first;
  for (int64_t i = threadIdx.x; i < num; i += PC3D_THREADS) {
    const bool good = finite(points + 3 * i);
    if (!good) complain(infinite);
    distance[i] = good ? infinity() : 0;
  }
  int64_t last = -1;
  for (int64_t pick = 0; pick < wanted; ++pick) {
    Word mine = 0;
    for (int64_t i = threadIdx.x; i < num; i += PC3D_THREADS) {
      float far = distance[i];
      if (far == kPicked) continue;
      if (last >= 0) {
        const float* p = points + 3 * i;
        const float* q = points + 3 * last;
        const float found = squared_distance(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
        if (found < far) far = found;
        if (i == last) far = kPicked;
        distance[i] = far;
        if (far == kPicked) continue;
      }
      const Word rank = rank_of(far, i);
      if (rank > mine) mine = rank;
    }
    const Word best = largest(mine);
    if (best == 0) return;  // clouds that overlap take points from each other
    last = 0xFFFFFFFFu - static_cast<uint32_t>(best);
    if (threadIdx.x == 0) rows[starts[cloud] + pick] = first + last;
  }
}
