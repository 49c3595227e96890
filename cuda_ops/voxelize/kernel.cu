// Voxels of points, and sums over the points of a voxel (op.py).
#include "device.cuh"
#include "scalar.cuh"

using namespace pc3d;

// 1 where a sorted key differs from the one before it.
PC3D_KERNEL mark_voxels(const int64_t* sorted, int64_t n, int32_t* begins) {
  const int64_t i = thread();
  if (i < n) begins[i] = i == 0 || sorted[i] != sorted[i - 1];
}

// From sorted keys, the points' rows in that order, and the running sum of `begins`: the voxel of
// every point, the key of every voxel, and where its points begin in that order.
PC3D_KERNEL voxels(const int64_t* sorted, const int64_t* order, const int64_t* ends, int64_t n,
                   int64_t* inverse, int64_t* unique, int64_t* starts) {
  const int64_t i = thread();
  if (i >= n) return;
  const int64_t voxel = ends[i] - 1;
  inverse[order[i]] = voxel;
  if (i == 0 || ends[i - 1] != ends[i]) {
    unique[voxel] = sorted[i];
    starts[voxel] = i;
  }
}

// best [voxels], the largest int64 before: the smallest priority of each voxel's points. `beyond`
// is set for points of voxels that are not there.
PC3D_KERNEL smallest(const int64_t* point2voxel, const int64_t* priority, int64_t n,
                     int64_t voxels, long long* best, uint8_t* beyond) {
  const int64_t i = thread();
  if (i >= n) return;
  const int64_t voxel = point2voxel[i];
  if (voxel < 0 || voxel >= voxels) {
    complain(beyond);
  } else {
    atomicMin(best + voxel, static_cast<long long>(priority[i]));
  }
}

// rows [voxels]: the point that has it.
PC3D_KERNEL representatives(const int64_t* point2voxel, const int64_t* priority, int64_t n,
                            int64_t voxels, const long long* best, int64_t* rows) {
  const int64_t i = thread();
  if (i >= n) return;
  const int64_t voxel = point2voxel[i];
  if (voxel >= 0 && voxel < voxels && best[voxel] == priority[i]) rows[voxel] = i;
}

// y[r] = sum over i in [starts[r], starts[r + 1]) of weight[i] * x[rows[i]]; in that order, so that
// the sum is the same every time. Weights are 1 where `weight` is null, and where `mean` is not 0,
// the sum is divided by the number of its terms.
PC3D_KERNEL segment_sum(const Scalar* x, int64_t channels, const int64_t* rows,
                        const float* weight, const int64_t* starts, int64_t num, int64_t mean,
                        Scalar* y) {
  const int64_t lanes = channels / kWidth, i = thread();
  if (i >= num * lanes) return;
  const int64_t row = i / lanes, channel = i % lanes * kWidth;
  const int64_t begin = starts[row], end = starts[row + 1];
  float sum[kWidth] = {};
  for (int64_t term = begin; term < end; ++term) {
    const float factor = weight ? weight[term] : 1.0f;
    const Vector values = load(x + rows[term] * channels + channel);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) sum[lane] += factor * to_float(values.lane[lane]);
  }
  if (mean) {
    for (int lane = 0; lane < kWidth; ++lane) sum[lane] /= static_cast<float>(end - begin);
  }
  store(y + row * channels + channel, sum);
}
