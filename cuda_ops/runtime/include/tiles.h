// Tiles of output rows.
#pragma once
#include <stdint.h>

#include "parallel.h"

namespace pc3d {

constexpr int64_t kTileRows = 64;  // output rows of a tile
constexpr int64_t kTaskRows = 8 * kTileRows;

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
