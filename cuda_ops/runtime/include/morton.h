// Morton keys as in cuda_ops/morton/op.py: batch << 54 | interleave(x, y, z), each biased by 2^17,
// x in the most significant bit of each triple.
#pragma once
#include "portable.h"

namespace pc3d {

constexpr int kAxisBits = 18;
constexpr int64_t kBias = int64_t{1} << (kAxisBits - 1);
constexpr int kBatchShift = 3 * kAxisBits;
constexpr uint64_t kMaxCoordinate = kBias - (1 << 10);
constexpr int kMaxBatch = 512;

// Bit i of an 18-bit number to bit 3 i.
PC3D_BOTH uint64_t spread(uint64_t v) {
  v &= 0x3FFFF;
  v = (v | v << 32) & 0x001F00000000FFFF;
  v = (v | v << 16) & 0x001F0000FF0000FF;
  v = (v | v << 8) & 0x100F00F00F00F00F;
  v = (v | v << 4) & 0x10C30C30C30C30C3;
  return (v | v << 2) & 0x1249249249249249;
}

PC3D_BOTH uint64_t gather(uint64_t v) {
  v &= 0x1249249249249249 & ((uint64_t{1} << kBatchShift) - 1);
  v = (v | v >> 2) & 0x10C30C30C30C30C3;
  v = (v | v >> 4) & 0x100F00F00F00F00F;
  v = (v | v >> 8) & 0x001F0000FF0000FF;
  v = (v | v >> 16) & 0x001F00000000FFFF;
  return (v | v >> 32) & 0x3FFFF;
}

// The bits of one axis (0 = x) of a biased coordinate.
PC3D_BOTH uint64_t spread_axis(uint64_t biased, int axis) {
  return spread(biased) << (2 - axis);
}
PC3D_BOTH int64_t axis_of(uint64_t key, int axis) {
  return static_cast<int64_t>(gather(key >> (2 - axis))) - kBias;
}

}  // namespace pc3d
