// Rows of points in an order in which neighbours in space stand near each other: Morton keys on a
// grid over their bounding box, and over the smaller box of whatever shares a cell of it, so that
// neither an outlier nor a dense cluster spoils the order.
#pragma once
#include <stdint.h>
#include <string.h>

#include "../runtime/include/morton.h"

namespace pc3d {

struct Entry {
  uint32_t key;
  int32_t row;
};

constexpr int kMaxGridBits = 10;   // per axis, so that a key has 30 bits
constexpr int kMaxDigitBits = 11;  // of the radix sort
constexpr int64_t kCrowd = 32;     // points in a cell that get a grid of their own

// Stable sort by the low `bits` of keys.
static __attribute__((noinline)) void sort_by_key(Entry* entries, Entry* other, int64_t num,
                                                  int bits) {
  const int passes = (bits + kMaxDigitBits - 1) / kMaxDigitBits;
  const int digit = (bits + passes - 1) / passes;
  const uint32_t mask = (1u << digit) - 1;
  uint32_t place[1 << kMaxDigitBits];
  Entry *from = entries, *to = other;
  for (int pass = 0; pass < passes; ++pass) {
    const int shift = pass * digit;
    memset(place, 0, sizeof(uint32_t) << digit);
    for (int64_t i = 0; i < num; ++i) ++place[from[i].key >> shift & mask];
    uint32_t sum = 0;
    for (uint32_t d = 0; d <= mask; ++d) {
      const uint32_t count = place[d];
      place[d] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < num; ++i) to[place[from[i].key >> shift & mask]++] = from[i];
    Entry* swap = from;
    from = to;
    to = swap;
  }
  if (from != entries) memcpy(entries, from, sizeof(Entry) * num);
}

// Order finite points [*, 3] by the rows in entries [num], which ascend; other [num] is scratch.
// Points that are the same keep the order of their rows.
static void order_in_space(const float* points, Entry* entries, Entry* other, int64_t num) {
  if (num < 2) return;
  float low[3], high[3];
  for (int a = 0; a < 3; ++a) low[a] = high[a] = points[3 * int64_t{entries[0].row} + a];
  for (int64_t i = 1; i < num; ++i) {
    const float* p = points + 3 * int64_t{entries[i].row};
    for (int a = 0; a < 3; ++a) {
      low[a] = p[a] < low[a] ? p[a] : low[a];
      high[a] = p[a] > high[a] ? p[a] : high[a];
    }
  }
  double extent = 0;
  for (int a = 0; a < 3; ++a) {
    const double size = static_cast<double>(high[a]) - low[a];
    extent = size > extent ? size : extent;
  }
  if (extent == 0) return;
  // About a cell per point where points lie on surfaces; the farthest ones in different cells.
  int bits = (64 - __builtin_clzll(static_cast<uint64_t>(num))) / 2 + 1;
  if (bits > kMaxGridBits) bits = kMaxGridBits;
  const double cells = 1 << bits, scale = cells / extent;
  for (int64_t i = 0; i < num; ++i) {
    const float* p = points + 3 * int64_t{entries[i].row};
    uint64_t key = 0;
    for (int a = 0; a < 3; ++a) {
      const double cell = (static_cast<double>(p[a]) - low[a]) * scale;
      key |= spread_axis(static_cast<uint64_t>(cell < cells - 1 ? cell : cells - 1), a);
    }
    entries[i].key = static_cast<uint32_t>(key);
  }
  sort_by_key(entries, other, num, 3 * bits);
  for (int64_t first = 0, end; first < num; first = end) {
    for (end = first + 1; end < num && entries[end].key == entries[first].key; ++end) continue;
    if (end - first > kCrowd) order_in_space(points, entries + first, other + first, end - first);
  }
}

}  // namespace pc3d
