// SPDX-License-Identifier: Apache-2.0
// known_heap CASE MEGABYTES SEED: a heap whose live bytes, holes and retained memory the program knows,
// whoever serves malloc. It keeps books of every block, and of every page that a block ever lay on or could
// have lain on (mimalloc makes lists of blocks that it has not handed out yet).
//   pinned   99 % of small blocks are freed at random
//   churn    several threads allocate and free sizes of all kinds
//   handed   blocks that another thread frees; their owner lives on and has not taken them back
//   exits    many threads end and leave blocks behind
//   large    blocks of 100 KiB to 60 MiB, of which half are freed
//   aligned  blocks at boundaries of 16 bytes to 1 MiB, most of them freed
// It prints the truth as one JSON object: "live" (of whole blocks, in memory), "holes", "retained",
// "unknown_blocks" (their unit could not be found; their own bytes stand for it).
#include <pthread.h>
#include <sys/prctl.h>

#include <atomic>

#include "live_heap.hpp"

using namespace workload;

namespace {

constexpr int kMostThreads = 64;

/// The pages that a block ever lay on: one bit each, in address space that is touched where blocks are.
class PagesEverUsed {
 public:
  PagesEverUsed() : words_(static_cast<std::atomic<std::uint64_t>*>(map_memory(kSpan / kPage / 8))) {}

  void add(std::uintptr_t address, std::size_t bytes) {
    for (std::uintptr_t page = address / kPage; page <= (address + bytes - 1) / kPage; page++) {
      words_[page / 64].fetch_or(std::uint64_t{1} << page % 64, std::memory_order_relaxed);
      chunks_[page * kPage / kChunk].store(true, std::memory_order_relaxed);
    }
  }

  /// Calls `visit` with the address of each page, in ascending order.
  template <typename Visit>
  void each(Visit visit) const {
    for (std::uintptr_t chunk = 0; chunk < kSpan; chunk += kChunk) {
      if (!chunks_[chunk / kChunk]) continue;
      for (std::uintptr_t page = chunk / kPage; page < (chunk + kChunk) / kPage; page++)
        if (words_[page / 64] >> page % 64 & 1) visit(page * kPage);
    }
  }

