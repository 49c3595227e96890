// Neighbour tables as lists of pairs, tile by tile and tap by tap (neighbor_table/pack.cpp).
#pragma once
#include <stdint.h>

#include "tiles.h"

namespace pc3d {

// Pairs of one tap in one tile: row `input[i]` of x meets row `place[i]` of the tile.
struct Pairs {
  const int32_t* input;
  const uint8_t* place;
  int64_t num;
};

struct PackedTable {
  const int64_t* starts;  // [tiles, num_taps] and the end: where each list begins
  const int32_t* input;
  const uint8_t* place;
  int64_t num_taps;

  Pairs pairs(int64_t tile, int64_t tap) const {
    const int64_t* start = starts + tile * num_taps + tap;
    return {input + start[0], place + start[0], start[1] - start[0]};
  }
};

static_assert(kTileRows <= 256, "a place is a byte");

}  // namespace pc3d
