// The neighbour tables of several codes, as one parameter of a kernel.
#pragma once
#include "device.cuh"

namespace pc3d {

constexpr int kMaxTables = 64;

struct Tables {
  const int32_t* table[kMaxTables];  // [taps, n]
  int64_t taps[kMaxTables];
};

// The row of one neighbour, or -1; a row that is not there is no neighbour either.
__device__ inline int64_t neighbor(const int32_t* table, int64_t place, int64_t n,
                                   uint8_t* beyond) {
  const int64_t row = table[place];
  if (row < n) return row;
  complain(beyond);
  return -1;
}

// Taps whose neighbours a thread knows before it reads any of their features: reads that wait for
// one another are what takes the time.
constexpr int kTapsAtOnce = 9;

// Neighbours of `row` at kTapsAtOnce taps from `first` on, or -1. A row that is not there is no
// neighbour either, and sets `beyond`.
struct Neighbors {
  int32_t row[kTapsAtOnce];

  __device__ Neighbors(const int32_t* table, int64_t first, int64_t taps, int64_t place, int64_t n,
                       bool& beyond) {
#pragma unroll
    for (int t = 0; t < kTapsAtOnce; ++t) {
      row[t] = first + t < taps ? table[(first + t) * n + place] : -1;
    }
#pragma unroll
    for (int t = 0; t < kTapsAtOnce; ++t) {
      if (row[t] < n) continue;
      row[t] = -1;
      beyond = true;
    }
  }
};

}  // namespace pc3d
