// The k nearest points of each query, through boxes around points that lie near each other.
//
// Points are put in an order in which neighbours in space stand near each other, and every 16 in a
// row get their bounding box, every 16 boxes theirs, and so on. A query descends into the boxes
// that may hold something nearer than its k-th candidate. Rounding is monotone, so that the
// distance to a box, computed like that to a point, is never more than that to a point inside it:
// nothing has to be added for safety, and no order of the points can make the result wrong.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/parallel.h"
#include "../runtime/include/rounded.h"
#include "../runtime/include/simd.h"
#include "order.h"

using namespace pc3d;

namespace {

constexpr int kFanout = 16;
constexpr int kMaxLevels = 8;  // 16^8 > 2^31 points
constexpr int64_t kQueriesPerTask = 256;
constexpr int64_t kNodesPerTask = 64;

struct Node {  // 16 boxes; empty ones are at an infinite distance
  float low[3][kFanout];
  float high[3][kFanout];
  int32_t first_row[kFanout];  // the smallest row in each
};

// Sorted points in columns, padded to whole leaves, and the boxes around them.
struct Tree {
  float* axis[3];
  int32_t* row;
  Node* level[kMaxLevels];  // level[0]: boxes of 16 points
  int num_levels;

  static int64_t padded(int64_t num) { return ceil_div(num, kFanout) * kFanout; }

  static int64_t bytes(int64_t num) {
    int64_t nodes = 0;
    for (int64_t size = ceil_div(num, kFanout * kFanout);; size = ceil_div(size, kFanout)) {
      nodes += size;
      if (size <= 1) break;
    }
    return nodes * static_cast<int64_t>(sizeof(Node)) + 4 * 4 * padded(num);
  }

  Tree(void* workspace, int64_t num) {
    Node* nodes = static_cast<Node*>(workspace);
    num_levels = 0;
    for (int64_t size = ceil_div(num, kFanout * kFanout);; size = ceil_div(size, kFanout)) {
      level[num_levels++] = nodes;
      nodes += size;
      if (size <= 1) break;
    }
    float* columns = reinterpret_cast<float*>(nodes);
    for (int a = 0; a < 3; ++a) axis[a] = columns + a * padded(num);
    row = reinterpret_cast<int32_t*>(columns + 3 * padded(num));
  }
};

constexpr float kInfinity = __builtin_inff();

// Box `place` of a node around `num` points or boxes in rows of 16.
void enclose(Node& node, int place, const float* const low[3], const float* const high[3],
             const int32_t* rows, int num) {
  for (int a = 0; a < 3; ++a) {
    float least = kInfinity, most = -kInfinity;
    for (int i = 0; i < num; ++i) {
      least = low[a][i] < least ? low[a][i] : least;
      most = high[a][i] > most ? high[a][i] : most;
    }
    node.low[a][place] = least;
    node.high[a][place] = most;
  }
  int32_t first = INT32_MAX;
  for (int i = 0; i < num; ++i) first = rows[i] < first ? rows[i] : first;
  node.first_row[place] = first;
}

void build(const Tree& tree, const float* points, const int32_t* order, int64_t num,
           int64_t threads) {
  const int64_t padded = Tree::padded(num);
  parallel_ranges(padded, kNodesPerTask * kFanout, threads, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      const bool is_point = i < num;
      for (int a = 0; a < 3; ++a) tree.axis[a][i] = is_point ? points[3 * order[i] + a] : kInfinity;
      tree.row[i] = is_point ? order[i] : INT32_MAX;
    }
  });
  int64_t things = ceil_div(num, kFanout);  // leaves, then nodes of a level
  for (int l = 0; l < tree.num_levels; ++l) {
    const int64_t nodes = ceil_div(things, kFanout);
    parallel_ranges(nodes, kNodesPerTask, threads, [&](int64_t first, int64_t end) {
      for (int64_t n = first; n < end; ++n) {
        for (int place = 0; place < kFanout; ++place) {
          const int64_t thing = n * kFanout + place;
          const float *low[3] = {}, *high[3] = {};
          const int32_t* rows = nullptr;
          int size = thing < things ? kFanout : 0;
          for (int a = 0; a < 3 && size; ++a) {
            const Node* below = l ? tree.level[l - 1] + thing : nullptr;
            low[a] = l ? below->low[a] : tree.axis[a] + thing * kFanout;
            high[a] = l ? below->high[a] : low[a];
            rows = l ? below->first_row : tree.row + thing * kFanout;
          }
          if (l == 0 && size && num - thing * kFanout < size) size = num - thing * kFanout;
          enclose(tree.level[l][n], place, low, high, rows, size);
        }
      }
    });
    things = nodes;
  }
}

