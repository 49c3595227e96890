// Neighbour tables, lookups and the 2x2x2 kernel's maps over sorted keys (op.py).
#include "block_table.cuh"

using namespace pc3d;

// The blocks of keys [n]; the slots' keys are all empty before. The first voxel of a block inserts
// it. `unsorted` is set if keys are not ascending and unique.
PC3D_KERNEL index_blocks(const int64_t* keys, int64_t n, Word* slot_keys, uint64_t* occupancy,
                         int32_t* start, int64_t slots, uint8_t* unsorted) {
  const int64_t row = thread();
  if (row >= n) return;
  const int64_t key = keys[row], block = key >> 6;
  if (row > 0) {
    if (keys[row - 1] >= key) complain(unsorted);
    if (keys[row - 1] >> 6 == block) return;
  }
  uint64_t occupied = 0;
  for (int64_t i = row; i < n && i < row + 64 && keys[i] >> 6 == block; ++i) {
    occupied |= uint64_t{1} << (keys[i] & 63);
  }
  const int64_t slot = BlockTable{slot_keys, occupancy, start, slots}.insert(block);
  occupancy[slot] = occupied;
  start[slot] = static_cast<int32_t>(row);
}

// rows [m]: the row of every query, or -1.
PC3D_KERNEL look_up(const int64_t* queries, int64_t m, Word* slot_keys, const uint64_t* occupancy,
                    const int32_t* start, int64_t slots, int32_t* rows) {
  const int64_t i = thread();
  if (i >= m) return;
  rows[i] = BlockTable{slot_keys, occupancy, start, slots}.row(queries[i]);
}

// table [taps, n]; a row of blocks for every tap.
PC3D_KERNEL neighbors(const int64_t* keys, int64_t n, const int32_t* offsets, Word* slot_keys,
                      const uint64_t* occupancy, const int32_t* start, int64_t slots,
                      int32_t* table) {
  const int64_t row = thread(), tap = blockIdx.y;
  if (row >= n) return;
  const uint64_t key = static_cast<uint64_t>(keys[row]);
  uint64_t wanted = key >> kBatchShift << kBatchShift;
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t coordinate = axis_of(key, axis) + offsets[3 * tap + axis];
    wanted |= spread_axis(static_cast<uint64_t>(coordinate + kBias), axis);
  }
  table[tap * n + row] =
      BlockTable{slot_keys, occupancy, start, slots}.row(static_cast<int64_t>(wanted));
}

// sizes [levels]: how many voxels there are at stride 2^level. Two neighbours in the order of keys
// are different voxels at every level below the highest triple of bits in which they differ.
PC3D_KERNEL count_levels(const int64_t* keys, int64_t n, int64_t levels, Word* sizes) {
  __shared__ unsigned ends[64];
  if (threadIdx.x < 64) ends[threadIdx.x] = 0;
  __syncthreads();
  const int64_t row = thread();
  if (row < n) {
    const int64_t differing = row == 0 ? -1 : keys[row] ^ keys[row - 1];
    // The batch stands above all levels.
    const int64_t distinct = (63 - __clzll(differing)) / 3 + 1;
    if (differing != 0) atomicAdd(ends + (distinct < levels ? distinct : levels) - 1, 1u);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    uint64_t above = 0;
    for (int64_t level = levels - 1; level >= 0; --level) {
      above += ends[level];
      if (above) atomicAdd(sizes + level, static_cast<Word>(above));
    }
  }
}

// 1 where a voxel of half the resolution begins.
PC3D_KERNEL mark_parents(const int64_t* keys, int64_t n, int32_t* begins, uint8_t* unsorted) {
  const int64_t row = thread();
  if (row >= n) return;
  if (row > 0 && keys[row - 1] >= keys[row]) complain(unsorted);
  begins[row] = row == 0 || keys[row] >> 3 != keys[row - 1] >> 3;
}

// coarse_keys [m], down [8, m] and up [8, n] from ends [n], the running sum of `begins`.
PC3D_KERNEL down(const int64_t* keys, int64_t n, const int64_t* ends, int64_t m,
                 int64_t* coarse_keys, int32_t* down_table, int32_t* up_table) {
  const int64_t row = thread();
  if (row >= n) return;
  const int64_t key = keys[row], parent = ends[row] - 1;
  const int64_t tap = key & 7;
  for (int64_t k = 0; k < 8; ++k) {
    up_table[k * n + row] = k == tap ? static_cast<int32_t>(parent) : -1;
  }
  if (parent < 0 || parent >= m || (row > 0 && ends[row - 1] == ends[row])) return;
  uint64_t wanted = static_cast<uint64_t>(key) >> kBatchShift << kBatchShift;
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t half = axis_of(static_cast<uint64_t>(key), axis) >> 1;
    wanted |= spread_axis(static_cast<uint64_t>(half + kBias), axis);
  }
  coarse_keys[parent] = static_cast<int64_t>(wanted);
  for (int64_t k = 0, child = row; k < 8; ++k) {
    const bool present = child < n && keys[child] >> 3 == key >> 3 && (keys[child] & 7) == k;
    down_table[k * m + parent] = present ? static_cast<int32_t>(child++) : -1;
  }
}
