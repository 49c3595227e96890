// Rows of voxels by key, in constant time: blocks of 4 x 4 x 4 voxels with a bit per voxel.
//
// Keys are sorted, so the voxels of a block are consecutive rows and the row of a voxel is
//     start[block] + popcount(occupancy[block] below its bit).
// Blocks are found in the same way through groups of 2 x 2 x 2 blocks; only groups are hashed.
#pragma once
#include <stdint.h>

#include "morton.h"

namespace pc3d {

struct Block {
  uint64_t occupancy;  // bit c: the voxel with `key & 63 == c` exists
  uint64_t start;      // row of the first voxel

  // The row of voxel `code` of this block, or -1.
  int32_t row(int code) const {
    const uint64_t below = (uint64_t{1} << code) - 1;
    const int32_t rank = static_cast<int32_t>(start) + __builtin_popcountll(occupancy & below);
    const int32_t present = static_cast<int32_t>(occupancy >> code & 1);
    return rank | (present - 1);  // without a branch: half of all neighbours are missing
  }
};

struct Group {
  uint64_t key;  // block key >> 3; kNoGroup: an empty slot
  int32_t first_block;
  uint32_t occupancy;
};

constexpr uint64_t kNoGroup = ~uint64_t{0};

struct BlockIndex {
  Block* blocks;
  int64_t* block_keys;  // key >> 6
  Group* slots;
  uint64_t slot_mask;
  int64_t num_blocks;
  bool ascending;  // false: the keys are not ascending and unique, and the index is of no use

  // Slots of the hash table for `num_keys` voxels: a power of two, at least twice the groups.
  static int64_t num_slots(int64_t num_keys) {
    int64_t slots = 16;
    while (slots < 2 * num_keys) slots *= 2;
    return slots;
  }

  static int64_t workspace_bytes(int64_t num_keys) {
    return num_keys * (sizeof(Block) + sizeof(int64_t)) + num_slots(num_keys) * sizeof(Group);
  }

  BlockIndex(const int64_t* keys, int64_t num_keys, void* workspace) {
    slots = static_cast<Group*>(workspace);
    blocks = reinterpret_cast<Block*>(slots + num_slots(num_keys));
    block_keys = reinterpret_cast<int64_t*>(blocks + num_keys);
    add_blocks(keys, num_keys);
    add_groups();
  }

  // The group with this key (a block's key >> 3), or an empty one.
  Group find_group(uint64_t key) const {
    for (uint64_t slot = hash(key);; ++slot) {
      const Group& group = slots[slot & slot_mask];
      if (group.key == key) return group;
      if (group.key == kNoGroup) return {kNoGroup, 0, 0};
    }
  }

  // The block at `place` (a block's key & 7) of a group, or an empty one.
  Block block(const Group& group, int place) const {
    const uint32_t bit = 1u << place;
    if (!(group.occupancy & bit)) return {0, 0};
    return blocks[group.first_block + __builtin_popcount(group.occupancy & (bit - 1))];
  }

  Block find(int64_t block_key) const {
    return block(find_group(static_cast<uint64_t>(block_key) >> 3),
                 static_cast<int>(block_key & 7));
  }

 private:
  static uint64_t hash(uint64_t key) {  // the finalizer of splitmix64
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9;
    key = (key ^ key >> 27) * 0x94D049BB133111EB;
    return key ^ key >> 31;
  }

  void add_blocks(const int64_t* keys, int64_t num_keys) {
    num_blocks = 0;
    ascending = true;
    for (int64_t row = 0; row < num_keys; ++row) {
      const int64_t key = keys[row] >> 6;
      ascending &= row == 0 || keys[row] > keys[row - 1];
      if (row == 0 || key != block_keys[num_blocks - 1]) {
        blocks[num_blocks] = {0, static_cast<uint64_t>(row)};
        block_keys[num_blocks++] = key;
      }
      blocks[num_blocks - 1].occupancy |= uint64_t{1} << (keys[row] & 63);
    }
  }

  void add_groups() {
    int64_t num_groups = 0;
    for (int64_t b = 0; b < num_blocks; ++b) {
      num_groups += b == 0 || block_keys[b] >> 3 != block_keys[b - 1] >> 3;
    }
    slot_mask = static_cast<uint64_t>(num_slots(num_groups)) - 1;
    for (uint64_t slot = 0; slot <= slot_mask; ++slot) slots[slot].key = kNoGroup;
    Group* group = nullptr;
    for (int64_t b = 0; b < num_blocks; ++b) {
      const uint64_t key = static_cast<uint64_t>(block_keys[b]) >> 3;
      if (group == nullptr || group->key != key) {
        uint64_t slot = hash(key);
        while (slots[slot & slot_mask].key != kNoGroup) ++slot;
        group = &slots[slot & slot_mask];
        *group = {key, static_cast<int32_t>(b), 0};
      }
      group->occupancy |= 1u << (block_keys[b] & 7);
    }
  }
};

}  // namespace pc3d
