// The rows of a tile, tap by tap: what the kernels of codebook attention share.
#pragma once
#include <stdint.h>
#include <string.h>

#include "../runtime/include/compress.h"
#include "../runtime/include/simd.h"

namespace pc3d {

constexpr int64_t kTileRows = 64;  // output rows of a tile

// Memory of one thread: two tiles of rows, and a list of pairs.
struct Tile {
  float* sums;   // [kTileRows, channels]
  float* mixed;  // [kTileRows, channels]
  float* share;  // [channels], and room for a vector more
  PairList pairs;

  static int64_t num_floats(int64_t channels) { return (2 * kTileRows + 1) * channels + kLanes; }
  static int64_t bytes(int64_t channels) {
    return static_cast<int64_t>(sizeof(float)) * num_floats(channels) +
           static_cast<int64_t>(sizeof(int32_t)) * 2 * (kTileRows + kListSlack) + 64;
  }

  Tile(char* memory, int64_t thread, int64_t channels) {
    memory += thread * bytes(channels);
    sums = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    mixed = sums + kTileRows * channels;
    share = mixed + kTileRows * channels;
    int32_t* input = reinterpret_cast<int32_t*>(sums + num_floats(channels));
    pairs = {input, input + kTileRows + kListSlack, 0, -1};
  }
};

// share [channels] = choice [groups], each for the channels of its group. The last vector of a
// group runs over into the next one, which is written after it.
static inline void spread(const float* choice, int64_t groups, int64_t width, float* share) {
  for (int64_t g = 0; g < groups; ++g) {
    const Vec value = broadcast(choice[g]);
    for (int64_t c = 0; c < width; c += kLanes) store(share + g * width + c, value);
  }
}

// to [channels] = a * b, or added to what is there.
template <bool Add>
static inline void multiply(const float* a, const float* b, float* to, int64_t channels) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const Vec product = load(a + c) * load(b + c);
    store(to + c, Add ? load(to + c) + product : product);
  }
  for (; c < channels; ++c) to[c] = Add ? to[c] + a[c] * b[c] : a[c] * b[c];
}

// sums [place] += code * x [input] over the pairs of a tap, in NV vectors of channels.
template <int NV>
PC3D_INLINE void add_panel(const PairList& pairs, const float* code, const float* x, float* sums,
                           int64_t channels) {
  Vec factor[NV];
  PC3D_UNROLL for (int v = 0; v < NV; ++v) factor[v] = load(code + v * kLanes);
  for (int64_t i = 0; i < pairs.num; ++i) {
    const float* from = x + pairs.input[i] * channels;
    float* to = sums + pairs.place[i] * channels;
    PC3D_UNROLL for (int v = 0; v < NV; ++v) {
      store(to + v * kLanes, load(to + v * kLanes) + factor[v] * load(from + v * kLanes));
    }
  }
}

// The same for the channels from c on that are whole vectors; returns the first one left.
template <int NV>
PC3D_INLINE int64_t add_panels(const PairList& pairs, const float* code, const float* x,
                               float* sums, int64_t channels, int64_t c) {
  for (; c + NV * kLanes <= channels; c += NV * kLanes) {
    add_panel<NV>(pairs, code + c, x + c, sums + c, channels);
  }
  if constexpr (NV > 1) return add_panels<NV / 2>(pairs, code, x, sums, channels, c);
  return c;
}

static inline void add_tap(const PairList& pairs, const float* code, const float* x, float* sums,
                           int64_t channels) {
  const int64_t rest = add_panels<kRegisters / 2>(pairs, code, x, sums, channels, 0);
  if (rest == channels) return;
  for (int64_t i = 0; i < pairs.num; ++i) {
    const float* from = x + pairs.input[i] * channels;
    float* to = sums + pairs.place[i] * channels;
    for (int64_t c = rest; c < channels; ++c) to[c] += code[c] * from[c];
  }
}

}  // namespace pc3d
