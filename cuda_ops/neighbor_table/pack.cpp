// A neighbour table packed: for every tile of rows and every tap, the rows that have a neighbour.
//
// Kernels that do little with a pair would else spend a third of their time on finding the pairs:
// of 27 taps of an indoor scan, 9 have a voxel. The lists of a tile lie behind each other.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/compress.h"
#include "../runtime/include/packed.h"

using namespace pc3d;

namespace {

// List the pairs of one tap of a tile, and fetch what the next tile's list is made of: the table is
// read in as many streams as there are taps, too many for the processor to foresee.
void list_tap(const int32_t* neighbor, int64_t rows, int64_t num, PairList& pairs) {
  for (int64_t i = 0; i < kTileRows; i += 16) __builtin_prefetch(neighbor + kTileRows + i);
  list_pairs(neighbor, rows, num, pairs);
}

}  // namespace

PC3D_EXPORT int64_t pc3d_tile_rows() { return kTileRows; }

// counts [tiles, num_taps]: neighbours in table [num_taps, num].
PC3D_EXPORT void pc3d_count_pairs(const int32_t* table, int64_t num_taps, int64_t num,
                                  int64_t* counts, int64_t threads) {
  for_tiles(num, threads, [&](int64_t first, int64_t rows, int) {
    int64_t* of_tile = counts + first / kTileRows * num_taps;
    for (int64_t tap = 0; tap < num_taps; ++tap) {
      const int32_t* neighbor = table + tap * num + first;
      int32_t found = 0;
      for (int64_t r = 0; r < rows; ++r) found += neighbor[r] >= 0;
      of_tile[tap] = found;
    }
  });
}

// The lists, which begin at starts [tiles, num_taps]: input, the neighbour's row, and place, the
// row within the tile. Returns 0, or 1 if the table names a row beyond num.
PC3D_EXPORT int64_t pc3d_pack_pairs(const int32_t* table, int64_t num_taps, int64_t num,
                                    const int64_t* starts, int32_t* input, uint8_t* place,
                                    int64_t threads) {
  int64_t beyond = 0;
  for_tiles(num, threads, [&](int64_t first, int64_t rows, int) {
    int32_t tile_input[kTileRows + kListSlack], tile_place[kTileRows + kListSlack];
    PairList pairs{tile_input, tile_place, 0, -1};
    const int64_t* start = starts + first / kTileRows * num_taps;
    for (int64_t tap = 0; tap < num_taps; ++tap) {
      list_tap(table + tap * num + first, rows, num, pairs);
      if (pairs.last >= num) {
        __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
        return;
      }
      memcpy(input + start[tap], tile_input, sizeof(int32_t) * pairs.num);
      for (int64_t i = 0; i < pairs.num; ++i) {
        place[start[tap] + i] = static_cast<uint8_t>(tile_place[i]);
      }
    }
  });
  return beyond;
}