// A candidate as one number: nearer ones are less, of equally near ones those of smaller rows.
inline int64_t candidate(float squared, int32_t row) {
  uint32_t bits;
  memcpy(&bits, &squared, sizeof(bits));  // grows with a number that is not negative
  return static_cast<int64_t>(static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(row));
}

inline float squared_of(int64_t candidate) {
  const uint32_t bits = static_cast<uint32_t>(candidate >> 32);
  float squared;
  memcpy(&squared, &bits, sizeof(squared));
  return squared;
}

struct Search {
  const Tree& tree;
  int64_t begin, end;  // the places of its cloud's points
  int64_t k;

  struct Box {
    int64_t bound;  // no candidate in it is less
    int64_t index;
    int level;  // -1: a leaf
  };

  static void insert(int64_t* best, int64_t k, int64_t found) {
    int64_t place = k - 1;
    for (; place > 0 && best[place - 1] > found; --place) best[place] = best[place - 1];
    best[place] = found;
  }

  void scan(const float* q, int64_t leaf, int64_t* best) const {
    const int64_t start = leaf * kFanout;
    for (int v = 0; v < kFanout; v += kLanes) {
      const int64_t at = start + v;
      if (at >= end || at + kLanes <= begin) continue;
      const Vec d = squared_length(load(tree.axis[0] + at) - broadcast(q[0]),
                                   load(tree.axis[1] + at) - broadcast(q[1]),
                                   load(tree.axis[2] + at) - broadcast(q[2]));
      uint32_t near = at_most(d, broadcast(squared_of(best[k - 1])));
      if (at < begin) near &= ~0u << (begin - at);
      if (at + kLanes > end) near &= (1u << (end - at)) - 1;
      if (!near) continue;
      float squared[kLanes];
      store(squared, d);
      for (; near; near &= near - 1) {
        const int lane = __builtin_ctz(near);
        const int64_t found = candidate(squared[lane], tree.row[at + lane]);
        if (found < best[k - 1]) insert(best, k, found);
      }
    }
  }

  // The boxes of a node that may hold something onto the stack, the nearest on top.
  Box* open(const float* q, const Box& box, Box* top, float reach) const {
    const Node& node = tree.level[box.level][box.index];
    uint32_t near = 0;
    float squared[kFanout];
    for (int v = 0; v < kFanout; v += kLanes) {
      Vec outside[3];
      for (int a = 0; a < 3; ++a) {
        const Vec at = broadcast(q[a]);
        outside[a] = larger(larger(load(node.low[a] + v) - at, at - load(node.high[a] + v)), Vec{});
      }
      const Vec d = squared_length(outside[0], outside[1], outside[2]);
      store(squared + v, d);
      near |= at_most(d, broadcast(reach)) << v;
    }
    const int shift = 4 * (box.level + 1);  // of a child's number to its first place
    const int64_t child = box.index * kFanout;
    const int64_t first = (begin >> shift) - child, last = ((end - 1) >> shift) - child;
    if (first > 0) near &= ~0u << first;
    if (last < kFanout - 1) near &= (2u << last) - 1;
    Box *nearest = top, *free = top;
    for (; near; near &= near - 1) {
      const int place = __builtin_ctz(near);
      *free = {candidate(squared[place], node.first_row[place]), child + place, box.level - 1};
      if (free->bound < nearest->bound) nearest = free;
      ++free;
    }
    if (free > top) {
      const Box swap = *nearest;
      *nearest = free[-1];
      free[-1] = swap;
    }
    return free;
  }

  // best [k]: the k least candidates, filled with `limit` before.
  void run(const float* q, int64_t* best) const {
    Box stack[kMaxLevels * kFanout];
    Box* top = stack;
    *top++ = {0, 0, tree.num_levels - 1};
    while (top > stack) {
      const Box box = *--top;
      if (box.bound > best[k - 1]) continue;
      if (box.level < 0) {
        scan(q, box.index, best);
      } else {
        top = open(q, box, top, squared_of(best[k - 1]));
      }
    }
  }
};

