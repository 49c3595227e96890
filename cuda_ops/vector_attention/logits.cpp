// Logits of vector attention: relations of pairs, times a weight.
//
// A task owns some rows. Relations of their pairs stand in a small block, [kBlock, channels], until
// it is full; then it is multiplied with the weight, sums in registers over the channels.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"

using namespace pc3d;

namespace {

constexpr int64_t kTaskRows = 16;  // few: at the deepest levels there are less than a hundred
constexpr int64_t kBlock = 16;     // pairs that are multiplied at once
constexpr int kRows = kRegisters == 32 ? 8 : 4;
static_assert(kBlock % kRows == 0, "a block is whole");

// to [channels] = relu(key + base + hidden lift). NaN stays NaN. H: num_hidden, or 0 for any.
template <int H>
void relate(const float* key, const float* base, const float* hidden, int64_t num_hidden,
            const float* lift, int64_t channels, float* to) {
  int64_t c = 0;
  const int64_t size = H > 0 ? H : num_hidden;
  for (; c + kLanes <= channels; c += kLanes) {
    Vec sum = load(key + c) + load(base + c);
    for (int64_t i = 0; i < size; ++i) {
      sum += broadcast(hidden[i]) * load(lift + i * channels + c);
    }
    const Vec zero = broadcast(0);
    store(to + c, zero > sum ? zero : sum);
  }
  for (; c < channels; ++c) {
    float sum = key[c] + base[c];
    for (int64_t i = 0; i < num_hidden; ++i) sum += hidden[i] * lift[i * channels + c];
    to[c] = sum < 0 ? 0 : sum;
  }
}

// Pairs whose relations wait for the product.
struct Block {
  const float* weight;  // [channels, padded]
  int64_t channels, groups, padded;
  float* relations;  // [kBlock, channels]
  float* sums;       // [kBlock, padded]
  float* to[kBlock];
  int64_t num = 0;

  float* place_for(float* logits) {
    to[num] = logits;
    return relations + num++ * channels;
  }

  void multiply() {
    // Rows up to a multiple of kRows: what the others hold is multiplied and left.
    for (int64_t row = 0; row < num; row += kRows) {
      for (int64_t column = 0; column < padded;) {
        const int64_t vectors = (padded - column) / kLanes;
        if (vectors == 1) column += multiply_panel<1>(row, column);
        if (vectors == 2 || vectors == 4) column += multiply_panel<2>(row, column);
        if (vectors == 3 || vectors > 4) column += multiply_panel<3>(row, column);
      }
    }
    for (int64_t row = 0; row < num; ++row) {
      memcpy(to[row], sums + row * padded, sizeof(float) * groups);
    }
    num = 0;
  }

 private:
  template <int NV>
  int64_t multiply_panel(int64_t row, int64_t column) {
    Vec sum[kRows][NV];
    PC3D_UNROLL for (int r = 0; r < kRows; ++r) {
      PC3D_UNROLL for (int v = 0; v < NV; ++v) sum[r][v] = broadcast(0);
    }
    const float* from = relations + row * channels;
    for (int64_t c = 0; c < channels; ++c) {
      Vec factor[NV];
      PC3D_UNROLL for (int v = 0; v < NV; ++v) {
        factor[v] = load(weight + c * padded + column + v * kLanes);
      }
      PC3D_UNROLL for (int r = 0; r < kRows; ++r) {
        const Vec value = broadcast(from[r * channels + c]);
        PC3D_UNROLL for (int v = 0; v < NV; ++v) sum[r][v] += value * factor[v];
      }
    }
    PC3D_UNROLL for (int r = 0; r < kRows; ++r) {
      PC3D_UNROLL for (int v = 0; v < NV; ++v) {
        store(sums + (row + r) * padded + column + v * kLanes, sum[r][v]);
      }
    }
    return NV * kLanes;
  }
};

}  // namespace

// Columns of the weight of pc3d_relation_logits.
PC3D_EXPORT int64_t pc3d_relation_padded(int64_t groups) { return round_up(groups, kLanes); }

PC3D_EXPORT int64_t pc3d_relation_scratch_floats(int64_t channels, int64_t groups) {
  return (kBlock + 1) * channels + kBlock * round_up(groups, kLanes);
}

// logits [num, taps, groups], zero before: relu(k[table] - q + hidden lift + bias) times weight
// [channels, padded], padded with zeros. hidden [taps, num, num_hidden]; scratch: per thread.
// Returns 0, or 1 if the table names a row beyond num_sources.
PC3D_EXPORT int64_t pc3d_relation_logits(const float* q, const float* k, const float* hidden,
                                         const float* lift, const float* bias, const float* weight,
                                         const int32_t* table, int64_t taps, int64_t num,
                                         int64_t num_sources, int64_t channels, int64_t num_hidden,
                                         int64_t groups, float* logits, float* scratch,
                                         int64_t threads) {
  int64_t beyond = 0;
  const int64_t padded = round_up(groups, kLanes);
  const int64_t scratch_floats = pc3d_relation_scratch_floats(channels, groups);
  parallel_for(ceil_div(num, kTaskRows), threads, [&](int64_t task, int thread) {
    float* base = scratch + thread * scratch_floats;
    float* relations = base + channels;
    float* sums = relations + kBlock * channels;
    Block block{weight, channels, groups, padded, relations, sums, {}, 0};
    const int64_t first = task * kTaskRows;
    const int64_t end = num - first < kTaskRows ? num : first + kTaskRows;
    for (int64_t row = first; row < end; ++row) {
      for (int64_t c = 0; c < channels; ++c) base[c] = bias[c] - q[row * channels + c];
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t pair = tap * num + row, source = table[pair];
        if (source >= num_sources) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
        if (source < 0 || source >= num_sources) continue;
        float* to = block.place_for(logits + (row * taps + tap) * groups);
        const auto add = num_hidden == 3 ? relate<3> : relate<0>;
        add(k + source * channels, base, hidden + pair * num_hidden, num_hidden, lift, channels,
            to);
        if (block.num == kBlock) block.multiply();
      }
    }
    block.multiply();
  });
  return beyond;
}
