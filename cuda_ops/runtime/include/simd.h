// Vectors of float, and how many of them the processor keeps in registers.
#pragma once
#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// Lanes may be given to the compiler, to test the blocking of one processor on another.
#if !defined(PC3D_LANES)
#if defined(__AVX512F__)
#define PC3D_LANES 16
#elif defined(__AVX__)
#define PC3D_LANES 8
#else
#define PC3D_LANES 4
#endif
#endif

namespace pc3d {

constexpr int kLanes = PC3D_LANES;
#if PC3D_LANES == 16 || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef float UnalignedVec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

static inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
static inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }

// Written out: `Vec{} + value` is an addition, as -0 + 0 is not -0.
static inline Vec broadcast(float a) {
#if PC3D_LANES == 16
  return Vec{a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a};
#elif PC3D_LANES == 8
  return Vec{a, a, a, a, a, a, a, a};
#else
  return Vec{a, a, a, a};
#endif
}

// The larger of each pair of lanes; b where one is not a number.
static inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// Bit i: lane i of a is at most that of b.
static inline uint32_t at_most(Vec a, Vec b) {
#if PC3D_LANES == 16 && defined(__AVX512F__)
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), _CMP_LE_OQ);
#elif PC3D_LANES == 8 && defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(
      _mm256_cmp_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), _CMP_LE_OQ)));
#elif PC3D_LANES == 4 && defined(__SSE2__)
  return static_cast<uint32_t>(
      _mm_movemask_ps(_mm_cmple_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b))));
#else
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    bits |= static_cast<uint32_t>(a[lane] <= b[lane]) << lane;
  }
  return bits;
#endif
}

// The first `lanes` lanes of a, the others of b.
static inline Vec blend(Vec a, Vec b, int64_t lanes) {
  typedef int32_t Mask __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
  typedef int32_t Bits __attribute__((vector_size(4 * kLanes)));
  static constexpr int32_t kOnes[2 * kLanes] = {
#if PC3D_LANES == 16
      -1, -1, -1, -1, -1, -1, -1, -1, -1,
      -1, -1, -1, -1, -1, -1, -1
#elif PC3D_LANES == 8
      -1, -1, -1, -1, -1,
      -1, -1, -1
#else
      -1, -1, -1, -1
#endif
  };
  const Bits mask = *reinterpret_cast<const Mask*>(kOnes + kLanes - lanes);
  return reinterpret_cast<Vec>((reinterpret_cast<Bits>(a) & mask) |
                               (reinterpret_cast<Bits>(b) & ~mask));
}

inline int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Eight floats, in the first lanes; and a vector of those of them that index [kLanes] names.
static inline Vec load_eight(const float* p) {
#if defined(__AVX512F__) && PC3D_LANES == 16
  return reinterpret_cast<Vec>(_mm512_castps256_ps512(_mm256_loadu_ps(p)));
#else
  return load(p);
#endif
}

static inline Vec pick(Vec eight, const int32_t* index) {
#if defined(__AVX512F__) && PC3D_LANES == 16
  return reinterpret_cast<Vec>(
      _mm512_permutexvar_ps(_mm512_loadu_si512(index), reinterpret_cast<__m512>(eight)));
#elif defined(__AVX2__) && PC3D_LANES == 8
  const __m256i lanes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index));
  return reinterpret_cast<Vec>(_mm256_permutevar8x32_ps(reinterpret_cast<__m256>(eight), lanes));
#else
  Vec picked = eight;
  for (int lane = 0; lane < kLanes; ++lane) picked[lane] = eight[index[lane]];
  return picked;
#endif
}

#if (defined(__AVX512F__) && PC3D_LANES == 16) || (defined(__AVX2__) && PC3D_LANES == 8)
constexpr bool kPicksFromEight = true;
#else
constexpr bool kPicksFromEight = false;
#endif

// The sum of the lanes: halves onto each other.
static inline float sum_lanes(Vec a) {
#if defined(__AVX2__) && PC3D_LANES >= 8
#if defined(__AVX512F__) && PC3D_LANES == 16
  const __m512 all = reinterpret_cast<__m512>(a);
  const __m256 eight =
      _mm256_add_ps(_mm512_castps512_ps256(all),
                    _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(all), 1)));
#elif PC3D_LANES == 8
  const __m256 eight = reinterpret_cast<__m256>(a);
#else
  float lane[kLanes];
  store(lane, a);
  const __m256 eight = _mm256_add_ps(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + 8));
#endif
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
#else
  float lane[kLanes];
  store(lane, a);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
#endif
}

// to [4]: the sums of a * b over each of four times eight floats.
static inline void sum_four_eights(const float* a, const float* b, float* to) {
#if defined(__AVX2__)
  __m256 product[4];
  for (int i = 0; i < 4; ++i) {
    product[i] = _mm256_mul_ps(_mm256_loadu_ps(a + 8 * i), _mm256_loadu_ps(b + 8 * i));
  }
  const __m256 halves = _mm256_hadd_ps(_mm256_hadd_ps(product[0], product[1]),
                                       _mm256_hadd_ps(product[2], product[3]));
  _mm_storeu_ps(to,
                _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
#else
  for (int i = 0; i < 4; ++i, a += 8, b += 8) {
    to[i] = 0;
    for (int lane = 0; lane < 8; ++lane) to[i] += a[lane] * b[lane];
  }
#endif
}

}  // namespace pc3d

#define PC3D_UNROLL _Pragma("GCC unroll 32")
#define PC3D_INLINE inline __attribute__((always_inline))
