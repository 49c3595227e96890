// Vectors of float, and how many of them the processor keeps in registers.
#pragma once
#include <stdint.h>

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

}  // namespace pc3d

#define PC3D_UNROLL _Pragma("GCC unroll 32")
#define PC3D_INLINE inline __attribute__((always_inline))
