// A loop over independent tasks on the threads of the OpenMP runtime that torch has loaded.
//
// The library is not linked to OpenMP: Python hands over GOMP_parallel (set_parallel), which both
// libgomp and LLVM's libomp export. So any C++ compiler will do, and no second pool competes with
// torch's. With one thread no region is entered: a region in a forked child hangs for ever once the
// parent has used one.
#pragma once
#include <stdint.h>

namespace pc3d {

using StartParallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);
extern StartParallel start_parallel;  // null: this process has no OpenMP runtime

template <class Body>
struct Job {
  const Body* body;
  int64_t num_tasks;
  int64_t next_task;
  int next_thread;

  static void work(void* pointer) {
    Job* job = static_cast<Job*>(pointer);
    const int thread = __atomic_fetch_add(&job->next_thread, 1, __ATOMIC_RELAXED);
    for (;;) {
      const int64_t task = __atomic_fetch_add(&job->next_task, 1, __ATOMIC_RELAXED);
      if (task >= job->num_tasks) return;
      (*job->body)(task, thread);
    }
  }
};

// body(task, thread) for every task in [0, num_tasks); thread in [0, num_threads) names the scratch
// memory that the body may use. Tasks must not depend on each other nor on who runs them.
template <class Body>
void parallel_for(int64_t num_tasks, int64_t num_threads, const Body& body) {
  if (num_threads > num_tasks) num_threads = num_tasks;
  Job<Body> job{&body, num_tasks, 0, 0};
  if (num_threads > 1 && start_parallel != nullptr) {
    start_parallel(&Job<Body>::work, &job, static_cast<unsigned>(num_threads), 0);
  } else {
    Job<Body>::work(&job);
  }
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// body(first, end) for the items [0, num), a range of at most `size` of them at a time.
template <class Body>
void parallel_ranges(int64_t num, int64_t size, int64_t num_threads, const Body& body) {
  parallel_for(ceil_div(num, size), num_threads, [&](int64_t task, int) {
    const int64_t first = task * size;
    body(first, num - first < size ? num : first + size);
  });
}

}  // namespace pc3d

#define PC3D_EXPORT extern "C" __attribute__((visibility("default")))
