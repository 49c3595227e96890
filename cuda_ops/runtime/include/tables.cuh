// The neighbour tables of several codes, as one parameter of a kernel.
#pragma once
#include "device.cuh"

namespace pc3d {

constexpr int kMaxTables = 64;

struct Tables {
  const int32_t* table[kMaxTables];  // [taps, n]
  int64_t taps[kMaxTables];
};

// The row of a neighbour, or -1; a row that is not there is no neighbour either.
__device__ inline int64_t neighbor(const int32_t* table, int64_t place, int64_t n,
                                   uint8_t* beyond) {
  const int64_t row = table[place];
  if (row < n) return row;
  complain(beyond);
  return -1;
}

}  // namespace pc3d
