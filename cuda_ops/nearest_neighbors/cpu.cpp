// The k nearest points of each query (op.py), through a tree of boxes around the points.
//
// Queries are taken in an order in which neighbours in space follow each other. As far as the last
// query's neighbours are from the next query, so far it has to look at most. The first of a group
// descends the tree; for the others, the lowest nodes around all of the group are found once.
#include <stdint.h>
#include <string.h>

#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"
#include "../runtime/include/squared_distance.h"
#include "best.h"
#include "box_tree.h"
#include "order.h"

using namespace pc3d;

namespace {

constexpr int64_t kGroup = 32;
constexpr int64_t kQueriesPerTask = 8 * kGroup;
constexpr float kMargin = 4;  // of squared distances: what a group looks for beyond its first query
constexpr int kMostNodes = 64;  // of a group; more are not worth a list

// The lowest nodes within reach of a group of queries.
struct Nodes {
  int64_t index[kMostNodes];
  int num;
  float reach;  // squared; less than 0: there is no list
};

struct Search {
  const BoxTree& tree;
  int64_t begin, end;  // the places of its cloud's points, of which there are some

  // What is found among all points.
  void descend(const float* q, Best& best) const {
    Box stack[kMaxLevels * kFanout];
    Box* top = stack;
    *top++ = {0, 0, tree.num_levels - 1};
    while (top > stack) {
      const Box box = *--top;
      if (box.bound > best.worst) continue;
      if (box.level < 0) {
        scan(q, box.index, best);
      } else {
        top = open(q, box, top, best.reach());
      }
    }
    best.keep();
  }

  // What is found among the points of the lowest nodes.
  void among(const Nodes& nodes, const float* q, Best& best) const {
    float squared[kFanout];
    for (int i = 0; i < nodes.num; ++i) {
      const int64_t index = nodes.index[i];
      uint32_t near = boxes_near(q, q, tree.level[0][index], best.reach(), squared);
      near &= of_cloud(0, index);
      for (; near; near &= near - 1) scan(q, index * kFanout + __builtin_ctz(near), best);
    }
    best.keep();
  }

  // The lowest nodes within reach of all queries between low and high, unless there are too many.
  void collect(const float* low, const float* high, float reach, Nodes& nodes) const {
    Box stack[kMaxLevels * kFanout];
    Box* top = stack;
    *top++ = {0, 0, tree.num_levels - 1};
    nodes.num = 0;
    nodes.reach = -1;
    float squared[kFanout];
    while (top > stack) {
      const Box box = *--top;
      if (box.level == 0) {
        if (nodes.num == kMostNodes) return;
        nodes.index[nodes.num++] = box.index;
        continue;
      }
      const Node& node = tree.level[box.level][box.index];
      uint32_t near = boxes_near(low, high, node, reach, squared) & of_cloud(box.level, box.index);
      for (; near; near &= near - 1) {
        *top++ = {0, box.index * kFanout + __builtin_ctz(near), box.level - 1};
      }
    }
    nodes.reach = reach;
  }

 private:
  struct Box {
    int64_t bound;  // no candidate in it is less
    int64_t index;
    int level;  // of the node that it is; -1: a leaf
  };

  void scan(const float* q, int64_t leaf, Best& best) const {
    const int64_t start = leaf * kFanout;
    for (int64_t at = start; at < start + kFanout; at += kLanes) {
      const Vec squared = squared_distance(load(tree.axis[0] + at) - broadcast(q[0]),
                                           load(tree.axis[1] + at) - broadcast(q[1]),
                                           load(tree.axis[2] + at) - broadcast(q[2]));
      uint32_t near = at_most(squared, broadcast(best.reach()));
      if (at < begin) near &= begin - at < kLanes ? ~0u << (begin - at) : 0;
      if (at + kLanes > end) near &= end > at ? (1u << (end - at)) - 1 : 0;
      if (near) best.add(squared, tree.row + at, near);
    }
  }

  // A bit for each child of a node that holds points of the cloud.
  uint32_t of_cloud(int level, int64_t index) const {
    const int shift = kFanoutBits * (level + 1);  // from places to children
    const int64_t child = index * kFanout;
    const int64_t first = (begin >> shift) - child, last = ((end - 1) >> shift) - child;
    return (first > 0 ? ~0u << first : ~0u) & (last < kFanout - 1 ? (2u << last) - 1 : ~0u);
  }

