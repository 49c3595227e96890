// Squared distances that are the same to the bit on every processor: every operation is rounded.
//
// A compiler may fuse a * b + c into one instruction that rounds once, and does (-ffp-contract).
// It cannot look through an empty piece of assembler that might change the product.
#pragma once
#include "simd.h"

namespace pc3d {

// What holds a vector of this width: a register, or memory where it is wider than any.
#if (PC3D_LANES == 16 && defined(__AVX512F__)) || (PC3D_LANES == 8 && defined(__AVX__)) || \
    (PC3D_LANES == 4 && defined(__SSE2__))
#define PC3D_VECTOR_PLACE "+x"
#elif PC3D_LANES == 4 && defined(__aarch64__)
#define PC3D_VECTOR_PLACE "+w"
#else
#define PC3D_VECTOR_PLACE "+m"
#endif

// The value itself, which no product before it is fused through.
static PC3D_INLINE Vec rounded(Vec value) {
  asm("" : PC3D_VECTOR_PLACE(value));
  return value;
}

// (dx * dx + dy * dy) + dz * dz, as in nearest_neighbors/op.py.
static PC3D_INLINE Vec squared_length(Vec dx, Vec dy, Vec dz) {
  return rounded(rounded(dx * dx) + rounded(dy * dy)) + rounded(dz * dz);
}

}  // namespace pc3d
