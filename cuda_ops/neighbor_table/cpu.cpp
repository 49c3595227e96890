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

constexpr int kBlockAxisBits = kAxisBits - 2;
constexpr uint64_t kBeyond = ~uint64_t{0};  // outside the range of keys

// The shifts that occur along one axis, in blocks.
struct Axis {
  int num;
  int shift[kMaxTaps];

  int find(int wanted) {
    for (int i = 0; i < num; ++i) {
      if (shift[i] == wanted) return i;
    }
    shift[num] = wanted;
    return num++;
  }
};

// Where an offset leads from each place in a block: to which of the blocks around, and where in it.
struct Reach {
  Axis axes[3];
  int num_slots;
  uint8_t slot_shift[kMaxSlots][3];   // the blocks around, as numbers of the axes' shifts
  uint16_t target[kMaxTaps][kCodes];  // slot * kCodes + place there

  void build(const int32_t* offsets, int64_t num_taps) {
    num_slots = axes[0].num = axes[1].num = axes[2].num = 0;
    for (int tap = 0; tap < num_taps; ++tap) {
      for (int place = 0; place < kCodes; ++place) {
        uint8_t shift[3];
        uint64_t bits = 0;
        for (int axis = 0; axis < 3; ++axis) {
          const int moved = static_cast<int>(gather(place >> (2 - axis))) + offsets[3 * tap + axis];
          shift[axis] = static_cast<uint8_t>(axes[axis].find(moved >> 2));  // floor
          bits |= spread_axis(static_cast<uint64_t>(moved & 3), axis);
        }
        target[tap][place] = static_cast<uint16_t>(find(shift) * kCodes + static_cast<int>(bits));
      }
    }
  }

  // The blocks around a block, in the order of the slots; those beyond the range of keys are empty.
  void look_around(const BlockIndex& index, int64_t block_key, Block* around) const {
    const uint64_t key = static_cast<uint64_t>(block_key);
    const uint64_t cloud = key >> (3 * kBlockAxisBits) << (3 * kBlockAxisBits);
    uint64_t bits[3][kMaxTaps];
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t at =
          static_cast<int64_t>(gather(key >> (2 - axis)) & ((1 << kBlockAxisBits) - 1));
      for (int i = 0; i < axes[axis].num; ++i) {
        const int64_t moved = at + axes[axis].shift[i];
        const bool legal = moved >= 0 && moved >> kBlockAxisBits == 0;
        bits[axis][i] = legal ? spread_axis(static_cast<uint64_t>(moved), axis) : kBeyond;
      }
    }
    Group last{kNoGroup, 0, 0};
    uint64_t last_key = kNoGroup;
    for (int s = 0; s < num_slots; ++s) {
      const uint8_t* shift = slot_shift[s];
      const uint64_t moved = cloud | bits[0][shift[0]] | bits[1][shift[1]] | bits[2][shift[2]];
      if (moved == kBeyond) {
        around[s] = {0, 0};
        continue;
      }
      if (moved >> 3 != last_key) last = index.find_group(last_key = moved >> 3);
      around[s] = index.block(last, static_cast<int>(moved & 7));
    }
  }

 private:
  int find(const uint8_t shift[3]) {
    for (int s = 0; s < num_slots; ++s) {
      if (!memcmp(slot_shift[s], shift, sizeof(slot_shift[s]))) return s;
    }
    memcpy(slot_shift[num_slots], shift, sizeof(slot_shift[0]));
    return num_slots++;
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
  parallel_for(ceil_div(index.num_blocks, kBlocksPerTask), threads, [&](int64_t task, int) {
    const int64_t end = index.num_blocks < (task + 1) * kBlocksPerTask
                            ? index.num_blocks
                            : (task + 1) * kBlocksPerTask;
    Block around[kMaxSlots];
    for (int64_t b = task * kBlocksPerTask; b < end; ++b) {
      reach.look_around(index, index.block_keys[b], around);
      const Block& block = index.blocks[b];
      const int num_rows = __builtin_popcountll(block.occupancy);
      uint8_t place[kCodes];
      for (int i = 0; i < num_rows; ++i)
        place[i] = static_cast<uint8_t>(keys[block.start + i] & 63);
      for (int tap = 0; tap < num_taps; ++tap) {
        int32_t* row = table + tap * num + block.start;
        for (int i = 0; i < num_rows; ++i) {
          const int target = reach.target[tap][place[i]];
          row[i] = around[target / kCodes].row(target % kCodes);
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
  parallel_for(ceil_div(num_queries, kChunk), threads, [&](int64_t chunk, int) {
    const int64_t end = num_queries < (chunk + 1) * kChunk ? num_queries : (chunk + 1) * kChunk;
    for (int64_t i = chunk * kChunk; i < end; ++i) {
      rows[i] = index.find(queries[i] >> 6).row(static_cast<int>(queries[i] & 63));
    }
  });
  return 0;
}

// Keys of the parents of sorted keys [num], ascending; `parents` has room for num. Returns their
// number.
PC3D_EXPORT int64_t pc3d_parents(const int64_t* keys, int64_t num, int64_t* parents) {
  // A key holds c + 2^17; its parent floor(c / 2) + 2^17 = ((c + 2^17) >> 1) + 2^16. The sum moves
  // the topmost bit of the shifted number up by one, and leaves its opposite behind.
  const uint64_t axes = (uint64_t{1} << kBatchShift) - 1;
  const uint64_t top = uint64_t{7} << (3 * (kAxisBits - 2));
  int64_t num_parents = 0, last = -1;
  for (int64_t row = 0; row < num; ++row) {
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
