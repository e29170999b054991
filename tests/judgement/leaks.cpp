// SPDX-License-Identifier: Apache-2.0
// Sick programs: memory that grows with their work, in the forms that it takes, alone and beside what is
// harmless. Before it went on over four stretches of work nobody can tell it from data that is still being
// loaded.
#include <fcntl.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../workloads/arena.hpp"
#include "series.hpp"

using namespace judgement;

SITE_FUNCTION(make_base, malloc(size))
SITE_FUNCTION(make_temporary, malloc(size))
SITE_FUNCTION(leak_record, malloc(size))
SITE_FUNCTION(leak_other, malloc(size))
SITE_FUNCTION(leak_zeroed, calloc(1, size))
SITE_FUNCTION(leak_aligned, aligned_alloc(64, (size + 63) / 64 * 64))
SITE_FUNCTION(make_chunk, malloc(size))
SITE_FUNCTION(make_text, malloc(size))
SITE_FUNCTION(checked_malloc, malloc(size))
SITE_FUNCTION(leak_by_wrapper, checked_malloc(size))

namespace {

Random random_numbers(3);
Pool base(1 << 20), items(1 << 20);

void work(std::uint64_t bytes) { pass_by(make_temporary, bytes, random_numbers); }

/// Loses that much by one call site.
void lose(Leak& leak, Allocate site, std::size_t each, std::uint64_t bytes) {
  for (const std::uint64_t until = leak.lost() + bytes; leak.lost() < until;) leak.add(site, each);
}

/// Loses 4 MiB in each step, beside 30 MiB of data and other work.
void lose_by(Series& series, Allocate site, const char* leaf, std::size_t each, const char* may = "") {
  Leak leak(leaf);
  base.fill(make_base, 400, 30 * kMega);
  for (; series.goes_on(); lose(leak, site, each, 4 * kMega), work(10 * kMega))
    series.report(leak.label(may));
}

void small_blocks(Series& series) { lose_by(series, leak_record, "leak_record", 96); }
void large_buffers(Series& series) { lose_by(series, leak_record, "leak_record", kMega); }
void zeroed_blocks(Series& series) { lose_by(series, leak_zeroed, "leak_zeroed", 2000); }
void aligned_blocks(Series& series) { lose_by(series, leak_aligned, "leak_aligned", 3200, "rounding"); }
void by_a_wrapper(Series& series) { lose_by(series, leak_by_wrapper, "leak_by_wrapper", 700); }

void fast(Series& series) {
  Leak leak("leak_record", Leak::kStretchesOfAll);
  for (; series.goes_on(); lose(leak, leak_record, 500, 12 * kMega)) series.report(leak.label());
}

void mixed_sizes(Series& series) {
  Leak leak("leak_record");
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    for (int i = 0; i < 1000; i++) leak.add(leak_record, random_numbers.between(16, 9000));
    work(20 * kMega);
    series.report(leak.label());
  }
}

// One in ten is forgotten.
void one_in_ten(Series& series) {
  Leak leak("leak_record");
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    for (int i = 0; i < 60'000; i++) {
      if (i % 10 == 0) leak.add(leak_record, 600);
      else free(leak_record(600));
    }
    series.report(leak.label());
  }
}

void slow_in_a_busy_service(Series& series) {
  Leak leak("leak_record");
  base.fill(make_base, 1000, 40 * kMega);
  for (std::size_t next = 0; series.goes_on();) {
    for (int i = 0; i < 20'000; i++) base.replace(next++ % base.size(), make_base, 1000);
    lose(leak, leak_record, 200, kMega);
    work(20 * kMega);
    series.report(leak.label());
  }
}

void two_functions(Series& series) {
  Leak leak("leak_record|leak_other");
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    lose(leak, leak_record, 300, 2 * kMega);
    lose(leak, leak_other, 900, 2 * kMega);
    work(10 * kMega);
    series.report(leak.label());
  }
}

// A binary tree of calls: each of 8,192 stacks ends in one function.
__attribute__((noinline)) void descend(Leak& leak, int depth, unsigned path);
__attribute__((noinline)) void go_left(Leak& leak, int depth, unsigned path) {
  descend(leak, depth - 1, path * 2);
  __asm__ volatile("" ::: "memory");
}
__attribute__((noinline)) void go_right(Leak& leak, int depth, unsigned path) {
  descend(leak, depth - 1, path * 2 + 1);
  __asm__ volatile("" ::: "memory");
}
__attribute__((noinline)) void descend(Leak& leak, int depth, unsigned path) {
  if (depth == 0)
    for (int i = 0; i < 10; i++) leak.add(leak_record, 100);
  else if (random_numbers.bits() >> 63) go_left(leak, depth, path), go_right(leak, depth, path);
  else go_right(leak, depth, path), go_left(leak, depth, path);
  __asm__ volatile("" ::: "memory");
}

void many_stacks(Series& series) {
  Leak leak("leak_record", Leak::kStretchesOfAll);
  base.fill(make_base, 400, 30 * kMega);
  for (; series.goes_on(); descend(leak, 13, 0)) series.report(leak.label());
}

