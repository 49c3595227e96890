// The three sums of attention over neighbours: dot products, weighted sums, and transposed weights.
//
// A task owns tiles of output rows, which are neighbours in space. Weights stand as [num, taps,
// heads].
#include <stdint.h>
#include <string.h>

#include "../runtime/include/groups.h"
#include "../runtime/include/tiles.h"

using namespace pc3d;

namespace {

// body(row, tap, neighbour) for every pair. Returns 1 if the table names a row beyond num.
template <class Body>
int64_t for_pairs(const int32_t* table, int64_t taps, int64_t num, int64_t threads,
                  const Body& body) {
  int64_t beyond = 0;
  for_tiles(num, threads, [&](int64_t first, int64_t rows, int) {
    int32_t input[kTileRows + kListSlack], place[kTileRows + kListSlack];
    PairList pairs{input, place, 0, -1};
    for (int64_t tap = 0; tap < taps; ++tap) {
      list_tap(table + tap * num + first, rows, num, pairs);
      for (int64_t i = 0; i < pairs.num; ++i) {
        body(first + place[i], tap, static_cast<int64_t>(input[i]));
      }
    }
    if (pairs.last >= num) __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
  });
  return beyond;
}

}  // namespace

PC3D_EXPORT int64_t pc3d_group_entries(int64_t channels) { return Groups::num_entries(channels); }

// dots [num, taps, heads], zero before: q of a row times k of its neighbour, summed over each head.
PC3D_EXPORT int64_t pc3d_neighbor_dot(const float* q, const float* k, const int32_t* table,
                                      int64_t taps, int64_t heads, int64_t num, int64_t channels,
                                      float* dots, int64_t threads) {
  return for_pairs(table, taps, num, threads, [&](int64_t row, int64_t tap, int64_t neighbor) {
    group_sums(q + row * channels, k + neighbor * channels, heads, channels / heads,
               dots + (row * taps + tap) * heads);
  });
}

// y [num, channels], zero before: the sum over taps of weights [num, taps, heads] times v of the
// neighbour. groups: memory for pc3d_group_entries(channels).
PC3D_EXPORT int64_t pc3d_neighbor_sum(const float* weights, const float* v, const int32_t* table,
                                      int64_t taps, int64_t heads, int64_t num, int64_t channels,
                                      float* y, int32_t* groups, int64_t threads) {
  const Groups split(heads, channels, groups);
  return for_pairs(table, taps, num, threads, [&](int64_t row, int64_t tap, int64_t neighbor) {
    mix<true>(split, weights + (row * taps + tap) * heads, v + neighbor * channels, channels,
              y + row * channels);
  });
}

// transposed [num, taps, heads], zero before: at each tap of a row the weight that its neighbour
// gives the row.
PC3D_EXPORT int64_t pc3d_neighbor_transpose(const float* weights, const int32_t* table,
                                            int64_t taps, int64_t heads, int64_t num,
                                            float* transposed, int64_t threads) {
  return for_pairs(table, taps, num, threads, [&](int64_t row, int64_t tap, int64_t neighbor) {
    memcpy(transposed + (row * taps + tap) * heads,
           weights + (neighbor * taps + taps - 1 - tap) * heads, sizeof(float) * heads);
  });
}