  // Puts the children of a node that are within reach onto the stack, the nearest on top.
  Box* open(const float* q, const Box& box, Box* top, float reach) const {
    const Node& node = tree.level[box.level][box.index];
    float squared[kFanout];
    uint32_t near = boxes_near(q, q, node, reach, squared) & of_cloud(box.level, box.index);
    Box *nearest = top, *free = top;
    for (; near; near &= near - 1) {
      const int place = __builtin_ctz(near);
      *free = {candidate(squared[place], node.first_row[place]), box.index * kFanout + place,
               box.level - 1};
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
};

struct Rows {
  const float* xyz;  // [num, 3]
  const int64_t* offsets;
  const int32_t* order;  // [num]
  int64_t num;

  const float* at(int64_t place) const { return xyz + 3 * static_cast<int64_t>(order[place]); }
};

// The largest squared distance of k points that are candidates.
float farthest(const float* q, const float* points, const int64_t* candidates, int64_t k) {
  float most = 0;
  for (int64_t i = 0; i < k; i += kLanes) {
    float delta[3][kLanes] = {}, squared[kLanes];
    for (int64_t lane = 0; lane < kLanes && i + lane < k; ++lane) {
      const int64_t row = static_cast<int32_t>(candidates[i + lane]);
      for (int a = 0; a < 3; ++a) delta[a][lane] = points[3 * row + a] - q[a];
    }
    store(squared, squared_distance(load(delta[0]), load(delta[1]), load(delta[2])));
    for (int lane = 0; lane < kLanes; ++lane) most = squared[lane] > most ? squared[lane] : most;
  }
  return most;
}

// The nodes for the queries at places [first, end), the first of which has found `reach`.
void collect_group(const Search& search, const Rows& queries, int64_t first, int64_t end,
                   float reach, Nodes& nodes) {
  float low[3], high[3];
  for (int a = 0; a < 3; ++a) low[a] = high[a] = queries.at(first)[a];
  for (int64_t i = first + 1; i < end; ++i) {
    const float* q = queries.at(i);
    for (int a = 0; a < 3; ++a) {
      low[a] = q[a] < low[a] ? q[a] : low[a];
      high[a] = q[a] > high[a] ? q[a] : high[a];
    }
  }
  search.collect(low, high, kMargin * reach, nodes);
}

// Results [k] of the queries at places [first, end), all of one cloud, to best [num, k].
void search_range(const Search& search, const Rows& points, const Rows& queries, int64_t first,
                  int64_t end, int64_t k, int64_t limit, int64_t* scratch, int64_t* best) {
  Nodes nodes;
  nodes.reach = -1;
  const int64_t* before = nullptr;  // what the last query found, if that is k points
  for (int64_t i = first; i < end; ++i) {
    const float* q = queries.at(i);
    Best found{k, limit, 0, scratch};
    if (before) {
      const int64_t known = candidate(farthest(q, points.xyz, before, k), kLastRow);
      if (known < limit) found.worst = known;
    }
    const bool leads = (i - first) % kGroup == 0;
    if (!leads && found.reach() <= nodes.reach) {
      search.among(nodes, q, found);
    } else {
      search.descend(q, found);
    }
    if (leads) {
      const int64_t last = end - i < kGroup ? end : i + kGroup;
      nodes.reach = -1;
      if (found.num == k) collect_group(search, queries, i, last, found.reach(), nodes);
    }
    int64_t* result = best + queries.order[i] * k;
    memcpy(result, found.found, sizeof(int64_t) * found.num);
    for (int64_t j = found.num; j < k; ++j) result[j] = kNobody;
    before = found.num == k ? result : nullptr;
  }
}

}  // namespace

// Bytes of workspace for a search for k of num points.
PC3D_EXPORT int64_t pc3d_nearest_bytes(int64_t num, int64_t k, int64_t threads) {
  return BoxTree::bytes(num) + threads * 2 * Best::capacity(k) * 8;
}

// The order of rows [num, 3] of every cloud, order [num]; sort_space has 16 bytes for each. Returns
// the number of rows that are not finite; if there are any, there is no order.
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

// best [num_queries, k]: candidates for each query, the best first, then kNobody. `limit_bits` are
// those of the largest squared distance; offsets ascend from 0 to the numbers of rows, and orders
// are those of pc3d_nearest_order.
PC3D_EXPORT int64_t pc3d_nearest_neighbors(
    const float* point_xyz, const int64_t* point_offsets, const int32_t* point_order,
    int64_t num_points, const float* query_xyz, const int64_t* query_offsets,
    const int32_t* query_order, int64_t num_queries, int64_t k, int64_t limit_bits, int64_t* best,
    void* workspace, int64_t threads) {
  const Rows points{point_xyz, point_offsets, point_order, num_points};
  const Rows queries{query_xyz, query_offsets, query_order, num_queries};
  const BoxTree tree(workspace, num_points);
  if (num_points) tree.build(point_xyz, point_order, num_points, threads);
  char* after = static_cast<char*>(workspace) + BoxTree::bytes(num_points);
  int64_t* scratch = reinterpret_cast<int64_t*>(after);
  const int64_t limit = limit_bits << 32 | kLastRow;
  const int64_t tasks = ceil_div(num_queries, kQueriesPerTask);
  parallel_for(tasks, threads, [&](int64_t task, int thread) {
    const int64_t stop = (task + 1) * kQueriesPerTask;
    const int64_t end = stop < num_queries ? stop : num_queries;
    int64_t cloud = 0;
    for (int64_t first = task * kQueriesPerTask, last; first < end; first = last) {
      while (query_offsets[cloud + 1] <= first) ++cloud;
      last = query_offsets[cloud + 1] < end ? query_offsets[cloud + 1] : end;
      const Search search{tree, point_offsets[cloud], point_offsets[cloud + 1]};
      if (search.begin < search.end) {
        search_range(search, points, queries, first, last, k, limit,
                     scratch + thread * 2 * Best::capacity(k), best);
      } else {
        for (int64_t i = first; i < last; ++i) {
          for (int64_t j = 0; j < k; ++j) best[query_order[i] * k + j] = kNobody;
        }
      }
    }
  });
  return 0;
}

// The first k rows of table and squared [*, num] from best [num, k].
PC3D_EXPORT int64_t pc3d_nearest_unpack(const int64_t* best, int64_t num, int64_t k,
                                        int32_t* table, float* squared, int64_t threads) {
  constexpr int64_t kBlock = 16;
  parallel_ranges(num, kBlock * 16, threads, [&](int64_t from, int64_t to) {
    for (int64_t first = from; first < to; first += kBlock) {
      const int64_t last = to - first < kBlock ? to : first + kBlock;
      for (int64_t j = 0; j < k; ++j) {
        for (int64_t i = first; i < last; ++i) {
          const int64_t found = best[i * k + j];
          table[j * num + i] = found == kNobody ? -1 : static_cast<int32_t>(found);
          squared[j * num + i] = found == kNobody ? kInfinity : squared_of(found);
        }
      }
    }
  });
  return 0;
}