void beside_a_file_map(Series& series) {
  Leak leak("leak_record", Leak::kStretchesOfAll);
  const int file = open("mapped", O_RDWR | O_CREAT, 0600);
  const std::size_t bytes = 200 * kMega;
  if (ftruncate(file, static_cast<off_t>(bytes)) != 0) fail("ftruncate");
  const auto* map = static_cast<const volatile char*>(mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0));
  for (std::size_t i = 0; i < bytes; i += kPage) static_cast<void>(map[i]);
  for (; series.goes_on(); lose(leak, leak_record, 96, 10 * kMega))
    series.report(leak.label("shared_memory"));
}

// Half of what was loaded goes away, block by block, and leaves holes that requests of the leak do not fit
// into.
void beside_fragmentation(Series& series) {
  Leak leak("leak_record");
  for (int i = 0; i < 120'000; i++) (i % 8 ? items : base).add(make_base, 500);
  items.clear();
  for (; series.goes_on(); lose(leak, leak_record, 3000, 4 * kMega), work(4 * kMega))
    series.report(leak.label(kWaste));
}

// Objects of an arena own blocks of the heap; a reset runs no destructors.
void no_destructors(Series& series) {
  Leak leak("make_text");
  static Arena arena(make_chunk, 64 << 10, false);
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    for (int i = 0; i < 8000; i++) {
      arena.take(24);
      leak.add(make_text, random_numbers.between(30, 900));
      if (i % 500 == 0) arena.reset();
    }
    series.report(leak.label());
  }
}

// A chunk of 128 KiB stays with each query; the program is busy, idle, slow and busy again.
void kept_arena(Series& series) {
  Leak leak("make_chunk", Leak::kStretchesOfAll);
  base.fill(make_base, 400, 30 * kMega);
  constexpr int kQueries[] = {40, 40, 40, 40, 40, 40, 40, 40, 0, 0, 0, 4, 4, 4, 40, 40, 40};
  while (series.goes_on()) {
    for (int i = kQueries[series.step() % std::size(kQueries)]; i > 0; i--) leak.add(make_chunk, 128 << 10);
    series.report(leak.label());
  }
}

void idle_nights(Series& series) {
  Leak leak("leak_record", Leak::kStretchesOfAll);
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    const bool night = series.step() % 10 >= 6;
    if (!night) lose(leak, leak_record, 256, 4 * kMega);
    series.report(leak.label());
  }
}

// Chunks double; what is in memory of them grows evenly.
void doubling_chunks(Series& series) {
  Leak leak("make_chunk", Leak::kStretchesOfAll);
  char* chunk = nullptr;
  std::size_t bytes = kMega, used = kMega;
  while (series.goes_on()) {
    for (std::uint64_t i = 0; i < 8 * kMega; i += 4096) {
      if (used == bytes) {
        bytes *= chunk ? 2 : 1;
        chunk = static_cast<char*>(make_chunk(bytes));
        used = 0;
      }
      memset(chunk + used, 1, 4096);
      used += 4096;
      leak.grow(4096);
    }
    series.report(leak.label(), leak.lost());
  }
}

__attribute__((noinline)) void* grow_table(void* table, std::size_t bytes) {
  void* grown = realloc(table, bytes);
  __asm__ volatile("" : "+r"(grown)::"memory");
  return grown;
}

void one_vector_by_realloc(Series& series) {
  Leak leak("grow_table");
  base.fill(make_base, 400, 30 * kMega);
  char* table = nullptr;
  while (series.goes_on()) {
    for (int i = 0; i < 8; i++) {
      table = static_cast<char*>(grow_table(table, leak.lost() + kMega));
      memset(table + leak.lost(), 1, kMega);
      leak.grow(kMega);
      Pool::ever().mark(table, leak.lost());
    }
    work(4 * kMega);
    const std::uint64_t live = base.live() + leak.lost();
    series.report(leak.label(waste_that_may_be_named(live)), live);
  }
}

// A buffer of each of 300 connections grows and never shrinks.
void buffers_of_connections(Series& series) {
  Leak leak("grow_table");
  base.fill(make_base, 400, 30 * kMega);
  static char* buffers[300];
  for (std::size_t size = 0; series.goes_on(); size += 16 << 10) {
    for (char*& buffer : buffers) {
      buffer = static_cast<char*>(grow_table(buffer, size + (16 << 10)));
      memset(buffer + size, 1, 16 << 10);
      leak.grow(16 << 10);
    }
    work(10 * kMega);
    series.report(leak.label(kWaste), base.live() + leak.lost());
  }
}

void begins_late(Series& series) {
  Leak leak("leak_record");
  base.fill(make_base, 400, 40 * kMega);
  while (series.goes_on()) {
    const bool leaks = series.step() >= 8;
    if (leaks) lose(leak, leak_record, 400, 4 * kMega);
    work(15 * kMega);
    series.report(leaks ? leak.label() : healthy());
  }
}

