// A GPU of one thread at a time: enough of CUDA to run the kernels of cuda_ops on a CPU.
//
// Blocks run one after another. The threads of a block are fibers that run until they wait at
// __syncthreads(), in ascending or descending order: a result that depends on it is a race.
#pragma once
#include <math.h>
#include <stdint.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __restrict__
#define __launch_bounds__(...)
#define __grid_constant__
#define PC3D_EMULATED

struct Dim3 {
  unsigned x, y, z;
};
inline Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool done = false;
  static constexpr int kStack = 1 << 16;
};

inline ucontext_t scheduler;
inline std::vector<Fiber> fibers;
inline unsigned running;
inline void (*body)(void*);
inline void* body_argument;

inline void enter() {
  body(body_argument);
  fibers[running].done = true;
  swapcontext(&fibers[running].context, &scheduler);
}

inline void wait_for_block() {
  const unsigned me = running;
  swapcontext(&fibers[me].context, &scheduler);
  threadIdx.x = running = me;
}

// Run all threads of the current block; false if some ended while others wait for them.
inline bool run_block(bool descending) {
  const unsigned threads = static_cast<unsigned>(fibers.size());
  for (Fiber& fiber : fibers) {
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = Fiber::kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  for (unsigned finished = 0; finished < threads;) {
    finished = 0;
    for (unsigned i = 0; i < threads; ++i) {
      running = threadIdx.x = descending ? threads - 1 - i : i;
      swapcontext(&scheduler, &fibers[running].context);
      finished += fibers[running].done;
    }
    if (finished != 0 && finished != threads) return false;
  }
  return true;
}

template <class... Parameters, std::size_t... Index>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<Index...>) {
  kernel(*static_cast<Parameters*>(arguments[Index])...);
}

// Returns 1 for a block in which some threads ended before a barrier that others reached.
template <class... Parameters>
int64_t launch(void (*kernel)(Parameters...), int64_t grid_x, int64_t grid_y, int64_t threads,
               int64_t descending, void** arguments) {
  struct Call {
    void (*kernel)(Parameters...);
    void** arguments;
  } the_call{kernel, arguments};
  body_argument = &the_call;
  body = [](void* argument) {
    Call* c = static_cast<Call*>(argument);
    call(c->kernel, c->arguments, std::index_sequence_for<Parameters...>{});
  };
  fibers.resize(static_cast<std::size_t>(threads));
  blockDim = {static_cast<unsigned>(threads), 1, 1};
  gridDim = {static_cast<unsigned>(grid_x), static_cast<unsigned>(grid_y), 1};
  for (int64_t i = 0; i < grid_x * grid_y; ++i) {
    const int64_t block = descending ? grid_x * grid_y - 1 - i : i;
    blockIdx = {static_cast<unsigned>(block % grid_x), static_cast<unsigned>(block / grid_x), 0};
    if (!run_block(descending)) return 1;
  }
  return 0;
}

}  // namespace emulation

inline void __syncthreads() { emulation::wait_for_block(); }

using std::min;

inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(x); }

// Rounded each by itself, whatever the compiler fuses.
inline float __fmul_rn(float a, float b) {
  volatile float product = a * b;
  return product;
}
inline float __fadd_rn(float a, float b) { return a + b; }

template <class T, class U>
T atomicAdd(T* place, U value) {
  const T before = *place;
  *place = before + static_cast<T>(value);
  return before;
}
template <class T, class U>
T atomicMin(T* place, U value) {
  const T before = *place;
  if (static_cast<T>(value) < before) *place = static_cast<T>(value);
  return before;
}
template <class T, class U, class V>
T atomicCAS(T* place, U expected, V value) {
  const T before = *place;
  if (before == static_cast<T>(expected)) *place = static_cast<T>(value);
  return before;
}