// The largest squared distance from q to the points that are candidates: as far as k points are.
float farthest(const float* q, const float* points, const int64_t* candidates, int64_t k) {
  float most = 0;
  for (int64_t i = 0; i < k; i += kLanes) {
    float delta[3][kLanes] = {};
    for (int64_t lane = 0; lane < kLanes && i + lane < k; ++lane) {
      const float* p = points + 3 * static_cast<int64_t>(static_cast<int32_t>(candidates[i + lane]));
      for (int a = 0; a < 3; ++a) delta[a][lane] = p[a] - q[a];
    }
    float squared[kLanes];
    store(squared, squared_length(load(delta[0]), load(delta[1]), load(delta[2])));
    for (int lane = 0; lane < kLanes; ++lane) most = squared[lane] > most ? squared[lane] : most;
  }
  return most;
}

}  // namespace

// Bytes of workspace for a search among num points.
PC3D_EXPORT int64_t pc3d_nearest_bytes(int64_t num) { return Tree::bytes(num); }

// The order of rows [num, 3] of every cloud, order [num] int32; sort_space has room for 16 bytes a
// row. Returns the number of rows that are not finite; the order is of no use if there are any.
PC3D_EXPORT int64_t pc3d_nearest_order(const float* rows, int64_t num, const int64_t* offsets,
                                       int64_t clouds, int32_t* order, void* sort_space,
                                       int64_t threads) {
  int64_t bad = 0;
  for (int64_t i = 0; i < num; ++i) {
    bool finite = true;
    for (int a = 0; a < 3; ++a) finite &= __builtin_fabsf(rows[3 * i + a]) < kInfinity;
    bad += !finite;
  }
  if (bad) return bad;
  Entry* entries = static_cast<Entry*>(sort_space);
  parallel_for(clouds, threads, [&](int64_t cloud, int) {
    const int64_t first = offsets[cloud], end = offsets[cloud + 1];
    for (int64_t i = first; i < end; ++i) entries[i].row = static_cast<int32_t>(i);
    order_in_space(rows, entries + first, entries + num + first, end - first);
    for (int64_t i = first; i < end; ++i) order[i] = entries[i].row;
  });
  return 0;
}

// best [num_queries, k]: candidates of each query among points [num_points, 3], the best first;
// `limit_bits` are those of the largest squared distance. Offsets [clouds + 1] ascend from 0 to the
// numbers of rows; orders are those of pc3d_nearest_order.
PC3D_EXPORT int64_t pc3d_nearest_neighbors(
    const float* points, const int64_t* point_offsets, const int32_t* point_order,
    int64_t num_points, const float* queries, const int64_t* query_offsets,
    const int32_t* query_order, int64_t num_queries, int64_t k, int64_t limit_bits,
    int64_t* best, void* workspace, int64_t threads) {
  const Tree tree(workspace, num_points);
  build(tree, points, point_order, num_points, threads);
  const int64_t limit = limit_bits << 32 | INT32_MAX;
  parallel_ranges(num_queries, kQueriesPerTask, threads, [&](int64_t first, int64_t last) {
    int64_t cloud = 0;
    const int64_t* before = nullptr;  // what the query before has found
    for (int64_t i = first; i < last; ++i) {
      while (i >= query_offsets[cloud + 1]) {
        ++cloud;
        before = nullptr;
      }
      const Search search{tree, point_offsets[cloud], point_offsets[cloud + 1], k};
      const float* q = queries + 3 * static_cast<int64_t>(query_order[i]);
      int64_t* found = best + query_order[i] * k;
      int64_t worst = limit;
      if (before && static_cast<int32_t>(before[k - 1]) != INT32_MAX) {
        const int64_t known = candidate(farthest(q, points, before, k), INT32_MAX);
        worst = known < limit ? known : limit;
      }
      for (int64_t j = 0; j < k; ++j) found[j] = worst;
      if (search.begin < search.end) search.run(q, found);
      before = found;
    }
  });
  return 0;
}

// table and squared [k, num] from best [num, k].
PC3D_EXPORT int64_t pc3d_nearest_unpack(const int64_t* best, int64_t num, int64_t k,
                                        int32_t* table, float* squared, int64_t threads) {
  constexpr int64_t kBlock = 16;
  parallel_ranges(num, kBlock * 16, threads, [&](int64_t from, int64_t to) {
    for (int64_t first = from; first < to; first += kBlock) {
      const int64_t last = to - first < kBlock ? to : first + kBlock;
      for (int64_t j = 0; j < k; ++j) {
        for (int64_t i = first; i < last; ++i) {
          const int64_t found = best[i * k + j];
          const int32_t row = static_cast<int32_t>(found);
          table[j * num + i] = row == INT32_MAX ? -1 : row;
          squared[j * num + i] = row == INT32_MAX ? kInfinity : squared_of(found);
        }
      }
    }
  });
  return 0;
}
