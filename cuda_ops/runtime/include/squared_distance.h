// Squared distances with every operation rounded: the same bits on every processor.
//
// A compiler may contract a product and a sum to a fused multiply-add, which rounds once: distances
// that tie in one kernel would not in another. On a CPU the product goes through an empty asm,
// which the compiler does not see through; CUDA has functions that it does not contract.
#pragma once
#include "portable.h"

namespace pc3d {

#ifdef __CUDACC__
__device__ inline float squared_distance(float dx, float dy, float dz) {
  return __fadd_rn(__fadd_rn(__fmul_rn(dx, dx), __fmul_rn(dy, dy)), __fmul_rn(dz, dz));
}
#else

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// `value`, which is not to become part of a fused multiply-add. T is float or a vector of floats.
template <class T>
static inline T rounded(T value) {
#if defined(__x86_64__)
  if constexpr (sizeof(T) <= kVectorBytes) {
    asm("" : "+x"(value));
  } else {
    asm("" : "+m"(value));
  }
#elif defined(__aarch64__)
  if constexpr (sizeof(T) <= kVectorBytes) {
    asm("" : "+w"(value));
  } else {
    asm("" : "+m"(value));
  }
#else
  asm("" : "+m"(value));
#endif
  return value;
}

// (dx^2 + dy^2) + dz^2 of the differences along the axes.
template <class T>
static inline T squared_distance(T dx, T dy, T dz) {
  return (rounded(dx * dx) + rounded(dy * dy)) + rounded(dz * dz);
}
#endif

}  // namespace pc3d
