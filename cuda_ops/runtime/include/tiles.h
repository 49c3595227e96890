// Tiles of output rows, and the lists of their neighbours.
#pragma once
#include <stdint.h>

#include "compress.h"
#include "parallel.h"

namespace pc3d {

constexpr int64_t kTileRows = 64;  // output rows of a tile
constexpr int64_t kTaskRows = 8 * kTileRows;

// List the pairs of one tap of a tile, and fetch what the next tile's list is made of: the table is
// read in as many streams as there are taps, too many for the processor to foresee.
static inline void list_tap(const int32_t* neighbor, int64_t rows, int64_t num, PairList& pairs) {
  for (int64_t i = 0; i < kTileRows; i += 16) __builtin_prefetch(neighbor + kTileRows + i);
  list_pairs(neighbor, rows, num, pairs);
}

// body(first, rows, thread) for every tile of rows [0, num); a thread takes several in a row.
template <class Body>
void for_tiles(int64_t num, int64_t threads, const Body& body) {
  parallel_for(ceil_div(num, kTaskRows), threads, [&](int64_t task, int thread) {
    const int64_t end = num - task * kTaskRows < kTaskRows ? num : (task + 1) * kTaskRows;
    for (int64_t first = task * kTaskRows; first < end; first += kTileRows) {
      body(first, end - first < kTileRows ? end - first : kTileRows, thread);
    }
  });
}

}  // namespace pc3d
