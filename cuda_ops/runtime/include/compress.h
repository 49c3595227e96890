// The places of a tile that have a neighbour at a tap, as two packed lists.
#pragma once
#include <stdint.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace pc3d {

constexpr int64_t kListSlack = 16;  // lists are written whole vectors at a time

// Pairs of one tap: row `input[i]` of x meets row `place[i]` of the tile.
struct PairList {
  int32_t* input;
  int32_t* place;
  int64_t num;
  int32_t last;  // the largest row in the table so far, legal or not
};

#if defined(__AVX2__) && !defined(__AVX512F__)
// For each mask of 8 bits the positions of its ones, one per byte.
struct Positions {
  uint64_t of[256];
  constexpr Positions() : of() {
    for (int mask = 0; mask < 256; ++mask) {
      int num = 0;
      for (int bit = 0; bit < 8; ++bit) {
        if (mask >> bit & 1) of[mask] |= static_cast<uint64_t>(bit) << (8 * num++);
      }
    }
  }
};
constexpr Positions kPositions;
#endif

// List the entries of neighbor [rows] that are in [0, num_in).
static inline void list_pairs(const int32_t* neighbor, int64_t rows, int64_t num_in,
                              PairList& list) {
  int64_t num = 0, i = 0;
#if defined(__AVX512F__)
  const __m512i limit = _mm512_set1_epi32(static_cast<int32_t>(num_in));
  __m512i place = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  __m512i last = _mm512_set1_epi32(list.last);
  for (; i + 16 <= rows; i += 16) {
    const __m512i row = _mm512_loadu_si512(neighbor + i);
    const __mmask16 legal = _mm512_cmplt_epu32_mask(row, limit);
    last = _mm512_max_epi32(last, row);
    _mm512_storeu_si512(list.input + num, _mm512_maskz_compress_epi32(legal, row));
    _mm512_storeu_si512(list.place + num, _mm512_maskz_compress_epi32(legal, place));
    place = _mm512_add_epi32(place, _mm512_set1_epi32(16));
    num += __builtin_popcount(legal);
  }
  list.last = _mm512_reduce_max_epi32(last);
#elif defined(__AVX2__)
  const __m256i limit = _mm256_set1_epi32(static_cast<int32_t>(num_in));
  __m256i last = _mm256_set1_epi32(list.last);
  for (; i + 8 <= rows; i += 8) {
    const __m256i row = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(neighbor + i));
    const __m256i legal =
        _mm256_andnot_si256(_mm256_srai_epi32(row, 31), _mm256_cmpgt_epi32(limit, row));
    const int mask = _mm256_movemask_ps(_mm256_castsi256_ps(legal));
    const __m256i position =
        _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kPositions.of[mask])));
    last = _mm256_max_epi32(last, row);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(list.input + num),
                        _mm256_permutevar8x32_epi32(row, position));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(list.place + num),
                        _mm256_add_epi32(position, _mm256_set1_epi32(static_cast<int32_t>(i))));
    num += __builtin_popcount(static_cast<unsigned>(mask));
  }
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), last);
  for (const int32_t lane : lanes) list.last = list.last < lane ? lane : list.last;
#endif
  for (; i < rows; ++i) {
    list.input[num] = neighbor[i];
    list.place[num] = static_cast<int32_t>(i);
    num += static_cast<uint64_t>(static_cast<int64_t>(neighbor[i])) < static_cast<uint64_t>(num_in);
    list.last = list.last < neighbor[i] ? neighbor[i] : list.last;
  }
  list.num = num;
}

}  // namespace pc3d
