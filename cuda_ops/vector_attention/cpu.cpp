// The weighted sum of vector attention and its gradients.
//
// Weights stand as [num, taps, groups], hidden as [taps, num, num_hidden]. What hidden and lift do
// to a row goes through a small matrix per row, [num_hidden, groups].
#include <stdint.h>
#include <string.h>

#include "../runtime/include/groups.h"
#include "../runtime/include/parallel.h"

using namespace pc3d;

namespace {

constexpr int64_t kTaskRows = 16;     // few: at the deepest levels there are less than a hundred
constexpr int64_t kChunkRows = 1024;  // rows whose gradients of lift are summed apart

// Rows of groups and of hidden are short: four floats at a time, whatever the processor.
constexpr int kFew = 4;
typedef float Few __attribute__((vector_size(4 * kFew), aligned(4), may_alias));

// to += factor * x
PC3D_INLINE void add_scaled(float* to, const float* x, float factor, int64_t num) {
  int64_t i = 0;
  for (; i + kFew <= num; i += kFew) {
    Few* sum = reinterpret_cast<Few*>(to + i);
    *sum += factor * *reinterpret_cast<const Few*>(x + i);
  }
  for (; i < num; ++i) to[i] += factor * x[i];
}

// body(row, thread) for every row.
template <class Body>
void for_rows(int64_t num, int64_t threads, const Body& body) {
  parallel_for(ceil_div(num, kTaskRows), threads, [&](int64_t task, int thread) {
    const int64_t first = task * kTaskRows;
    const int64_t end = num - first < kTaskRows ? num : first + kTaskRows;
    for (int64_t row = first; row < end; ++row) body(row, thread);
  });
}

struct Table {
  const int32_t* rows;  // [taps, num]
  int64_t taps, num;

  // body(tap, source) for the neighbours of a row.
  template <class Body>
  void neighbors(int64_t row, const Body& body) const {
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t source = rows[tap * num + row];
      if (source >= 0) body(tap, source);
    }
  }
};

// The positions of pairs: `hidden` of each, times `lift`.
struct Positions {
  const float* hidden;  // [taps, num, num_hidden]
  int64_t num_hidden;
  const Table& table;

  const float* of(int64_t tap, int64_t row) const {
    return hidden + (tap * table.num + row) * num_hidden;
  }

  // mixed [num_hidden, groups]: the sum over neighbours of weights times hidden.
  void mix_hidden(const float* weights, int64_t groups, int64_t row, float* mixed) const {
    memset(mixed, 0, sizeof(float) * num_hidden * groups);
    table.neighbors(row, [&](int64_t tap, int64_t) {
      const float* share = weights + (row * table.taps + tap) * groups;
      for (int64_t i = 0; i < num_hidden; ++i) {
        add_scaled(mixed + i * groups, share, of(tap, row)[i], groups);
      }
    });
  }
};

// lifted [num_hidden, groups]: sums of grad times lift over the channels of each group.
void sum_lifted(const float* grad, const float* lift, int64_t num_hidden, int64_t groups,
               int64_t channels, float* lifted) {
  for (int64_t i = 0; i < num_hidden; ++i) {
    group_sums(grad, lift + i * channels, groups, channels / groups, lifted + i * groups);
  }
}

}  // namespace

// y [num, channels] = the sum over neighbours of weights times (v [num_sources, channels] + hidden
// lift). groups_memory: for pc3d_group_entries(channels); scratch: per thread [num_hidden, groups].
// Returns 0, or 1 if the table names a row beyond num_sources.
PC3D_EXPORT int64_t pc3d_vector_sum(const float* weights, const float* v, const float* hidden,
                                    const float* lift, const int32_t* rows, int64_t taps,
                                    int64_t num, int64_t num_sources, int64_t channels,
                                    int64_t num_hidden, int64_t groups, float* y, float* scratch,
                                    int32_t* groups_memory, int64_t threads) {
  const Groups split(groups, channels, groups_memory);
  const Table table{rows, taps, num};
  const Positions positions{hidden, num_hidden, table};
  int64_t beyond = 0;
  for_rows(num, threads, [&](int64_t row, int thread) {
    float* sum = y + row * channels;
    memset(sum, 0, sizeof(float) * channels);
    table.neighbors(row, [&](int64_t tap, int64_t source) {
      if (source >= num_sources) {
        __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
        return;
      }
      const float* share = weights + (row * taps + tap) * groups;
      mix<true>(split, share, v + source * channels, channels, sum);
    });
    float* mixed = scratch + thread * num_hidden * groups;
    positions.mix_hidden(weights, groups, row, mixed);
    for (int64_t i = 0; i < num_hidden; ++i) {
      mix<true>(split, mixed + i * groups, lift + i * channels, channels, sum);
    }
  });
  return beyond;
}

