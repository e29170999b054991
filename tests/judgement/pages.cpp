// SPDX-License-Identifier: Apache-2.0
// Programs whose heap is larger than their data, and such as only look so. What the pages of the heap are in
// truth comes from the program's own list of live blocks and from its page tables.
#include <malloc.h>
#include <pthread.h>

#include <mutex>
#include <thread>
#include <vector>

#include "series.hpp"

using namespace judgement;

SITE_FUNCTION(make_session, malloc(size))
SITE_FUNCTION(make_note, malloc(size))
SITE_FUNCTION(make_node, malloc(size))
SITE_FUNCTION(make_base, malloc(size))
SITE_FUNCTION(make_frame, aligned_alloc(64, size))
SITE_FUNCTION(make_temporary, malloc(size))

namespace {

Random random_numbers(4);
Pool sessions(1 << 20), notes(1 << 20), nodes(1 << 20), base(1 << 20);

bool serves(const char* backend) {
  const char* name = getenv("ALLOC_BACKEND");
  return name && strstr(name, backend);
}

/// Holes lie on pages with a live block, retained pages have none. Where an allocator gives back only many
/// pages at once, a page without a live block may be either.
Label divided(const char* leaf = "") {
  static Pages pinned;
  pinned.clear();
  for (Pool* pool : {&sessions, &notes, &nodes, &base}) pool->mark(pinned);
  const std::uint64_t all = Pool::ever().resident_bytes(), live = Pool::all_live(),
                      on_pinned = pinned.resident_bytes();
  const std::uint64_t holes = on_pinned > live ? on_pinned - live : 0,
                      empty = all > on_pinned ? all - on_pinned : 0;
  if (holes + empty < kMayBeNamed || 4 * (holes + empty) < all) return healthy();
  if (holes >= kWorthNaming && 2 * holes >= all && empty < kMayBeNamed)
    return sick("external_fragmentation|joint_pinning", leaf, "retention");
  if (empty >= kWorthNaming && 2 * empty >= all && holes < kMayBeNamed)
    return sick(serves("system") ? "retention|unfit_free|arena_tops"
                                 : "retention|external_fragmentation|joint_pinning|thread_caches");
  if (holes + empty >= kWorthNaming && 5 * (holes + empty) >= 3 * all)
    return sick("external_fragmentation|joint_pinning|retention", "", kWaste);
  return undecided(kWaste);
}

/// A burst of requests: each makes nodes for a while and one session that stays.
void burst(int requests, int nodes_each, std::size_t node_bytes, std::size_t session_bytes) {
  for (int i = 0; i < requests; i++) {
    for (int k = 0; k < nodes_each; k++) nodes.add(make_node, node_bytes);
    sessions.add(make_session, session_bytes);
  }
  nodes.clear();
}

void work(std::uint64_t bytes) { pass_by(make_temporary, bytes, random_numbers); }

void pinned_pages(Series& series) {
  burst(20'000, 15, 240, 240);
  for (; series.goes_on(); work(kMega)) series.report(divided("make_session"));
}

void pinned_before_second_report(Series& series) {
  base.fill(make_base, 300, 10 * kMega);
  series.report(divided());
  burst(20'000, 15, 240, 240);
  for (; series.goes_on(); work(kMega)) series.report(divided("make_session"));
}

/// True if every block has its owner in the report: who pins what is known then.
bool is_exact() {
  const char* mode = getenv("ALLOC_MODE");
  return mode && strcmp(mode, "exact") == 0;
}

// Two sites share all pages: either alone gives back nothing. Where sizes have slabs of their own, each pins
// its own.
void pinned_together(Series& series) {
  for (int i = 0; i < 20'000; i++) {
    for (int k = 0; k < 14; k++) nodes.add(make_node, 240);
    sessions.add(make_session, 40);
    notes.add(make_note, 240);
  }
  nodes.clear();
  const bool joint = is_exact() && serves("system");
  for (; series.goes_on(); work(kMega)) {
    const Label label = divided("make_session|make_note");
    series.report(joint ? sick("joint_pinning", "make_session|make_note", "retention") : label);
  }
}

void pinned_by_large_sizes(Series& series) {
  burst(600, 15, 7000, 7000);
  for (; series.goes_on(); work(kMega)) series.report(divided());
}

// Sessions end at random until a twentieth is left.
void thinned_out(Series& series) {
  sessions.fill(make_session, 400, 80 * kMega);
  while (series.goes_on()) {
    series.report(divided("make_session"));
    for (std::size_t left = std::max<std::size_t>(10'000, sessions.size() / 2); sessions.size() > left;)
      sessions.drop(random_numbers.below(sessions.size()));
  }
}

void thinned_out_and_filled_again(Series& series) {
  sessions.fill(make_session, 400, 80 * kMega);
  while (series.goes_on()) {
    for (std::size_t left = sessions.size() / 4; sessions.size() > left;)
      sessions.drop(random_numbers.below(sessions.size()));
    sessions.fill(make_session, 400, 80 * kMega);
    series.report(divided());
  }
}

// All is freed, but a small block at the end of each batch stays.
void freed_below_the_top(Series& series) {
  base.fill(make_base, 300, 8 * kMega);
  while (series.goes_on()) {
    if (series.step() < 2) {
      nodes.fill(make_node, 60'000, 60 * kMega);
      sessions.add(make_session, 40);
      nodes.clear();
    }
    series.report(divided());
  }
}

void freed_in_full(Series& series) {
  base.fill(make_base, 300, 40 * kMega);
  while (series.goes_on()) {
    nodes.fill(make_node, 2000, 50 * kMega);
    nodes.clear();
    series.report(divided());
  }
}

void dense(Series& series) {
  while (sessions.live() < 60 * kMega) sessions.add(make_session, random_numbers.between(16, 3000));
  for (; series.goes_on(); work(10 * kMega)) series.report(divided());
}

void mixed_churn(Series& series) {
  while (sessions.live() < 60 * kMega) sessions.add(make_session, random_numbers.between(16, 60'000));
  while (series.goes_on()) {
    for (int i = 0; i < 600; i++)
      sessions.replace(random_numbers.below(sessions.size()), make_session,
                       random_numbers.between(16, 60'000));
    series.report(divided());
  }
}

// Frames are replaced again and again, a small record stays of each. glibc before 2.38 does not use again
// what it cut off to align.
void aligned_frames(Series& series) {
  constexpr std::size_t kFrame = 4 << 20;
  std::uint64_t made = 0;
  const auto once = [&made] {
    sessions.add(make_session, 40);
    const std::size_t bytes = kFrame + made % 3 * 64;
    if (base.size() < 2) base.add(make_frame, bytes);
    else base.replace(made % 2, make_frame, bytes);
    made++;
  };
  while (series.goes_on()) {
    for (int i = 0; i < 8; i++) once();
    const std::uint64_t resident = Pool::ever().resident_bytes(), live = Pool::all_live();
    const bool grows = resident > live + kWorthNaming && resident > 3 * live && series.step() >= 4;
    series.report(grows ? sick("unfit_free", "", kWaste) : undecided(kWaste));
  }
}

/// Threads that wait between steps.
class Crew {
 public:
  template <typename Work>
  Crew(int count, Work work) : left_(count) {
    for (int i = 0; i < count; i++)
      threads_.emplace_back([this, work, i] {
        work(i);
        std::unique_lock guard(mutex_);
        left_--;
        guard.unlock();
        for (;;) pause();
      });
    for (;; rest_ms(2)) {
      std::lock_guard guard(mutex_);
      if (left_ == 0) return;
    }
  }
  ~Crew() {
    for (std::thread& t : threads_) t.detach();
  }

 private:
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  int left_;
};

std::mutex books;

// A hundred threads fill their caches and sit idle. Nothing of theirs is live.
void caches_of_idle_threads(Series& series) {
  Crew crew(100, [](int i) {
    Random mine(static_cast<std::uint64_t>(i));
    std::vector<std::pair<char*, std::size_t>> blocks;
    for (int n = 0; n < 200; n++) {
      const std::size_t bytes = mine.between(200, 8000);
      blocks.push_back({static_cast<char*>(make_temporary(bytes)), bytes});
      memset(blocks.back().first, 1, bytes);
    }
    std::lock_guard guard(books);
    for (const auto& [at, bytes] : blocks) {
      Pool::ever().mark(at, bytes);
      free(at);
    }
  });
  while (series.goes_on()) {
    const std::uint64_t kept = Pool::ever().resident_bytes();
    const char* cause = serves("jemalloc") ? "thread_caches|retention" : "retention|thread_caches|arena_tops";
    // Holes need a live block to pin them, and there is none.
    // mimalloc 3 asks for huge pages: what lies between is in memory with them.
    const char* may = rollup_bytes("\nAnonHugePages:") >= kMayBeNamed ? "huge_pages" : "";
    series.report(kept >= 40 * kMega ? sick(cause, "", may)
                                     : undecided("retention thread_caches arena_tops huge_pages"));
  }
}

// Eight threads work one after the other and then idle. What is free in one's arena is no use to the next.
void arenas_filled_in_turn(Series& series) {
  Crew crew(8, [](int) {
    std::lock_guard guard(books);
    nodes.fill(make_node, 20'000, 12 * kMega);
    sessions.add(make_session, 100);
    nodes.clear();
  });
  while (series.goes_on()) {
    const std::uint64_t kept = Pool::ever().resident_bytes();
    series.report(kept >= 40 * kMega
                      ? sick("retention|thread_caches|external_fragmentation|joint_pinning|arena_tops")
                      : undecided(kWaste));
  }
}

// Large, short-lived buffers of many sizes in six threads, next to small entries that stay: glibc's mmap
// threshold follows the largest freed buffer, and what is free at the ends of the arenas is below the trim
// threshold.
void tops_of_arenas(Series& series) {
  static std::vector<char*> entries;
  static std::uint64_t live = 0;
  Crew crew(6, [](int t) {
    Random mine(static_cast<std::uint64_t>(t));
    for (int i = 0; i < 60; i++) {
      const std::size_t bytes = mine.between(256 << 10, 6 << 20);
      std::vector<char*> shards;
      for (int k = 0; k < 3; k++) {
        shards.push_back(static_cast<char*>(make_temporary(bytes)));
        memset(shards.back(), k, bytes);
      }
      auto* entry = static_cast<char*>(make_session(100));
      std::lock_guard guard(books);
      entries.push_back(entry);
      live += 100;
      for (char* shard : shards) {
        Pool::ever().mark(shard, bytes);
        free(shard);
      }
    }
  });
  while (series.goes_on()) {
    const std::uint64_t kept = Pool::ever().resident_bytes();
    series.report(kept >= 40 * kMega ? sick("retention|arena_tops", "", "arena_tops retention")
                                     : undecided("retention thread_caches arena_tops"),
                  live);
  }
}

// Two buffers of each thread, freed: they are the top of its arena, below the threshold that a larger buffer
// has set before.
void buffers_of_idle_threads(Series& series) {
  Crew crew(8, [](int) {
    std::lock_guard guard(books);
    free(make_temporary(6 << 20));
    char* buffers[2];
    for (char*& buffer : buffers) {
      buffer = static_cast<char*>(make_temporary(5 << 20));
      memset(buffer, 1, 5 << 20);
      Pool::ever().mark(buffer, 5 << 20);
    }
    for (char* buffer : buffers) free(buffer);
  });
  while (series.goes_on()) {
    const bool keeps = serves("system") && Pool::ever().resident_bytes() >= 40 * kMega;
    series.report(keeps ? sick("arena_tops") : undecided(kWaste));
  }
}

// The same work in the main thread alone: what is free lies below its small entries, in the main heap, whose
// top glibc trims by itself.
void large_buffers_of_one_thread(Series& series) {
  Random mine(7);
  while (series.goes_on()) {
    for (int i = 0; i < 60; i++) {
      const std::size_t bytes = mine.between(256 << 10, 6 << 20);
      nodes.add(make_node, bytes);
      sessions.add(make_session, 100);
      nodes.clear();
    }
    series.report(undecided("retention unfit_free external_fragmentation"));
  }
}

// Threads that have ended leave a few blocks in heaps of their own.
void heaps_of_ended_threads(Series& series) {
  base.fill(make_base, 300, 10 * kMega);
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; t++)
    threads.emplace_back([] {
      std::lock_guard guard(books);
      for (int i = 0; i < 16'000; i++)
        (i % 100 ? nodes : sessions).add(i % 100 ? make_node : make_session, 200);
    });
  for (std::thread& t : threads) t.join();
  nodes.clear();
  while (series.goes_on()) {
    const Label label = divided();
    const bool has_owners = !serves("mimalloc") || strcmp(label.state, "sick") != 0;
    series.report(has_owners
                      ? label
                      : sick("external_fragmentation|joint_pinning|abandoned_pages|retention", "", kWaste));
  }
}

// Threads that work side by side free most of what they made, and end.
void leftovers_of_ended_threads(Series& series) {
  constexpr int kThreads = 16;
  base.fill(make_base, 300, 10 * kMega);
  static pthread_barrier_t all_have_made;
  pthread_barrier_init(&all_have_made, nullptr, kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++)
    threads.emplace_back([] {
      Pool temporaries(16'000);
      {
        std::lock_guard guard(books);
        for (int i = 0; i < 16'000; i++)
          (i % 100 ? temporaries : sessions).add(i % 100 ? make_node : make_session, 200);
      }
      pthread_barrier_wait(&all_have_made);
      std::lock_guard guard(books);
      temporaries.clear();
    });
  for (std::thread& t : threads) t.join();
  while (series.goes_on()) {
    const Label label = divided("make_session");
    const bool has_owners = !serves("mimalloc") || strcmp(label.state, "sick") != 0;
    series.report(has_owners ? label : sick("abandoned_pages", "make_session", kWaste));
  }
}

// Blocks that one thread makes and another frees.
void frees_of_another_thread(Series& series) {
  base.fill(make_base, 300, 40 * kMega);
  while (series.goes_on()) {
    std::thread producer([] { nodes.fill(make_node, 500, 10 * kMega); });
    producer.join();
    nodes.clear();
    series.report(divided());
  }
}

// 100 bytes that have to begin a page.
void a_page_for_each(Series& series) {
  constexpr std::size_t kCount = 15'000, kUsed = 100;
  static void* pages[kCount];
  for (void*& page : pages) {
    if (posix_memalign(&page, kPage, kUsed) != 0) fail("posix_memalign");
    memset(page, 1, kUsed);
  }
  while (series.goes_on()) {
    // glibc puts the rest of a page to use for other requests: there it is free memory between the blocks.
    const bool usable = malloc_usable_size(pages[0]) >= kPage / 2;
    series.report(usable ? sick("rounding")
                         : sick("external_fragmentation|joint_pinning|rounding|unfit_free|retention"),
                  kCount * kUsed);
  }
}

// Blocks just above a size class.
void just_above_a_size_class(Series& series) {
  base.fill(make_base, 16 * 1024 + 200, 60 * kMega);
  std::uint64_t usable = 0;
  void* sample = make_base(16 * 1024 + 200);
  usable = malloc_usable_size(sample);
  free(sample);
  const std::uint64_t rounding = (usable - 16 * 1024 - 200) * base.size();
  while (series.goes_on())
    series.report(rounding >= kWorthNaming  ? sick("rounding")
                  : rounding >= kMayBeNamed ? undecided("rounding")
                                            : steady());
}

// 400 MiB are asked for and hardly touched; small full blocks hold the memory.
void large_and_hardly_touched(Series& series) {
  base.fill(make_base, 300, 60 * kMega);
  for (int i = 0; i < 100; i++) {
    auto* block = static_cast<char*>(make_note(4 * kMega));
    block[0] = block[2 * kMega] = 1;
  }
  // Where the allocator has asked for huge pages, all of it is in memory.
  for (; series.goes_on(); work(10 * kMega))
    series.report(rollup_bytes("\nAnonHugePages:") >= 300 * kMega ? sick("huge_pages") : healthy());
}

constexpr Shape kShapes[] = {
    {"pinned_pages", "sick", 4, pinned_pages},
    {"pinned_before_second_report", "sick", 5, pinned_before_second_report},
    {"pinned_together", "sick", 4, pinned_together},
    {"pinned_by_large_sizes", "sick", 4, pinned_by_large_sizes},
    {"thinned_out", "sick", 8, thinned_out},
    {"thinned_out_and_filled_again", "healthy", 6, thinned_out_and_filled_again},
    {"freed_below_the_top", "sick", 4, freed_below_the_top},
    {"freed_in_full", "healthy", 5, freed_in_full},
    {"dense", "healthy", 8, dense},
    {"mixed_churn", "healthy", 8, mixed_churn},
    {"aligned_frames", "sick", 12, aligned_frames},
    {"caches_of_idle_threads", "sick", 3, caches_of_idle_threads},
    {"arenas_filled_in_turn", "sick", 3, arenas_filled_in_turn},
    {"tops_of_arenas", "sick", 3, tops_of_arenas},
    {"buffers_of_idle_threads", "sick", 3, buffers_of_idle_threads},
    {"large_buffers_of_one_thread", "healthy", 3, large_buffers_of_one_thread},
    {"heaps_of_ended_threads", "sick", 4, heaps_of_ended_threads},
    {"leftovers_of_ended_threads", "sick", 4, leftovers_of_ended_threads},
    {"frees_of_another_thread", "healthy", 6, frees_of_another_thread},
    {"a_page_for_each", "sick", 4, a_page_for_each},
    {"just_above_a_size_class", "sick", 4, just_above_a_size_class},
    {"large_and_hardly_touched", "healthy", 6, large_and_hardly_touched},
};

}  // namespace

int main(int count, char** words) { return run_shape(kShapes, count, words); }
