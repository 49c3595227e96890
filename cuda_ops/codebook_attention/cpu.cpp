// Codebook attention forward, and the gradient of its values.
//
// A task owns a tile of output rows, which are neighbours in space. Tap by tap it lists the rows
// that have a neighbour and adds the neighbour's row times the tap's code, which stays in
// registers, to the tile's sums; then it mixes the sums of the codes. Nothing of the size of
// voxels x taps x channels or voxels x codes x channels exists, and nothing is scattered.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/parallel.h"
#include "depthwise.h"

using namespace pc3d;

PC3D_EXPORT int64_t pc3d_attention_scratch_bytes(int64_t channels) { return Tile::bytes(channels); }

// y [num, channels]: the codes' depthwise convolutions of v [num, channels], times choice [num,
// num_codes, groups] or, where that is null, 1. scratch: per thread. Returns 0, or 1 if a table
// names a row beyond num.
PC3D_EXPORT int64_t pc3d_attention(const float* v, const float* choice, const float* codes,
                                   const int32_t* const* tables, const int64_t* num_taps,
                                   int64_t num_codes, int64_t groups, int64_t num, int64_t channels,
                                   float* y, char* scratch, int64_t threads) {
  int64_t beyond = 0;
  parallel_for(ceil_div(num, kTileRows), threads, [&](int64_t task, int thread) {
    Tile tile(scratch, thread, channels);
    const int64_t first = task * kTileRows;
    const int64_t rows = num - first < kTileRows ? num - first : kTileRows;
    float* out = y + first * channels;
    memset(out, 0, sizeof(float) * rows * channels);
    const float* code = codes;
    for (int64_t d = 0; d < num_codes; ++d) {
      float* sums = choice == nullptr ? out : tile.sums;
      if (choice != nullptr) memset(sums, 0, sizeof(float) * rows * channels);
      for (int64_t tap = 0; tap < num_taps[d]; ++tap, code += channels) {
        list_pairs(tables[d] + tap * num + first, rows, num, tile.pairs);
        add_tap(tile.pairs, code, v, sums, channels);
      }
      if (choice == nullptr) continue;
      for (int64_t r = 0; r < rows; ++r) {
        spread(choice + ((first + r) * num_codes + d) * groups, groups, channels / groups,
               tile.share);
        multiply<true>(tile.share, sums + r * channels, out + r * channels, channels);
      }
    }
    if (tile.pairs.last >= num) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
  });
  return beyond;
}

// v_grad [num, channels] from grad [num, channels]: forward with the taps of every code in reverse,
// and the choice of the row that grad comes from. mixed: memory for [num, channels], not used where
// choice is null. Returns 0, or 1 if a table names a row beyond num.
PC3D_EXPORT int64_t pc3d_attention_grad_v(const float* grad, const float* choice,
                                          const float* codes, const int32_t* const* tables,
                                          const int64_t* num_taps, int64_t num_codes,
                                          int64_t groups, int64_t num, int64_t channels,
                                          float* v_grad, float* mixed, char* scratch,
                                          int64_t threads) {
  int64_t beyond = 0;
  const int64_t tiles = ceil_div(num, kTileRows);
  for (int64_t d = 0; d < num_codes; codes += num_taps[d++] * channels) {
    if (choice != nullptr) {
      parallel_for(tiles, threads, [&](int64_t task, int thread) {
        Tile tile(scratch, thread, channels);
        const int64_t first = task * kTileRows;
        const int64_t end = num - first < kTileRows ? num : first + kTileRows;
        for (int64_t n = first; n < end; ++n) {
          spread(choice + (n * num_codes + d) * groups, groups, channels / groups, tile.share);
          multiply<false>(tile.share, grad + n * channels, mixed + n * channels, channels);
        }
      });
    }
    const float* from = choice == nullptr ? grad : mixed;
    parallel_for(tiles, threads, [&](int64_t task, int thread) {
      Tile tile(scratch, thread, channels);
      const int64_t first = task * kTileRows;
      const int64_t rows = num - first < kTileRows ? num - first : kTileRows;
      float* out = v_grad + first * channels;
      if (d == 0) memset(out, 0, sizeof(float) * rows * channels);
      for (int64_t tap = 0; tap < num_taps[d]; ++tap) {
        list_pairs(tables[d] + tap * num + first, rows, num, tile.pairs);
        add_tap(tile.pairs, codes + (num_taps[d] - 1 - tap) * channels, from, out, channels);
      }
      if (tile.pairs.last >= num) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
    });
  }
  return beyond;
}
