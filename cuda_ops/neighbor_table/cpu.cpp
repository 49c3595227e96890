// Neighbour tables, look-ups and 2 x 2 x 2 down-sampling of sorted keys.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/block_index.h"
#include "../runtime/include/morton.h"
#include "../runtime/include/parallel.h"

using namespace pc3d;

namespace {

constexpr int kMaxTaps = 125;
constexpr int kCodes = 64;               // voxels of a block
constexpr int kMaxSlots = 8 * kMaxTaps;  // an offset leads from a block to at most 8 others
constexpr int64_t kBlocksPerTask = 64;

constexpr int kParities = 8;  // places of a block in its group of 2 x 2 x 2
constexpr int kGroupAxisBits = kAxisBits - 3;
constexpr int kGroupBatchShift = 3 * kGroupAxisBits;
constexpr uint64_t kGroupAxis = (uint64_t{1} << kGroupAxisBits) - 1;

// The groups that hold the blocks around a block, which depend on the place of that block in its
// own.
struct View {
  int num_groups;
  int16_t group_shift[kMaxSlots][3];  // in groups
  uint64_t shift_bits[kMaxSlots][3];  // the same as key bits, modulo the range of an axis
  uint16_t slot_group[kMaxSlots];     // where each slot's block is: in which of the groups,
  uint8_t slot_place[kMaxSlots];      // and at which place there
};

// Where an offset leads from each place in a block: to which of the blocks around ("slots"), and
// where in it.
struct Reach {
  int num_slots;
  int16_t slot_shift[kMaxSlots][3];   // in blocks
  uint16_t target[kCodes][kMaxTaps];  // slot * kCodes + place there
  View views[kParities];

  void build(const int32_t* offsets, int64_t num_taps) {
    num_slots = 0;
    for (int64_t tap = 0; tap < num_taps; ++tap) {
      for (int place = 0; place < kCodes; ++place) {
        int16_t shift[3];
        uint64_t bits = 0;
        for (int axis = 0; axis < 3; ++axis) {
          const int moved = static_cast<int>(gather(place >> (2 - axis))) + offsets[3 * tap + axis];
          shift[axis] = static_cast<int16_t>(moved >> 2);  // floor
          bits |= spread_axis(static_cast<uint64_t>(moved & 3), axis);
        }
        const int slot = find(shift, slot_shift, num_slots);
        target[place][tap] = static_cast<uint16_t>(slot * kCodes + static_cast<int>(bits));
      }
    }
    for (int parity = 0; parity < kParities; ++parity) build_view(parity, views[parity]);
  }

  // The blocks around a block, in the order of the slots. Legal voxels keep a border that no offset
  // crosses, so that adding shifts modulo the range finds nothing on the other side.
  void look_around(const BlockIndex& index, int64_t block_key, Block* around) const {
    const View& view = views[block_key & (kParities - 1)];
    const uint64_t key = static_cast<uint64_t>(block_key) >> 3;
    const uint64_t cloud = key >> kGroupBatchShift << kGroupBatchShift;
    Group groups[kMaxSlots];
    for (int g = 0; g < view.num_groups; ++g) {
      uint64_t moved = cloud;
      for (int axis = 0; axis < 3; ++axis) {
        const uint64_t mask = spread_axis(kGroupAxis, axis);
        moved |= ((key | ~mask) + view.shift_bits[g][axis]) & mask;  // carries skip foreign bits
      }
      groups[g] = index.find_group(moved);
    }
    for (int s = 0; s < num_slots; ++s) {
      around[s] = index.block(groups[view.slot_group[s]], view.slot_place[s]);
    }
  }

 private:
  // The number of `shift` in `known`, where it is added if it is new.
  static int find(const int16_t shift[3], int16_t (*known)[3], int& num) {
    for (int i = 0; i < num; ++i) {
      if (!memcmp(known[i], shift, sizeof(known[i]))) return i;
    }
    memcpy(known[num], shift, sizeof(known[num]));
    return num++;
  }

  void build_view(int parity, View& view) const {
    view.num_groups = 0;
    for (int s = 0; s < num_slots; ++s) {
      int16_t shift[3];
      int place = 0;
      for (int axis = 0; axis < 3; ++axis) {
        const int moved = (parity >> (2 - axis) & 1) + slot_shift[s][axis];
        shift[axis] = static_cast<int16_t>(moved >> 1);
        place |= (moved & 1) << (2 - axis);
      }
      const int group = find(shift, view.group_shift, view.num_groups);
      for (int axis = 0; axis < 3; ++axis) {
        view.shift_bits[group][axis] =
            spread_axis(static_cast<uint64_t>(shift[axis]) & kGroupAxis, axis);
      }
      view.slot_group[s] = static_cast<uint16_t>(group);
      view.slot_place[s] = static_cast<uint8_t>(place);
    }
  }
};

}  // namespace

