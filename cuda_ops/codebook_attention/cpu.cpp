// Codebook attention forward, and the gradient of its values.
//
// A task owns a tile of output rows, which are neighbours in space. Tap by tap it adds
// the neighbours' rows times the tap's code, which stays in registers, to the tile's sums; then it
// mixes the sums of the codes. Nothing of the size of voxels x taps x channels or voxels x codes x
// channels exists, and nothing is scattered.
#include <stdint.h>
#include <string.h>

#include "depthwise.h"

using namespace pc3d;

PC3D_EXPORT int64_t pc3d_attention_scratch_bytes(int64_t channels) { return Tile::bytes(channels); }

// y [num, channels]: the codes' depthwise convolutions of v [num, channels], times choice [num,
// num_codes, groups] or, where that is null, 1. scratch: per thread.
PC3D_EXPORT void pc3d_attention(const float* v, const float* choice, const float* codes,
                                const PackedTable* tables, int64_t num_codes, int64_t groups,
                                int64_t num, int64_t channels, float* y, char* scratch,
                                int64_t threads) {
  for_tiles(num, threads, [&](int64_t first, int64_t rows, int thread) {
    Tile tile(scratch, thread, channels);
    const Groups split(groups, channels, tile.group_memory);
    float* out = y + first * channels;
    memset(out, 0, sizeof(float) * rows * channels);
    const float* code = codes;
    for (int64_t d = 0; d < num_codes; ++d) {
      float* sums = choice == nullptr ? out : tile.sums;
      if (choice != nullptr) memset(sums, 0, sizeof(float) * rows * channels);
      for (int64_t tap = 0; tap < tables[d].num_taps; ++tap, code += channels) {
        add_tap<kUnmixed>(tables[d].pairs(first / kTileRows, tap), code, v, {&split, codes, 0},
                          sums, channels);
      }
      for (int64_t r = 0; choice != nullptr && r < rows; ++r) {
        mix<true>(split, choice + ((first + r) * num_codes + d) * groups, sums + r * channels,
                  channels, out + r * channels);
      }
    }
  });
}

// v_grad [num, channels] from grad [num, channels]: forward with the taps of every code in reverse,
// and the choice of the row that grad comes from.
PC3D_EXPORT void pc3d_attention_grad_v(const float* grad, const float* choice, const float* codes,
                                       const PackedTable* tables, int64_t num_codes, int64_t groups,
                                       int64_t num, int64_t channels, float* v_grad, char* scratch,
                                       int64_t threads) {
  for_tiles(num, threads, [&](int64_t first, int64_t rows, int thread) {
    Tile tile(scratch, thread, channels);
    const Groups split(groups, channels, tile.group_memory);
    float* out = v_grad + first * channels;
    memset(out, 0, sizeof(float) * rows * channels);
    const float* code = codes;  // past the taps of a code, which are taken in reverse
    for (int64_t d = 0; d < num_codes; ++d) {
      code += tables[d].num_taps * channels;
      const RowChoice own{&split, choice == nullptr ? grad : choice + d * groups,
                          choice == nullptr ? 0 : num_codes * groups};
      for (int64_t tap = 0; tap < tables[d].num_taps; ++tap) {
        const Pairs pairs = tables[d].pairs(first / kTileRows, tap);
        const float* weight = code - (tap + 1) * channels;
        if (choice == nullptr) {
          add_tap<kUnmixed>(pairs, weight, grad, own, out, channels);
        } else if (split.eight) {
          add_tap<kOfEight>(pairs, weight, grad, own, out, channels);
        } else {
          add_tap<kSpread>(pairs, weight, grad, own, out, channels);
        }
      }
    }
  });
}
