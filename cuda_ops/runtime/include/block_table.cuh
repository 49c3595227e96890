// Rows of voxels by key, in constant time: blocks of 4 x 4 x 4 voxels in a hash table.
//
// Keys are sorted, so the voxels of a block are consecutive rows, and the row of a voxel is
//     start[block] + popcount(occupancy[block] below its bit).
#pragma once
#include "device.cuh"
#include "morton.h"

namespace pc3d {

constexpr uint64_t kEmptySlot = ~uint64_t{0};

struct BlockTable {
  Word* keys;                // [slots] key >> 6, or kEmptySlot
  const uint64_t* occupancy;  // [slots] bit c: the voxel with `key & 63 == c` exists
  const int32_t* start;       // [slots] row of the first voxel
  int64_t slots;              // a power of two, more than there are blocks

  // The slot of a block, or the empty one where it would stand.
  __device__ int64_t find(uint64_t block) const {
    int64_t slot = first(block);
    while (keys[slot] != block && keys[slot] != kEmptySlot) slot = next(slot);
    return slot;
  }

  // The row of a voxel, or -1.
  __device__ int32_t row(int64_t key) const {
    const int64_t slot = find(static_cast<uint64_t>(key) >> 6);
    if (keys[slot] == kEmptySlot) return -1;
    const uint64_t bit = uint64_t{1} << (key & 63), occupied = occupancy[slot];
    return occupied & bit ? start[slot] + __popcll(occupied & (bit - 1)) : -1;
  }

  // A slot for a block that no other thread inserts.
  __device__ int64_t insert(uint64_t block) const {
    int64_t slot = first(block);
    while (atomicCAS(keys + slot, static_cast<Word>(kEmptySlot), static_cast<Word>(block)) !=
           kEmptySlot) {
      slot = next(slot);
    }
    return slot;
  }

 private:
  __device__ int64_t first(uint64_t key) const {  // the finalizer of splitmix64
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9;
    key = (key ^ key >> 27) * 0x94D049BB133111EB;
    return static_cast<int64_t>((key ^ key >> 31) & static_cast<uint64_t>(slots - 1));
  }
  __device__ int64_t next(int64_t slot) const { return (slot + 1) & (slots - 1); }
};

}  // namespace pc3d