PC3D_EXPORT int64_t pc3d_index_bytes(int64_t num_keys) {
  return BlockIndex::workspace_bytes(num_keys);
}
PC3D_EXPORT int64_t pc3d_reach_bytes() { return sizeof(Reach); }
PC3D_EXPORT int64_t pc3d_max_taps() { return kMaxTaps; }

// table [num_taps, num]: the row at keys[n] + offsets[k], or -1. num < 2^31, num_taps <= kMaxTaps.
// Returns 0, or 1 if keys are not ascending and unique.
PC3D_EXPORT int64_t pc3d_neighbor_table(const int64_t* keys, int64_t num, const int32_t* offsets,
                                        int64_t num_taps, int32_t* table, void* index_space,
                                        void* reach_space, int64_t threads) {
  const BlockIndex index(keys, num, index_space);
  if (!index.ascending) return 1;
  Reach& reach = *static_cast<Reach*>(reach_space);
  reach.build(offsets, num_taps);
  parallel_ranges(index.num_blocks, kBlocksPerTask, threads, [&](int64_t first, int64_t end) {
    Block around[kMaxSlots];
    for (int64_t b = first; b < end; ++b) {
      reach.look_around(index, index.block_keys[b], around);
      const Block& block = index.blocks[b];
      const int64_t end_row =
          static_cast<int64_t>(block.start) + __builtin_popcountll(block.occupancy);
      for (int64_t row = static_cast<int64_t>(block.start); row < end_row; ++row) {
        const uint16_t* target = reach.target[keys[row] & 63];
        int32_t* entry = table + row;
        for (int64_t tap = 0; tap < num_taps; ++tap, entry += num) {
          *entry = around[target[tap] / kCodes].row(target[tap] % kCodes);
        }
      }
    }
  });
  return 0;
}

// rows [num_queries] of the queries in keys [num], or -1. Returns 0, or 1 if keys are not ascending
// and unique.
PC3D_EXPORT int64_t pc3d_lookup(const int64_t* keys, int64_t num, const int64_t* queries,
                                int64_t num_queries, int32_t* rows, void* index_space,
                                int64_t threads) {
  constexpr int64_t kChunk = 4096;
  const BlockIndex index(keys, num, index_space);
  if (!index.ascending) return 1;
  parallel_ranges(num_queries, kChunk, threads, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      rows[i] = index.find(queries[i] >> 6).row(static_cast<int>(queries[i] & 63));
    }
  });
  return 0;
}

// Keys of the parents of sorted keys [num], ascending; `parents` has room for num. Returns their
// number, or -1 if keys are not ascending and unique.
PC3D_EXPORT int64_t pc3d_parents(const int64_t* keys, int64_t num, int64_t* parents) {
  // A key holds c + 2^17; its parent floor(c / 2) + 2^17 = ((c + 2^17) >> 1) + 2^16. The sum moves
  // the topmost bit of the shifted number up by one, and leaves its opposite behind.
  const uint64_t axes = (uint64_t{1} << kBatchShift) - 1;
  const uint64_t top = uint64_t{7} << (3 * (kAxisBits - 2));
  int64_t num_parents = 0, last = -1;
  for (int64_t row = 0; row < num; ++row) {
    if (row && keys[row] <= keys[row - 1]) return -1;
    if (keys[row] >> 3 == last) continue;
    last = keys[row] >> 3;
    const uint64_t key = static_cast<uint64_t>(keys[row]);
    const uint64_t half = (key & axes) >> 3;
    const uint64_t positive = half & top;
    parents[num_parents++] =
        static_cast<int64_t>((key & ~axes) | (half & ~top) | positive << 3 | (positive ^ top));
  }
  return num_parents;
}

// sizes [levels], zero before: how many voxels there are at stride 2^level. A voxel begins wherever
// a key differs from the one before in the bits of that level or above.
PC3D_EXPORT void pc3d_level_sizes(const int64_t* keys, int64_t num, int64_t levels,
                                  int64_t* sizes) {
  for (int64_t row = 0; row < num; ++row) {
    uint64_t differing = row ? static_cast<uint64_t>(keys[row] ^ keys[row - 1]) : ~uint64_t{0};
    for (int64_t level = 0; level < levels && differing; ++level, differing >>= 3) ++sizes[level];
  }
}

// down [8, num_parents] and up [8, num]: the child at each tap, and the parent at the child's own
// tap; -1 elsewhere.
PC3D_EXPORT void pc3d_down_table(const int64_t* keys, int64_t num, int64_t num_parents,
                                 int32_t* down, int32_t* up) {
  memset(down, 0xFF, sizeof(int32_t) * 8 * num_parents);
  memset(up, 0xFF, sizeof(int32_t) * 8 * num);
  int64_t parent = -1, last = -1;
  for (int64_t row = 0; row < num; ++row) {
    parent += keys[row] >> 3 != last;
    last = keys[row] >> 3;
    const int64_t tap = keys[row] & 7;
    down[tap * num_parents + parent] = static_cast<int32_t>(row);
    up[tap * num + row] = static_cast<int32_t>(parent);
  }
}
