// Features in float32, float16 or bfloat16, several channels at a time; sums are in float32.
//
// PC3D_SCALAR_<type> and PC3D_WIDTH are given by the compiler's command line, so that a kernel is
// written once. NVRTC has no cuda_fp16.h and no cuda_bf16.h: the conversions stand here.
#pragma once
#include "portable.h"

namespace pc3d {

#if defined(PC3D_SCALAR_float16)
#ifdef PC3D_EMULATED
using Scalar = _Float16;
__device__ inline float to_float(Scalar x) { return static_cast<float>(x); }
__device__ inline Scalar from_float(float x) { return static_cast<Scalar>(x); }
#else
struct Scalar {
  uint16_t bits;
};
__device__ inline float to_float(Scalar x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ inline Scalar from_float(float x) {
  Scalar y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
#endif

#elif defined(PC3D_SCALAR_bfloat16)
struct Scalar {
  uint16_t bits;
};
union FloatBits {
  uint32_t bits;
  float value;
};
__device__ inline float to_float(Scalar x) {
  FloatBits y;
  y.bits = static_cast<uint32_t>(x.bits) << 16;
  return y.value;
}
__device__ inline Scalar from_float(float x) {  // to nearest, ties to even
  FloatBits y;
  y.value = x;
  const bool is_nan = (y.bits & 0x7FFFFFFFu) > 0x7F800000u;
  const uint32_t rounded = y.bits + 0x7FFFu + (y.bits >> 16 & 1u);
  return {static_cast<uint16_t>(is_nan ? 0x7FC0u : rounded >> 16)};
}

#else
using Scalar = float;
__device__ inline float to_float(Scalar x) { return x; }
__device__ inline Scalar from_float(float x) { return x; }
#endif

#ifndef PC3D_WIDTH
#define PC3D_WIDTH 1
#endif
constexpr int kWidth = PC3D_WIDTH;

// kWidth channels: one instruction to load or store, of up to 16 bytes.
struct alignas(sizeof(Scalar) * kWidth) Vector {
  Scalar lane[kWidth];
};

__device__ inline Vector load(const Scalar* place) {
  return *reinterpret_cast<const Vector*>(place);
}

// kWidth factors in float32, aligned like the features that they belong to.
struct alignas(4 * (kWidth < 4 ? kWidth : 4)) Factors {
  float lane[kWidth];
};

__device__ inline Factors load_factors(const float* place) {
  return *reinterpret_cast<const Factors*>(place);
}

__device__ inline void store(Scalar* place, const float* values) {
  Vector vector;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) vector.lane[i] = from_float(values[i]);
  *reinterpret_cast<Vector*>(place) = vector;
}

}  // namespace pc3d
