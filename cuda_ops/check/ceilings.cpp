// What the processor can do at most: multiply-adds on registers, and a copy of memory.
#include <stdint.h>

#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"

using namespace pc3d;

constexpr int kChains = kRegisters - kRegisters / 4;  // as many sums as the convolution keeps

PC3D_EXPORT int64_t pc3d_multiply_add_flop() { return kChains * kLanes * 2; }

// `tasks` loops of `num` iterations of pc3d_multiply_add_flop() each.
PC3D_EXPORT void pc3d_multiply_add(int64_t num, int64_t tasks, float* result, int64_t threads) {
  parallel_for(tasks, threads, [&](int64_t task, int) {
    const Vec factor = broadcast(0.999f), term = broadcast(0.001f);
    Vec sum[kChains];
    PC3D_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = broadcast(static_cast<float>(i));
    for (int64_t n = 0; n < num; ++n) {
      PC3D_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = sum[i] * factor + term;
    }
    PC3D_UNROLL for (int i = 1; i < kChains; ++i) sum[0] += sum[i];
    result[task] = sum[0][0];
  });
}

// to[i] = from[i] for `num` floats.
PC3D_EXPORT void pc3d_copy(const float* from, float* to, int64_t num, int64_t threads) {
  constexpr int64_t kChunk = 1 << 18;
  parallel_ranges(num, kChunk, threads, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) to[i] = from[i];
  });
}
