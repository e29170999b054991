// SPDX-License-Identifier: Apache-2.0
// Programs in which one known setting helps, and programs in which none does. Each gets into its state, stays
// as idle as asked, prints what it has in memory, and asks for a report. scripts/remedies runs each twice: as
// it is, and with what the report advised first.
#include <condition_variable>
#include <iterator>
#include <mutex>
#include <thread>
#include <vector>

#include "workload.hpp"

using namespace workload;

SITE_FUNCTION(make_buffer, malloc(size))
SITE_FUNCTION(make_temporary, malloc(size))
SITE_FUNCTION(make_entry, malloc(size))
SITE_FUNCTION(make_aligned, aligned_alloc(64, size))

namespace {

bool g_has_pool = false;

void* written(void* block, std::size_t bytes) {
  memset(block, 1, bytes);
  return block;
}

/// Allocates blocks and frees all of them, in their order.
void burst(std::uint64_t bytes, std::size_t low, std::size_t high, Random& random) {
  List<void*> blocks(bytes / low + 1);
  for (std::uint64_t done = 0; done < bytes;) {
    const std::size_t each = random.between(low, high);
    blocks.push(written(make_temporary(each), each));
    done += each;
  }
  for (void* block : blocks) free(block);
}

/// Threads that work one after the other and stay.
class Crew {
 public:
  template <typename Work>
  Crew(int count, Work work) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, i, work] {
        work(i);
        std::unique_lock lock(mutex_);
        ++done_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return is_over_; });
      });
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this, i] { return done_ > i; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int done_ = 0;
  bool is_over_ = false;
  std::vector<std::thread> threads_;
};

void keep_live(std::uint64_t bytes) {
  static Random random(3);
  for (std::uint64_t done = 0; done < bytes; done += 1000) written(make_entry(1000), 1000);
}

// --- one setting helps ---

// A large block was mapped and freed, which raised both thresholds: the top is kept.
void top_after_large_frees() {
  Random random(1);
  free(written(make_buffer(30 << 20), 30 << 20));
  keep_live(8 * kMega);
  burst(55 * kMega, 200, 2000, random);
}

// The same in arenas of threads that idle.
void buffers_of_idle_threads() {
  static Crew crew(8, [](int) {
    free(make_buffer(6 << 20));
    void* buffers[2];
    for (void*& buffer : buffers) buffer = written(make_buffer(5 << 20), 5 << 20);
    for (void* buffer : buffers) free(buffer);
  });
  keep_live(8 * kMega);
}

// Buffers that malloc no longer maps by themselves, with small entries between them.
void buffers_between_entries() {
  free(make_buffer(4 << 20));
  std::vector<void*> buffers;
  for (int i = 0; i < 60; ++i) {
    buffers.push_back(written(make_buffer(2 << 20), 2 << 20));
    keep_live(64 << 10);
  }
  for (void* buffer : buffers) free(buffer);
}

// Each thread works through its own arena and idles; an entry stays behind the rest.
void arenas_of_idle_threads() {
  static Crew crew(12, [](int i) {
    Random random(static_cast<std::uint64_t>(i) + 10);
    std::vector<void*> blocks;
    for (int done = 0; done < 12 << 20; done += 1500) blocks.push_back(written(make_temporary(1500), 1500));
    written(make_entry(2000), 2000);
    for (void* block : blocks) free(block);
  });
  keep_live(8 * kMega);
}

void pages_of_an_idle_program() {
  Random random(5);
  keep_live(20 * kMega);
  burst(120 * kMega, 500, 5000, random);
}

void caches_of_idle_threads() {
  static Crew crew(60, [](int) {
    for (const std::size_t bytes : {20u << 10, 24u << 10, 28u << 10, 32u << 10}) {
      void* blocks[20];
      for (void*& block : blocks) block = written(make_buffer(bytes), bytes);
      for (void* block : blocks) free(block);
    }
  });
  keep_live(16 * kMega);
}

void small_caches_of_idle_threads() {
  keep_live(8 * kMega);
  static Crew crew(300, [](int) {
    std::vector<void*> blocks;
    for (std::size_t bytes = 500; bytes <= 1032; bytes += 16)
      for (int i = 0; i < 7; ++i) blocks.push_back(written(make_temporary(bytes), bytes));
    for (void* block : blocks) free(block);
  });
}

void huge_pages_hardly_touched() {
  constexpr std::size_t kHuge = 2 << 20, kCount = 60;
  char* at = static_cast<char*>(map_memory((kCount + 1) * kHuge));
  at += kHuge - reinterpret_cast<std::uintptr_t>(at) % kHuge;
  madvise(at, kCount * kHuge, MADV_HUGEPAGE);
  for (std::size_t i = 0; i < kCount; ++i) memset(at + i * kHuge, 1, 16 << 10);
  keep_live(16 * kMega);
}

/// Blocks of one size out of memory of their own, never given back.
void* from_pool(std::size_t bytes) {
  static char* at = nullptr;
  static std::size_t left = 0;
  if (left < bytes) {
    at = static_cast<char*>(map_memory(1 << 20));
    left = 1 << 20;
  }
  left -= bytes;
  return (at += bytes) - bytes;
}

// A small entry on each page: what is freed around it cannot go back.
void entries_pin_pages() {
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < 30'000; ++i) {
    for (int k = 0; k < 3; ++k) blocks.push_back(written(make_temporary(1300), 1300));
    written(g_has_pool ? from_pool(64) : make_entry(64), 64);
  }
  for (void* block : blocks) free(block);
  keep_live(4 * kMega);
}