 private:
  static constexpr std::uint64_t kSpan = std::uint64_t{1} << 47, kChunk = 1 << 30;
  std::atomic<std::uint64_t>* words_;
  std::atomic<bool> chunks_[kSpan / kChunk] = {};
};

struct Books {
  explicit Books(std::size_t most) : blocks(most) {}
  List<Block> blocks;
  Random random{0};
  std::uint64_t bytes = 0;  ///< how many to allocate
};

PagesEverUsed* g_ever_used;
Units* g_units;
pthread_mutex_t g_units_lock = PTHREAD_MUTEX_INITIALIZER;

void keep(Books& books, void* block, std::size_t size) {
  if (!block) fail("malloc");
  touch(block, size);
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  g_ever_used->add(address, size);
  books.blocks.push({address, size, 0});
}

void release(const Block& block) { free(reinterpret_cast<void*>(block.address)); }

/// Frees each block with a chance of `percent`.
void release_some(Books& books, unsigned percent) {
  std::size_t kept = 0;
  for (const Block& block : books.blocks) {
    if (books.random.below(100) < percent) release(block);
    else books.blocks[kept++] = block;
  }
  books.blocks.shorten(kept);
}

/// Has the allocator name the pages of this thread while it is there, and take back what the thread keeps.
void list_own_units() {
  pthread_mutex_lock(&g_units_lock);
  g_units->empty_own_cache();
  g_units->list_own();
  pthread_mutex_unlock(&g_units_lock);
}

std::size_t size_of_any_kind(Random& random) {
  const std::uint64_t kind = random.below(1000);
  if (kind < 800) return random.between(16, 512);
  if (kind < 970) return random.between(512, 8 << 10);
  if (kind < 998) return random.between(8 << 10, 64 << 10);
  return random.between(64 << 10, 2 << 20);
}

void fill(Books& books, std::size_t (*size_of)(Random&)) {
  for (std::uint64_t done = 0; done < books.bytes;) {
    const std::size_t size = size_of(books.random);
    keep(books, malloc(size), size);
    done += size;
  }
}

void pinned(Books& books) {
  fill(books, [](Random& random) -> std::size_t { return random.between(24, 400); });
  release_some(books, 99);
  list_own_units();
}

void large(Books& books) {
  fill(books, [](Random& random) -> std::size_t {
    return random.below(8) == 0 ? random.between(1 << 20, 60 << 20) : random.between(100 << 10, 1 << 20);
  });
  release_some(books, 50);
  list_own_units();
}

void aligned(Books& books) {
  for (std::uint64_t done = 0; done < books.bytes;) {
    // Memory in front of an aligned block is not touched, so large boundaries are for blocks that have pages
    // of mimalloc or extents of jemalloc of their own.
    const bool alone = books.random.below(400) == 0;
    const std::uint64_t steps = alone ? 12 + books.random.below(5) : books.random.below(7);
    const std::size_t alignment = std::size_t{16} << steps;
    const std::size_t size = alone ? books.random.between(2 << 20, 8 << 20)
                                   : books.random.between(16, alignment < 1024 ? 2000 : 3 * alignment);
    void* block = nullptr;
    if (posix_memalign(&block, alignment, size) != 0) fail("posix_memalign");
    keep(books, block, size);
    done += size;
  }
  release_some(books, 80);
  list_own_units();
}

// ---- several threads
struct Crowd {
  pthread_barrier_t allocated, listed, asked;
  Books* books[kMostThreads];
  int count;
};
Crowd g_crowd;

void* hand_over(void* given) {
  Books& books = *static_cast<Books*>(given);
  fill(books, size_of_any_kind);
  pthread_barrier_wait(&g_crowd.allocated);  // the main thread frees meanwhile
  pthread_barrier_wait(&g_crowd.listed);
  list_own_units();
  pthread_barrier_wait(&g_crowd.asked);
  pthread_barrier_wait(&g_crowd.asked);
  return nullptr;
}

void* churn(void* given) {
  Books& books = *static_cast<Books*>(given);
  for (int round = 0; round < 6; round++) {
    fill(books, size_of_any_kind);
    release_some(books, 85);
  }
  pthread_barrier_wait(&g_crowd.allocated);
  pthread_barrier_wait(&g_crowd.listed);
  list_own_units();
  pthread_barrier_wait(&g_crowd.asked);
  pthread_barrier_wait(&g_crowd.asked);
  return nullptr;
}

void* leave_behind(void* given) {
  Books& books = *static_cast<Books*>(given);
  fill(books, size_of_any_kind);
  release_some(books, 90);
  list_own_units();
  return nullptr;
}

void start(int threads, std::uint64_t bytes, std::uint64_t seed) {
  g_crowd.count = threads;
  for (pthread_barrier_t* barrier : {&g_crowd.allocated, &g_crowd.listed, &g_crowd.asked})
    pthread_barrier_init(barrier, nullptr, static_cast<unsigned>(threads) + 1);
  for (int i = 0; i < threads; i++) {
    g_crowd.books[i] = new (map_memory(sizeof(Books))) Books(bytes / 16);
    g_crowd.books[i]->random = Random(seed * 100 + static_cast<std::uint64_t>(i));
    g_crowd.books[i]->bytes = bytes / static_cast<std::uint64_t>(threads);
  }
}

void take_all(Books& to) {
  for (int i = 0; i < g_crowd.count; i++)
    for (const Block& block : g_crowd.books[i]->blocks) to.blocks.push(block);
}

/// Divides the heap, asks for the report and prints the truth, while nobody allocates.
void tell(Books& books) {
  g_units->empty_own_cache();
  g_units->list_all();
  List<Units::Unit> pinned(std::size_t{1} << 20);
  const HeapTruth heap = divide_heap(books.blocks, *g_units, &pinned);
  PageTables pages;
  std::uint64_t retained = 0;
  std::size_t at = 0;
  g_ever_used->each([&](std::uintptr_t page) {
    while (at < pinned.size() && pinned[at].end <= page) at++;
    const bool pins = at < pinned.size() && pinned[at].begin < page + kPage;
    if (!pins && pages.in_memory(page / kPage)) retained += kPage;
  });
  ask_for_report();
  printf("{\"live\": %.0f, \"holes\": %.0f, \"retained\": %" PRIu64 ", \"unknown_blocks\": %" PRIu64
         ", \"blocks\": %zu}\n",
         heap.live_bytes + heap.rounding_bytes, heap.holes_bytes(), retained, g_units->unknown(),
         books.blocks.size());
  fflush(stdout);
}

void together(void* (*run)(void*), Books& books, std::uint64_t seed, bool hands_over) {
  start(8, books.bytes, seed);
  pthread_t threads[kMostThreads];
  for (int i = 0; i < g_crowd.count; i++)
    if (pthread_create(&threads[i], nullptr, run, g_crowd.books[i]) != 0) fail("pthread_create");
  pthread_barrier_wait(&g_crowd.allocated);
  if (hands_over)
    for (int i = 0; i < g_crowd.count; i++) release_some(*g_crowd.books[i], 80);
  pthread_barrier_wait(&g_crowd.listed);
  pthread_barrier_wait(&g_crowd.asked);
  take_all(books);
  tell(books);
  pthread_barrier_wait(&g_crowd.asked);
  for (int i = 0; i < g_crowd.count; i++) pthread_join(threads[i], nullptr);
}

void one_after_the_other(Books& books, std::uint64_t seed) {
  start(kMostThreads, books.bytes, seed);
  for (int i = 0; i < kMostThreads; i += 4) {
    pthread_t threads[4];
    for (int k = 0; k < 4; k++)
      if (pthread_create(&threads[k], nullptr, leave_behind, g_crowd.books[i + k]) != 0)
        fail("pthread_create");
    for (pthread_t thread : threads) pthread_join(thread, nullptr);
  }
  take_all(books);
  tell(books);
}

}  // namespace

int main(int count, char** words) {
  const char* what = count > 1 ? words[1] : "pinned";
  const std::uint64_t bytes = argument(count, words, 2, 100) * kMega;
  const std::uint64_t seed = argument(count, words, 3, 1);
  // A huge page would bring memory in that no block has ever been on.
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  Books books(bytes / 8);
  books.random = Random(seed);
  books.bytes = bytes;
  g_ever_used = new (map_memory(sizeof(PagesEverUsed))) PagesEverUsed;
  g_units = new (map_memory(sizeof(Units))) Units;
  g_units->on_area = [](std::uintptr_t begin, std::uintptr_t end) { g_ever_used->add(begin, end - begin); };
  if (strcmp(what, "churn") == 0) together(churn, books, seed, false);
  else if (strcmp(what, "handed") == 0) together(hand_over, books, seed, true);
  else if (strcmp(what, "exits") == 0) one_after_the_other(books, seed);
  else {
    if (strcmp(what, "large") == 0) large(books);
    else if (strcmp(what, "aligned") == 0) aligned(books);
    else pinned(books);
    tell(books);
  }
}
