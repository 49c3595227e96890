// The k nearest of the points that were offered.
#pragma once
#include <stdint.h>
#include <string.h>

#include "../runtime/include/simd.h"

namespace pc3d {

// A point as one number: nearer ones are less, and of equally near ones those of smaller rows.
static inline int64_t candidate(float squared, int32_t row) {
  uint32_t bits;
  memcpy(&bits, &squared, sizeof(bits));  // grows with a number that is not negative
  return static_cast<int64_t>(static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(row));
}

static inline float squared_of(int64_t candidate) {
  const uint32_t bits = static_cast<uint32_t>(candidate >> 32);
  float squared;
  memcpy(&squared, &bits, sizeof(squared));
  return squared;
}

constexpr int64_t kNobody = INT64_MAX;        // no candidate
constexpr int32_t kLastRow = INT32_MAX - 1;  // no row is greater

struct Best {
  int64_t k;
  int64_t worst;   // candidates beyond it are not wanted
  int64_t num;     // of those that were found and not yet thrown out
  int64_t* found;  // [2 * capacity(k)], the second half scratch of keep()

  static int64_t capacity(int64_t k) { return round_up(2 * k + 48, 8); }

  float reach() const { return squared_of(worst); }

  // Candidates at the lanes of `near`, at these distances.
  void add(Vec squared, const int32_t* rows, uint32_t near) {
#if PC3D_LANES == 16 && defined(__AVX512F__)
    const __m512i bits = _mm512_castps_si512(reinterpret_cast<__m512>(squared));
    const __m512i row = _mm512_loadu_si512(rows);
    append(_mm512_unpacklo_epi32(row, bits), near, 0x3333);  // lanes 0 1 4 5 8 9 12 13
    append(_mm512_unpackhi_epi32(row, bits), near, 0xCCCC);  // and the others
#else
    float distance[kLanes];
    store(distance, squared);
    for (; near; near &= near - 1) {
      const int lane = __builtin_ctz(near);
      found[num++] = candidate(distance[lane], rows[lane]);
    }
#endif
    if (num > capacity(k) - kLanes) keep();
  }

  // Sorts what was found, and throws out all but k. The place of a candidate is the number of those
  // that are less: more comparisons than another sort takes, but none that is guessed wrong.
  void keep() {
    for (int64_t i = num; i < round_up(num, 8); ++i) found[i] = kNobody;
    int64_t* sorted = found + capacity(k);
    for (int64_t i = 0; i < num; i += 8) {
      const Eight mine = *reinterpret_cast<const Eight*>(found + i);
      Eight place = {};
      for (int64_t j = 0; j < num; ++j) {
        const int64_t f = found[j];
        place -= Eight{f, f, f, f, f, f, f, f} < mine;
      }
      for (int64_t lane = 0; lane < 8 && i + lane < num; ++lane) sorted[place[lane]] = mine[lane];
    }
    num = num < k ? num : k;
    memcpy(found, sorted, sizeof(int64_t) * num);
    if (num == k) worst = found[k - 1];
  }

 private:
  typedef int64_t Eight __attribute__((vector_size(64), aligned(8), may_alias));

#if PC3D_LANES == 16 && defined(__AVX512F__)
  void append(__m512i candidates, uint32_t near, uint32_t lanes) {
    const uint32_t wanted = _pext_u32(near, lanes);
    _mm512_mask_compressstoreu_epi64(found + num, static_cast<__mmask8>(wanted), candidates);
    num += __builtin_popcount(wanted);
  }
#endif
};

}  // namespace pc3d
