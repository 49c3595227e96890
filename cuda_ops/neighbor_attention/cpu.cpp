// The three sums of attention over neighbours: dot products, weighted sums, and transposed weights.
//
// A task owns tiles of output rows, which are neighbours in space. Weights stand as [num, taps,
// heads].
#include <stdint.h>
#include <string.h>

#include "../runtime/include/groups.h"
#include "../runtime/include/packed.h"

using namespace pc3d;

namespace {

// body(row, tap, neighbour) for every pair.
template <class Body>
void for_pairs(const PackedTable& table, int64_t num, int64_t threads, const Body& body) {
  for_tiles(num, threads, [&](int64_t first, int64_t, int) {
    for (int64_t tap = 0; tap < table.num_taps; ++tap) {
      const Pairs pairs = table.pairs(first / kTileRows, tap);
      for (int64_t i = 0; i < pairs.num; ++i) {
        body(first + pairs.place[i], tap, static_cast<int64_t>(pairs.input[i]));
      }
    }
  });
}

}  // namespace

PC3D_EXPORT int64_t pc3d_group_entries(int64_t channels) { return Groups::num_entries(channels); }

// dots [num, taps, heads], zero before: q of a row times k of its neighbour, summed over each head.
PC3D_EXPORT void pc3d_neighbor_dot(const float* q, const float* k, const PackedTable* table,
                                   int64_t heads, int64_t num, int64_t channels, float* dots,
                                   int64_t threads) {
  const int64_t taps = table->num_taps;
  for_pairs(*table, num, threads, [&](int64_t row, int64_t tap, int64_t neighbor) {
    group_sums(q + row * channels, k + neighbor * channels, heads, channels / heads,
               dots + (row * taps + tap) * heads);
  });
}

// y [num, channels], zero before: the sum over taps of weights [num, taps, heads] times v of the
// neighbour. groups: memory for pc3d_group_entries(channels).
PC3D_EXPORT void pc3d_neighbor_sum(const float* weights, const float* v, const PackedTable* table,
                                   int64_t heads, int64_t num, int64_t channels, float* y,
                                   int32_t* groups, int64_t threads) {
  const Groups split(heads, channels, groups);
  const int64_t taps = table->num_taps;
  for_pairs(*table, num, threads, [&](int64_t row, int64_t tap, int64_t neighbor) {
    mix<true>(split, weights + (row * taps + tap) * heads, v + neighbor * channels, channels,
              y + row * channels);
  });
}

// transposed [num, taps, heads], zero before: at each tap of a row the weight that its neighbour
// gives the row.
PC3D_EXPORT void pc3d_neighbor_transpose(const float* weights, const PackedTable* table,
                                         int64_t heads, int64_t num, float* transposed,
                                         int64_t threads) {
  const int64_t taps = table->num_taps;
  for_pairs(*table, num, threads, [&](int64_t row, int64_t tap, int64_t neighbor) {
    memcpy(transposed + (row * taps + tap) * heads,
           weights + (neighbor * taps + taps - 1 - tap) * heads, sizeof(float) * heads);
  });
}
