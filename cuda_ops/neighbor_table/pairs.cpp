// The pairs of a table by the row that they name: the transpose of any table.
#include <stdint.h>

#include "../runtime/include/parallel.h"

// The pairs of every source: from starts[source] on in pairs [taps * num], as (row, tap), ordered by
// rows. starts [num_sources + 2], zero before. Returns 0, or 1 if the table names a row beyond
// num_sources.
PC3D_EXPORT int64_t pc3d_pairs_of_sources(const int32_t* rows, int64_t taps, int64_t num,
                                          int64_t num_sources, int64_t* starts, int32_t* pairs) {
  for (int64_t i = 0; i < taps * num; ++i) {
    if (rows[i] >= num_sources) return 1;
    if (rows[i] >= 0) ++starts[rows[i] + 2];
  }
  for (int64_t source = 0; source < num_sources; ++source) starts[source + 2] += starts[source + 1];
  // The start of each source moves to its end, which is where the next one starts.
  for (int64_t row = 0; row < num; ++row) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t source = rows[tap * num + row];
      if (source < 0) continue;
      int32_t* to = pairs + 2 * starts[source + 1]++;
      to[0] = static_cast<int32_t>(row);
      to[1] = static_cast<int32_t>(tap);
    }
  }
  return 0;
}