// It stands out of the teeth once it lost more than one of them is high.
void under_a_sawtooth(Series& series) {
  Leak leak("leak_record", Leak::kStretches, 30 * kMega);
  base.fill(make_base, 400, 20 * kMega);
  while (series.goes_on()) {
    if (items.live() > 15 * kMega) items.clear();
    items.fill(make_base, 1500, items.live() + 7 * kMega);
    lose(leak, leak_record, 400, 3 * kMega);
    series.report(leak.label());
  }
}

void by_worker_threads(Series& series) {
  Leak leak("leak_record");
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    constexpr std::size_t kEach = 300, kCount = 4000;
    std::vector<std::thread> workers;
    for (int i = 0; i < 4; i++)
      workers.emplace_back([] {
        for (std::size_t n = 0; n < kCount; n++) {
          memset(leak_record(kEach), 1, kEach);
          free(make_temporary(kEach));
        }
      });
    for (std::thread& worker : workers) worker.join();
    leak.grow(4 * kEach * kCount);
    series.report(leak.label("retention external_fragmentation joint_pinning thread_caches"), base.live() + leak.lost());
  }
}

// A cache without a bound, as containers of C++ make it.
struct Session {
  std::string name, body;
};
__attribute__((noinline)) void remember(std::map<std::uint64_t, Session>& all, std::uint64_t key) {
  all[key] = {"session of a visitor with number " + std::to_string(key), std::string(700, 'x')};
}

void cache_without_a_bound(Series& series) {
  Leak leak("remember");
  base.fill(make_base, 400, 30 * kMega);
  static std::map<std::uint64_t, Session> all;
  while (series.goes_on()) {
    for (int i = 0; i < 5000; i++) {
      remember(all, random_numbers.bits());
      leak.grow(830);
    }
    work(8 * kMega);
    series.report(leak.label(), base.live() + leak.lost());
  }
}

// Two objects that hold each other.
struct Node {
  std::shared_ptr<Node> other;
  char body[1000];
};
__attribute__((noinline)) void make_pair_of_nodes() {
  auto a = std::make_shared<Node>(), b = std::make_shared<Node>();
  memset(a->body, 1, sizeof a->body);
  memset(b->body, 1, sizeof b->body);
  a->other = b;
  b->other = a;
}

void cycles_of_shared_pointers(Series& series) {
  Leak leak("make_pair_of_nodes");
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    for (int i = 0; i < 2000; i++) {
      make_pair_of_nodes();
      leak.grow(2 * (sizeof(Node) + 16));
    }
    work(8 * kMega);
    series.report(leak.label(), base.live() + leak.lost());
  }
}

void under_the_tides(Series& series) {
  Leak leak("leak_record", Leak::kStretches, 30 * kMega);
  while (series.goes_on()) {
    const auto level = static_cast<std::uint64_t>((40 - 5 * cos(2 * M_PI * series.step() / 10)) * kMega);
    items.shrink(level);
    items.fill(make_base, 1500, level);
    lose(leak, leak_record, 400, 2 * kMega);
    work(10 * kMega);
    series.report(leak.label());
  }
}

// Most of memory is no leak.
void beside_much_data(Series& series) {
  Leak leak("leak_record");
  base.fill(make_base, 400, 100 * kMega);
  for (; series.goes_on(); lose(leak, leak_record, 96, 3 * kMega), work(6 * kMega))
    series.report(leak.label());
}

constexpr Shape kShapes[] = {
    {"small_blocks", "sick", 10, small_blocks},
    {"fast", "sick", 11, fast},
    {"large_buffers", "sick", 10, large_buffers},
    {"zeroed_blocks", "sick", 10, zeroed_blocks},
    {"aligned_blocks", "sick", 10, aligned_blocks},
    {"by_a_wrapper", "sick", 10, by_a_wrapper},
    {"mixed_sizes", "sick", 10, mixed_sizes},
    {"one_in_ten", "sick", 10, one_in_ten},
    {"slow_in_a_busy_service", "sick", 40, slow_in_a_busy_service},
    {"two_functions", "sick", 10, two_functions},
    {"many_stacks", "sick", 12, many_stacks},
    {"beside_a_file_map", "sick", 12, beside_a_file_map},
    {"beside_fragmentation", "sick", 10, beside_fragmentation},
    {"no_destructors", "sick", 10, no_destructors},
    {"kept_arena", "sick", 17, kept_arena},
    {"idle_nights", "sick", 20, idle_nights},
    {"doubling_chunks", "sick", 14, doubling_chunks},
    {"one_vector_by_realloc", "sick", 10, one_vector_by_realloc},
    {"buffers_of_connections", "sick", 10, buffers_of_connections},
    {"begins_late", "sick", 18, begins_late},
    {"under_a_sawtooth", "sick", 24, under_a_sawtooth},
    {"by_worker_threads", "sick", 10, by_worker_threads},
    {"cache_without_a_bound", "sick", 10, cache_without_a_bound},
    {"cycles_of_shared_pointers", "sick", 10, cycles_of_shared_pointers},
    {"under_the_tides", "sick", 30, under_the_tides},
    {"beside_much_data", "sick", 10, beside_much_data},
};

}  // namespace

int main(int count, char** words) { return run_shape(kShapes, count, words); }