// weights_grad [num, taps, groups], zero before: sums of grad times (v + hidden lift) over the
// channels of each group. Returns 0, or 1 if the table names a row beyond num_sources.
PC3D_EXPORT int64_t pc3d_vector_sum_grad_weights(const float* grad, const float* v,
                                                 const float* hidden, const float* lift,
                                                 const int32_t* rows, int64_t taps, int64_t num,
                                                 int64_t num_sources, int64_t channels,
                                                 int64_t num_hidden, int64_t groups,
                                                 float* weights_grad, float* scratch,
                                                 int64_t threads) {
  const Table table{rows, taps, num};
  const Positions positions{hidden, num_hidden, table};
  int64_t beyond = 0;
  for_rows(num, threads, [&](int64_t row, int thread) {
    const float* slope = grad + row * channels;
    float* lifted = scratch + thread * num_hidden * groups;
    sum_lifted(slope, lift, num_hidden, groups, channels, lifted);
    table.neighbors(row, [&](int64_t tap, int64_t source) {
      if (source >= num_sources) {
        __atomic_store_n(&beyond, 1, __ATOMIC_RELAXED);
        return;
      }
      float* to = weights_grad + (row * taps + tap) * groups;
      group_sums(slope, v + source * channels, groups, channels / groups, to);
      for (int64_t i = 0; i < num_hidden; ++i) {
        add_scaled(to, lifted + i * groups, positions.of(tap, row)[i], groups);
      }
    });
  });
  return beyond;
}

PC3D_EXPORT int64_t pc3d_vector_sum_scratch_floats(int64_t num_hidden, int64_t groups) {
  return (num_hidden + ceil_div(num_hidden, kFew) * kFew) * groups;
}

// hidden_grad [taps, num, num_hidden], zero before: sums of grad times weights times lift over all
// channels. scratch: per thread.
PC3D_EXPORT void pc3d_vector_sum_grad_hidden(const float* grad, const float* weights,
                                             const float* lift, const int32_t* rows, int64_t taps,
                                             int64_t num, int64_t channels, int64_t num_hidden,
                                             int64_t groups, float* hidden_grad, float* scratch,
                                             int64_t threads) {
  const Table table{rows, taps, num};
  const int64_t padded = ceil_div(num_hidden, kFew) * kFew;
  for_rows(num, threads, [&](int64_t row, int thread) {
    float* lifted = scratch + thread * (num_hidden + padded) * groups;
    float* transposed = lifted + num_hidden * groups;  // [groups, padded]
    sum_lifted(grad + row * channels, lift, num_hidden, groups, channels, lifted);
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t i = 0; i < padded; ++i) {
        transposed[g * padded + i] = i < num_hidden ? lifted[i * groups + g] : 0;
      }
    }
    table.neighbors(row, [&](int64_t tap, int64_t) {
      const float* share = weights + (row * taps + tap) * groups;
      float* to = hidden_grad + (tap * num + row) * num_hidden;
      for (int64_t first = 0; first < num_hidden; first += kFew) {
        float sum[kFew] = {};
        for (int64_t g = 0; g < groups; ++g) {
          add_scaled(sum, transposed + g * padded + first, share[g], kFew);
        }
        for (int64_t i = first; i < num_hidden && i < first + kFew; ++i) to[i] = sum[i - first];
      }
    });
  });
}

PC3D_EXPORT int64_t pc3d_vector_sum_chunks(int64_t num) { return ceil_div(num, kChunkRows); }

// lift_grad [num_hidden, channels]: the sum over rows of grad times the mixed hidden. Chunks of rows
// are summed apart, into sums [chunks, num_hidden, channels], and then in their order.
PC3D_EXPORT void pc3d_vector_sum_grad_lift(const float* grad, const float* weights,
                                           const float* hidden, const int32_t* rows, int64_t taps,
                                           int64_t num, int64_t channels, int64_t num_hidden,
                                           int64_t groups, float* lift_grad, float* sums,
                                           float* scratch, int32_t* groups_memory,
                                           int64_t threads) {
  const Groups split(groups, channels, groups_memory);
  const Table table{rows, taps, num};
  const Positions positions{hidden, num_hidden, table};
  const int64_t chunks = ceil_div(num, kChunkRows), size = num_hidden * channels;
  parallel_for(chunks, threads, [&](int64_t chunk, int thread) {
    float* mixed = scratch + thread * num_hidden * groups;
    float* sum = sums + chunk * size;
    memset(sum, 0, sizeof(float) * size);
    const int64_t first = chunk * kChunkRows;
    const int64_t end = num - first < kChunkRows ? num : first + kChunkRows;
    for (int64_t row = first; row < end; ++row) {
      positions.mix_hidden(weights, groups, row, mixed);
      for (int64_t i = 0; i < num_hidden; ++i) {
        mix<true>(split, mixed + i * groups, grad + row * channels, channels, sum + i * channels);
      }
    }
  });
  memset(lift_grad, 0, sizeof(float) * size);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    add_scaled(lift_grad, sums + chunk * size, 1, size);
  }
}

// v_grad [num_sources, channels]: the sum over the pairs of each source of weights times grad.
PC3D_EXPORT void pc3d_vector_sum_grad_v(const float* grad, const float* weights,
                                        const int64_t* starts, const int32_t* pairs, int64_t taps,
                                        int64_t num_sources, int64_t channels, int64_t groups,
                                        float* v_grad, int32_t* groups_memory, int64_t threads) {
  const Groups split(groups, channels, groups_memory);
  for_rows(num_sources, threads, [&](int64_t source, int) {
    float* sum = v_grad + source * channels;
    memset(sum, 0, sizeof(float) * channels);
    for (int64_t i = starts[source]; i < starts[source + 1]; ++i) {
      const int64_t row = pairs[2 * i], tap = pairs[2 * i + 1];
      mix<true>(split, weights + (row * taps + tap) * groups, grad + row * channels, channels,
                sum);
    }
  });
}