// Frames take turns, and a small entry stays of each. What glibc before 2.38 cuts off to align a block is not
// used for the next one.
void aligned_frames() {
  keep_live(4 * kMega);
  void* frames[2] = {};
  for (std::size_t i = 0; i < 800; ++i) {
    written(make_entry(40), 40);
    const std::size_t bytes = (100 << 10) + i % 3 * 64;
    void* fresh = written(make_aligned(bytes), bytes);
    free(frames[i % 2]);
    frames[i % 2] = fresh;
  }
}

// Free pages below a last entry: nothing but a trim gives them back.
void free_pages_below_an_entry() {
  keep_live(8 * kMega);
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < 60'000; ++i) blocks.push_back(written(make_temporary(1500), 1500));
  written(make_entry(2000), 2000);
  for (void* block : blocks) free(block);
}

// Threads that have freed what they had, and go on with little: only they can give it back.
void pages_of_busy_threads() {
  keep_live(8 * kMega);
  for (int i = 0; i < 6; ++i)
    std::thread([i] {
      Random random(static_cast<std::uint64_t>(i) + 20);
      burst(12 * kMega, 2000, 30'000, random);
      for (;; rest_ms(1))
        for (int k = 0; k < 40; ++k) free(written(make_entry(1000), 1000));
    }).detach();
  rest_ms(600);
}

// --- none helps ---

void all_live() { keep_live(100 * kMega); }
void large_live() {
  for (int i = 0; i < 40; ++i) written(make_buffer(2 << 20), 2 << 20);
}
void live_of_threads() {
  static Crew crew(8, [](int) { keep_live(10 * kMega); });
}
void full_cache() {
  constexpr std::size_t kEntries = 60'000;
  static void* entries[kEntries];
  Random random(4);
  for (int round = 0; round < 4; ++round)
    for (void*& entry : entries) {
      const std::size_t bytes = random.between(400, 1600);
      free(entry);
      entry = written(make_entry(bytes), bytes);
    }
}
void random_replacement() {
  constexpr std::size_t kEntries = 60'000;
  static void* entries[kEntries];
  Random random(4);
  for (std::size_t i = 0; i < 5 * kEntries; ++i) {
    void*& entry = entries[i < kEntries ? i : random.below(kEntries)];
    free(entry);
    entry = written(make_entry(1200), 1200);
  }
}
void small_program() { keep_live(10 * kMega); }
void bursts_beside_much() {
  Random random(6);
  keep_live(150 * kMega);
  burst(15 * kMega, 200, 3000, random);
}
void threads_that_end() {
  keep_live(60 * kMega);
  for (int i = 0; i < 40; ++i)
    std::thread([i] {
      Random random(static_cast<std::uint64_t>(i));
      burst(1 * kMega, 100, 1000, random);
    }).join();
}
void huge_pages_filled() {
  constexpr std::size_t kHuge = 2 << 20, kCount = 40;
  char* at = static_cast<char*>(map_memory((kCount + 1) * kHuge));
  at += kHuge - reinterpret_cast<std::uintptr_t>(at) % kHuge;
  madvise(at, kCount * kHuge, MADV_HUGEPAGE);
  memset(at, 1, kCount * kHuge);
}
void mapped_by_itself() {
  for (int i = 0; i < 50; ++i) free(written(make_buffer(60 << 20), 60 << 20));
  keep_live(50 * kMega);
}

struct Shape {
  const char* name;
  void (*run)();
};
constexpr Shape kShapes[] = {
    {"top_after_large_frees", top_after_large_frees},
    {"buffers_of_idle_threads", buffers_of_idle_threads},
    {"buffers_between_entries", buffers_between_entries},
    {"arenas_of_idle_threads", arenas_of_idle_threads},
    {"pages_of_an_idle_program", pages_of_an_idle_program},
    {"caches_of_idle_threads", caches_of_idle_threads},
    {"small_caches_of_idle_threads", small_caches_of_idle_threads},
    {"huge_pages_hardly_touched", huge_pages_hardly_touched},
    {"entries_pin_pages", entries_pin_pages},
    {"aligned_frames", aligned_frames},
    {"free_pages_below_an_entry", free_pages_below_an_entry},
    {"pages_of_busy_threads", pages_of_busy_threads},
    {"all_live", all_live},
    {"large_live", large_live},
    {"live_of_threads", live_of_threads},
    {"full_cache", full_cache},
    {"random_replacement", random_replacement},
    {"small_program", small_program},
    {"bursts_beside_much", bursts_beside_much},
    {"threads_that_end", threads_that_end},
    {"huge_pages_filled", huge_pages_filled},
    {"mapped_by_itself", mapped_by_itself},
};

}  // namespace

/// remedies SHAPE IDLE_MS [pool]
int main(int count, char** words) {
  if (count < 3) return 2;
  g_has_pool = count > 3;
  for (const Shape& shape : kShapes) {
    if (strcmp(shape.name, words[1]) != 0) continue;
    shape.run();
    rest_ms(atoi(words[2]));
    // Memory of the program's own books, and of mallard, is the same in both runs.
    printf("%" PRIu64 "\n", rollup_bytes("\nAnonymous:") - rollup_bytes("\nLazyFree:"));
    fflush(stdout);
    ask_for_report();
    _exit(0);
  }
  return 2;
}
