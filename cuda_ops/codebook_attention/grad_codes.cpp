// The gradients of codebook attention in its choice and codes.
//
// Tiles as in the forward pass. A tap's code and its gradient stay in registers over the pairs: a
// neighbour's row, read once, serves the sums that the choice's gradient needs and the gradient of
// the code. Rows are split into chunks by their number, not by the threads; the chunks' gradients
// are added in order.
#include <stdint.h>
#include <string.h>

#include "depthwise.h"

using namespace pc3d;

namespace {

constexpr int64_t kChunkRows = 2048;  // at least; whole tiles
constexpr int64_t kMaxChunks = 64;

// Over the pairs: sums [place] += code * x [input]; code_grad += mixed [place] * x [input].
template <int NV>
PC3D_INLINE void grad_panel(const Pairs& pairs, const float* code, const float* x,
                            const float* mixed, float* sums, float* code_grad, int64_t channels) {
  Vec factor[NV], grad[NV];
  PC3D_UNROLL for (int v = 0; v < NV; ++v) factor[v] = load(code + v * kLanes);
  PC3D_UNROLL for (int v = 0; v < NV; ++v) grad[v] = load(code_grad + v * kLanes);
  for (int64_t i = 0; i < pairs.num; ++i) {
    const float* from = x + pairs.input[i] * channels;
    const int64_t place = pairs.place[i] * channels;
    PC3D_UNROLL for (int v = 0; v < NV; ++v) {
      const Vec value = load(from + v * kLanes);
      float* to = sums + place + v * kLanes;
      store(to, load(to) + factor[v] * value);
      grad[v] += load(mixed + place + v * kLanes) * value;
    }
  }
  PC3D_UNROLL for (int v = 0; v < NV; ++v) store(code_grad + v * kLanes, grad[v]);
}

template <int NV>
PC3D_INLINE int64_t grad_panels(const Pairs& pairs, const float* code, const float* x,
                                const float* mixed, float* sums, float* code_grad, int64_t channels,
                                int64_t c) {
  for (; c + NV * kLanes <= channels; c += NV * kLanes) {
    grad_panel<NV>(pairs, code + c, x + c, mixed + c, sums + c, code_grad + c, channels);
  }
  if constexpr (NV > 1) {
    return grad_panels<NV / 2>(pairs, code, x, mixed, sums, code_grad, channels, c);
  }
  return c;
}

void grad_tap(const Pairs& pairs, const float* code, const float* x, const float* mixed,
              float* sums, float* code_grad, int64_t channels) {
  const int64_t rest =
      grad_panels<kRegisters / 4>(pairs, code, x, mixed, sums, code_grad, channels, 0);
  if (rest == channels) return;
  for (int64_t i = 0; i < pairs.num; ++i) {
    const float* from = x + pairs.input[i] * channels;
    const int64_t place = pairs.place[i] * channels;
    for (int64_t c = rest; c < channels; ++c) {
      sums[place + c] += code[c] * from[c];
      code_grad[c] += mixed[place + c] * from[c];
    }
  }
}

}  // namespace

PC3D_EXPORT int64_t pc3d_attention_chunks(int64_t num) {
  const int64_t chunks = ceil_div(num, kChunkRows);
  return chunks < 1 ? 1 : chunks < kMaxChunks ? chunks : kMaxChunks;
}

// choice_grad [num, num_codes, groups] (null where choice is) and sums [chunks, taps of all codes,
// channels], the gradient of the codes by every chunk of rows. scratch: per thread.
PC3D_EXPORT void pc3d_attention_grad_codes(const float* v, const float* choice, const float* codes,
                                           const PackedTable* tables, int64_t num_codes,
                                           int64_t groups, int64_t num, int64_t channels,
                                           const float* grad, float* choice_grad, float* sums,
                                           char* scratch, int64_t threads) {
  const int64_t chunks = pc3d_attention_chunks(num), width = channels / groups;
  const int64_t chunk_rows = ceil_div(ceil_div(num, chunks), kTileRows) * kTileRows;
  int64_t total_taps = 0;
  for (int64_t d = 0; d < num_codes; ++d) total_taps += tables[d].num_taps;
  parallel_for(chunks, threads, [&](int64_t chunk, int thread) {
    Tile tile(scratch, thread, channels);
    const Groups split(groups, channels, tile.group_memory);
    float* chunk_grad = sums + chunk * total_taps * channels;
    memset(chunk_grad, 0, sizeof(float) * total_taps * channels);
    const int64_t begin = chunk * chunk_rows;
    const int64_t end = num - begin < chunk_rows ? num : begin + chunk_rows;
    for (int64_t first = begin; first < end; first += kTileRows) {
      const int64_t rows = end - first < kTileRows ? end - first : kTileRows;
      const float* tile_grad = grad + first * channels;
      int64_t row = 0;  // of the codes
      for (int64_t d = 0; d < num_codes; ++d) {
        const float* mixed = tile_grad;
        for (int64_t r = 0; choice != nullptr && r < rows; ++r) {
          mix<false>(split, choice + ((first + r) * num_codes + d) * groups,
                     tile_grad + r * channels, channels, tile.mixed + r * channels);
          mixed = tile.mixed;
        }
        memset(tile.sums, 0, sizeof(float) * rows * channels);
        for (int64_t tap = 0; tap < tables[d].num_taps; ++tap, ++row) {
          grad_tap(tables[d].pairs(first / kTileRows, tap), codes + row * channels, v, mixed,
                   tile.sums, chunk_grad + row * channels, channels);
        }
        for (int64_t r = 0; choice != nullptr && r < rows; ++r) {
          group_sums(tile_grad + r * channels, tile.sums + r * channels, groups, width,
                     choice_grad + ((first + r) * num_codes + d) * groups);
        }
      }
    }
  });
}

// codes_grad [size]: the chunks' sums [chunks, size], added in order.
PC3D_EXPORT void pc3d_attention_reduce(const float* sums, int64_t chunks, int64_t size,
                                       float* codes_grad, int64_t threads) {
  parallel_ranges(size, 4096, threads, [&](int64_t first, int64_t end) {
    memcpy(codes_grad + first, sums + first, sizeof(float) * (end - first));
    for (int64_t chunk = 1; chunk < chunks; ++chunk) {
      for (int64_t i = first; i < end; ++i) codes_grad[i] += sums[chunk * size + i];
    }
  });
}
