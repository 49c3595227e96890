// The rows of a tile, tap by tap: what the kernels of codebook attention share.
#pragma once
#include <stdint.h>
#include <string.h>

#include "../runtime/include/groups.h"
#include "../runtime/include/packed.h"
#include "../runtime/include/simd.h"

namespace pc3d {

// Memory of one thread: two tiles of rows, and the groups of the vectors.
struct Tile {
  float* sums;   // [kTileRows, channels]
  float* mixed;  // [kTileRows, channels]
  int32_t* group_memory;

  static int64_t num_floats(int64_t channels) { return 2 * kTileRows * channels + kLanes; }
  static int64_t bytes(int64_t channels) {
    return static_cast<int64_t>(sizeof(float)) * num_floats(channels) +
           static_cast<int64_t>(sizeof(int32_t)) * Groups::num_entries(channels) + 64;
  }

  Tile(char* memory, int64_t thread, int64_t channels) {
    memory += thread * bytes(channels);
    sums = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    mixed = sums + kTileRows * channels;
    group_memory = reinterpret_cast<int32_t*>(sums + num_floats(channels));
  }
};

// What the rows of x are multiplied with as they are read: the choice of their own code.
struct RowChoice {
  const Groups* groups;
  const float* choice;  // of this code, of row 0
  int64_t stride;       // from one row's choice to the next's
};

enum Mixing { kUnmixed, kOfEight, kSpread };

// sums [place] += code * x [input] over the pairs of a tap, in the NV vectors from channel c on.
template <int NV, Mixing M>
PC3D_INLINE void add_panel(const Pairs& pairs, const float* code, const float* x,
                           const RowChoice& choice, float* sums, int64_t channels, int64_t c) {
  Vec factor[NV];
  PC3D_UNROLL for (int v = 0; v < NV; ++v) factor[v] = load(code + c + v * kLanes);
  const int32_t* group = choice.groups->of_channel + c;
  for (int64_t i = 0; i < pairs.num; ++i) {
    const float* from = x + pairs.input[i] * channels + c;
    const float* share = choice.choice + pairs.input[i] * choice.stride;
    float* to = sums + pairs.place[i] * channels + c;
    Vec shares;
    if constexpr (M == kOfEight) shares = load_eight(share);
    PC3D_UNROLL for (int v = 0; v < NV; ++v) {
      Vec value = load(from + v * kLanes);
      if constexpr (M == kOfEight) value *= pick(shares, group + v * kLanes);
      if constexpr (M == kSpread) value *= choice.groups->spread(share, c / kLanes + v);
      store(to + v * kLanes, load(to + v * kLanes) + factor[v] * value);
    }
  }
}

// The same for the channels from c on that are whole vectors; returns the first one left.
template <int NV, Mixing M>
PC3D_INLINE int64_t add_panels(const Pairs& pairs, const float* code, const float* x,
                               const RowChoice& choice, float* sums, int64_t channels, int64_t c) {
  for (; c + NV * kLanes <= channels; c += NV * kLanes) {
    add_panel<NV, M>(pairs, code, x, choice, sums, channels, c);
  }
  if constexpr (NV > 1) return add_panels<NV / 2, M>(pairs, code, x, choice, sums, channels, c);
  return c;
}

template <Mixing M>
static inline void add_tap(const Pairs& pairs, const float* code, const float* x,
                           const RowChoice& choice, float* sums, int64_t channels) {
  int64_t rest = 0;
  if (M != kSpread || !choice.groups->narrow) {
    rest = add_panels<kRegisters / 2, M>(pairs, code, x, choice, sums, channels, 0);
  }
  if (rest == channels) return;
  for (int64_t i = 0; i < pairs.num; ++i) {
    const float* from = x + pairs.input[i] * channels;
    const float* share = choice.choice + pairs.input[i] * choice.stride;
    float* to = sums + pairs.place[i] * channels;
    for (int64_t c = rest; c < channels; ++c) {
      to[c] += code[c] * (M == kUnmixed ? from[c] : from[c] * share[choice.groups->of_channel[c]]);
    }
  }
}

}  // namespace pc3d
