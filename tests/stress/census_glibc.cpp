// SPDX-License-Identifier: Apache-2.0
// The census of glibc's heap against a list of live blocks that the program keeps itself.
// census_glibc check [MiB [small]]: several arenas, mixed sizes, most blocks freed at random and across
// threads. census_glibc churn ROUNDS: while four threads allocate, trim and exit. census_glibc time MiB SIZE
// [BUDGET MiB]: a heap of equal blocks, half of it live.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <gnu/libc-version.h>
#include <algorithm>
#include <atomic>

#include "base/os.hpp"
#include "heaps/glibc.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constinit AddressRange g_tables[64];  ///< what is not heap for certain
constinit int g_table_count = 0;

/// A vector whose memory is not glibc's, with guard pages so that it stays a mapping of its own.
template <typename T>
struct Table {
  T* items;
  std::size_t n = 0, capacity;
  explicit Table(std::size_t most) : capacity(most) {
    const std::size_t bytes = align_up(most * sizeof(T), 4096);
    auto* p = static_cast<char*>(os::map_sparse(bytes + 8192));
    if (!p || !os::protect(p, 4096, PROT_NONE) || !os::protect(p + 4096 + bytes, 4096, PROT_NONE)) abort();
    items = reinterpret_cast<T*>(p + 4096);
    if (g_table_count == 64) abort();
    g_tables[g_table_count++] = {address_of(items), address_of(items) + bytes};
  }
  Table(const Table&) = delete;
  void add(const T& item) {
    if (n == capacity) abort();
    items[n++] = item;
  }
  T* begin() const { return items; }
  T* end() const { return items + n; }
};

struct Random {
  std::uint64_t state;
  std::uint64_t next() {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state * 0x2545f4914f6cdd1du >> 16;
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }
};

struct Block {
  std::uintptr_t at;
  std::size_t usable;
};

std::uint64_t now_us(clockid_t clock = CLOCK_MONOTONIC) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1000000 + static_cast<std::uint64_t>(t.tv_nsec) / 1000;
}

/// The heap as ranges: the break, what begins at a multiple of 64 MiB as an arena's heap does, and mappings
/// that begin as a mapped chunk does.
void find_heap(Table<AddressRange>& heap) {
  static char text[8u << 20];
  const long fd = os::open("/proc/self/maps", 0);
  std::size_t length = 0;
  for (long got; (got = os::read(static_cast<int>(fd), text + length, sizeof text - 1 - length)) > 0;)
    length += static_cast<std::size_t>(got);
  os::close(static_cast<int>(fd));
  text[length] = 0;
  for (char* line = text; *line;) {
    char* end = strchr(line, '\n');
    if (!end) break;
    *end = 0;
    std::uintptr_t from, to;
    char mode[5];
    unsigned long offset, inode;
    unsigned major, minor;
    int path = 0;
    sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &from, &to, mode, &offset, &major, &minor, &inode, &path);
    const bool brk = strcmp(line + path, "[heap]") == 0;
    if (brk) heap.add({from, to});
    const bool table = std::any_of(g_tables, g_tables + g_table_count,
                                   [&](const AddressRange& t) { return from >= t.begin && from < t.end; });
    if (!table && line[path] == 0 && mode[0] == 'r' && mode[1] == 'w') {
      // A mapping may begin with one thing and go on with an arena's heap.
      for (std::uintptr_t at = from; at < to;) {
        const std::uintptr_t next = std::min(to, align_up(at + 1, 64u << 20));
        std::uintptr_t words[4] = {};
        unsigned char in_memory = 0;
        if (mincore(reinterpret_cast<void*>(at), 4096, &in_memory) == 0 && (in_memory & 1) != 0)
          os::copy_if_readable(words, at, sizeof words);
        const bool arena = at % (64u << 20) == 0 && (words[0] & 0xfffff) < 256 && words[0] != 0;
        const bool mapped = words[0] == 0 && (words[1] & 0xfff) == 2 && words[1] > 4096;
        const bool goes_on = at != from && heap.n > 0 && heap.items[heap.n - 1].end == at;
        if (goes_on) heap.items[heap.n - 1].end = next;
        else if (arena || mapped) heap.add({at, next});
        at = next;
      }
    }
    line = end + 1;
  }
}

void find_resident(const Table<AddressRange>& heap, Table<AddressRange>& resident) {
  static unsigned char pages[1u << 22];
  for (const AddressRange& range : heap) {
    const std::size_t n = (range.end - range.begin) / 4096;
    if (n > sizeof pages) abort();
    if (mincore(reinterpret_cast<void*>(range.begin), n * 4096, pages) != 0) continue;
    for (std::size_t i = 0; i < n; ++i) {
      if ((pages[i] & 1) == 0) continue;
      const std::uintptr_t page = range.begin + i * 4096;
      if (resident.n > 0 && resident.items[resident.n - 1].end == page)
        resident.items[resident.n - 1].end += 4096;
      else resident.add({page, page + 4096});
    }
  }
}

Table<AddressRange>* g_resident;  ///< of the census under way

std::uint64_t resident_part(std::uintptr_t begin, std::uintptr_t end) {
  std::uint64_t sum = 0;
  const AddressRange* r = std::partition_point(g_resident->begin(), g_resident->end(),
                                               [&](const AddressRange& x) { return x.end <= begin; });
  for (; r < g_resident->end() && r->begin < end; ++r)
    sum += std::min(end, r->end) - std::max(begin, r->begin);
  return sum;
}

struct Taken {
  Table<Unit> units{16u << 20};
  std::uint64_t live = 0, overhead = 0, metadata = 0, left_out = 0;
};

void take(const Unit& unit, void* opaque) {
  auto* to = static_cast<Taken*>(opaque);
  to->units.add(unit);
  to->live += unit.live_bytes;
  to->overhead += unit.overhead_bytes;
  if (unit.kind == UnitKind::kMetadata) to->metadata += unit.end - unit.begin;
  if (unit.kind == UnitKind::kNotExamined) to->left_out += resident_part(unit.begin, unit.end);
}

CensusResult count(Taken& taken, std::uint64_t budget, const Table<std::uintptr_t>& samples,
                   std::uint64_t* resident_bytes = nullptr, std::uint64_t* us = nullptr,
                   clockid_t clock = CLOCK_MONOTONIC) {
  static Table<AddressRange> heap(1u << 18), resident(4u << 20);
  heap.n = resident.n = 0;
  taken.units.n = 0;
  taken.live = taken.overhead = taken.metadata = taken.left_out = 0;
  g_resident = &resident;
  find_heap(heap);
  find_resident(heap, resident);
  if (resident_bytes) {
    *resident_bytes = 0;
    for (const AddressRange& r : resident) *resident_bytes += r.end - r.begin;
  }
  CensusRequest request{own_process(),
                        {heap.items, heap.n},
                        {resident.items, resident.n},
                        {samples.items, samples.n},
                        budget,
                        take,
                        &taken};
  const std::uint64_t start = now_us(clock);
  const CensusResult result = census_glibc(request);
  if (us) *us = now_us(clock) - start;
  return result;
}

/// As sampling does: each block with a chance of (size + 256) / 512 KiB.
void draw_samples(const Table<Block>& live, Table<std::uintptr_t>& samples, Random& random) {
  samples.n = 0;
  for (const Block& block : live)
    if (random.below(512u << 10) < block.usable + 256) samples.add(block.at);
}

struct Comparison {
  std::uint64_t own = 0, off = 0, foreign = 0, unpinned_pages = 0, pinned_pages = 0, foreign_pages = 0;
};

/// Unit by unit. `off` is the sum of the differences, `unpinned` pages with a live block but no unit,
/// `foreign` units that none of our blocks lies in.
Comparison compare(const Taken& taken, const Table<Block>& live) {
  Comparison result;
  std::sort(taken.units.begin(), taken.units.end(),
            [](const Unit& a, const Unit& b) { return a.begin < b.begin; });
  const Unit* unit = taken.units.begin();
  const Unit* end = taken.units.end();
  for (const Unit* u = unit; u + 1 < end; ++u)
    if (u->end > u[1].begin) printf("units overlap: %lx-%lx, %lx\n", u->begin, u->end, u[1].begin), exit(1);
  static Table<std::uint64_t> own(16u << 20);
  own.n = taken.units.n;
  std::fill(own.begin(), own.end(), 0);
  for (const Block& block : live) {
    result.own += block.usable;
    std::uintptr_t at = block.at;
    const std::uintptr_t stop = block.at + block.usable;
    while (unit < end && unit->end <= at) ++unit;
    for (const Unit* u = unit; at < stop;) {
      while (u < end && u->end <= at) ++u;
      const bool inside = u < end && u->begin <= at && u->kind != UnitKind::kMetadata;
      const std::uintptr_t to = std::min(stop, u == end        ? stop
                                               : inside        ? u->end
                                               : u->begin > at ? u->begin
                                                               : u->end);
      if (inside) own.items[u - taken.units.begin()] += to - at;
      else {
        result.off += to - at;
        result.unpinned_pages += (to - at + 4095) / 4096;
        if (getenv("SHOW") || result.unpinned_pages <= 3)
          printf("  not seen: block %lx of %zu (head %lx, %lx %lx), bytes %lx-%lx\n", block.at, block.usable,
                 reinterpret_cast<std::uint64_t*>(block.at)[-1],
                 reinterpret_cast<std::uint64_t*>(block.at)[0], reinterpret_cast<std::uint64_t*>(block.at)[1],
                 at, to);
      }
      at = to;
    }
  }
  for (std::size_t i = 0; i < taken.units.n; ++i) {
    const Unit& u = taken.units.items[i];
    if (u.kind != UnitKind::kBlocks) continue;
    const std::uint64_t theirs = u.live_bytes, ours = own.items[i];
    result.off += theirs > ours ? theirs - ours : ours - theirs;
    const std::uint64_t pages = (u.end - u.begin + 4095) / 4096;
    result.pinned_pages += pages;
    if (ours == 0) result.foreign_pages += pages;
    if (theirs > ours) result.foreign += theirs - ours;
  }
  return result;
}

// ---- check ----------------------------------------------------------------------------------------------

bool g_small = false;  ///< nothing large is freed, which would empty the fastbins

std::size_t draw_size(Random& random) {
  if (g_small) return 1 + random.below(120);
  const std::uint64_t kind = random.below(1000);
  if (kind < 500) return 1 + random.below(128);
  if (kind < 900) return 1 + random.below(1100);
  if (kind < 985) return 1 + random.below(8192);
  if (kind < 999) return 1 + random.below(100000);
  return 1 + random.below(4u << 20);
}

void write(void* p, std::size_t n, Random& random) {
  const std::uint64_t kind = random.below(100);
  if (kind == 0 && !g_small) return;  // never written: what a list left there stays
  if (kind < 20) memset(p, 0, n);
  else if (kind < 50 && n >= 8) memcpy(p, &p, 8);  // points to itself
  else memset(p, static_cast<int>(random.next()), n < 4096 ? n : 4096);
}

constexpr int kThreads = 4;
struct Worker {
  pthread_t thread;
  int index;
  std::size_t bytes;
  Table<Block> blocks{8u << 20};
};
Worker* g_workers;
pthread_barrier_t g_barrier;

void* work(void* opaque) {
  auto* own = static_cast<Worker*>(opaque);
  Random random{0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(own->index + 1)};
  for (std::size_t total = 0; total < own->bytes;) {
    const std::size_t n = draw_size(random);
    void* p;
    const std::uint64_t how = random.below(20);
    if (how == 0) p = memalign(std::size_t{16} << random.below(10), n);
    else if (how == 1) p = calloc(1, n);
    else p = malloc(n);
    if (how == 2) p = realloc(p, draw_size(random));
    write(p, malloc_usable_size(p), random);
    own->blocks.add({address_of(p), malloc_usable_size(p)});
    total += n;
  }
  pthread_barrier_wait(&g_barrier);
  // 99 of 100 die, in random order, half of them by another thread's hand.
  Table<Block>& next = g_workers[(own->index + 1) % kThreads].blocks;
  const std::size_t half = next.n / 2;
  for (std::size_t i = half; i < next.n; ++i)
    std::swap(next.items[i], next.items[i + random.below(next.n - i)]);
  for (std::size_t i = half; i < next.n; ++i)
    if (random.below(100) != 0) free(reinterpret_cast<void*>(next.items[i].at)), next.items[i].usable = 0;
  pthread_barrier_wait(&g_barrier);
  Table<Block>& mine = own->blocks;
  const std::size_t first = mine.n / 2;
  for (std::size_t i = 0; i < first; ++i) std::swap(mine.items[i], mine.items[i + random.below(first - i)]);
  for (std::size_t i = 0; i < first; ++i)
    if (random.below(100) != 0) free(reinterpret_cast<void*>(mine.items[i].at)), mine.items[i].usable = 0;
  // Some come back, out of the lists.
  for (int i = 0; i < 2000; ++i) {
    void* p = malloc(draw_size(random) % 1000 + 1);
    write(p, malloc_usable_size(p), random);
    mine.add({address_of(p), malloc_usable_size(p)});
  }
  pthread_barrier_wait(&g_barrier);
  if (own->index % 2 == 0) pthread_barrier_wait(&g_barrier);  // the others exit: their caches go to fastbins
  return nullptr;
}

std::uint64_t g_before = 0;  ///< live before the test's own blocks

bool report(const char* what, const Taken& taken, const CensusResult& result, const Table<Block>& live,
            bool strict) {
  if (!result.done) {
    printf("%s: not done: %s\n", what, result.why_not);
    return false;
  }
  const Comparison c = compare(taken, live);
  const double own = static_cast<double>(c.own);
  printf(
      "%s: own %.3f MB in %zu blocks, census %.3f MB (%+.3f %%), off by page %.3f %%; pages %lu, not seen "
      "%lu, "
      "without own block %lu; live before %lu, metadata %lu, left out %lu bytes; reads %lu, raced %lu\n",
      what, own / 1e6, live.n, static_cast<double>(taken.live) / 1e6,
      (static_cast<double>(taken.live) - own) / own * 100, static_cast<double>(c.off) / own * 100,
      c.pinned_pages, c.unpinned_pages, c.foreign_pages, g_before, taken.metadata, taken.left_out,
      result.reads, result.raced);
  if (!strict) return true;
  // libstdc++, stdio and the threads have blocks too.
  return static_cast<double>(c.off) <= 0.002 * own + static_cast<double>(g_before) + 8192 &&
         c.unpinned_pages == 0 && result.raced == 0;
}

int check(std::size_t bytes) {
  Taken taken;
  Table<std::uintptr_t> samples(1u << 20), none(1);
  count(taken, ~std::uint64_t{0}, none);
  g_before = taken.live;
  pthread_barrier_init(&g_barrier, nullptr, kThreads);
  static Worker workers[kThreads];
  g_workers = workers;
  for (int i = 0; i < kThreads; ++i) {
    workers[i].index = i;
    workers[i].bytes = bytes / kThreads;
  }
  for (int i = 1; i < kThreads; ++i) pthread_create(&workers[i].thread, nullptr, work, &workers[i]);
  pthread_t second;
  pthread_create(
      &second, nullptr,
      [](void* w) -> void* {
        work(w);
        return nullptr;
      },
      &workers[0]);
  pthread_join(workers[1].thread, nullptr);
  pthread_join(workers[3].thread, nullptr);
  usleep(50000);
  Table<Block> live(32u << 20);
  for (Worker& w : workers)
    for (const Block& b : w.blocks)
      if (b.usable) live.add(b);
  std::sort(live.begin(), live.end(), [](const Block& a, const Block& b) { return a.at < b.at; });
  Random random{42};
  draw_samples(live, samples, random);
  bool good = report("with samples", taken, count(taken, ~std::uint64_t{0}, samples), live, true);
  good &= report("without", taken, count(taken, ~std::uint64_t{0}, none), live, true);
  _exit(good ? 0 : 1);
}

// ---- churn ----------------------------------------------------------------------------------------------

std::atomic<bool> g_stop{false};

void* churn_once(void* opaque) {
  Random random{reinterpret_cast<std::uintptr_t>(opaque) * 77 + now_us()};
  constexpr int kSlots = 4000;
  static thread_local void* slots[kSlots];
  const std::uint64_t steps = 20000 + random.below(200000);
  for (std::uint64_t i = 0; i < steps && !g_stop.load(std::memory_order_relaxed); ++i) {
    void*& slot = slots[random.below(kSlots)];
    const std::uint64_t how = random.below(100);
    if (how < 50) {
      free(slot);
      slot = nullptr;
    } else {
      slot = realloc(slot, draw_size(random));
    }
    if (random.below(20000) == 0) malloc_trim(0);
  }
  for (void*& slot : slots) {
    if (random.below(50) != 0) free(slot);
    slot = nullptr;
  }
  return nullptr;
}

void* churn(void* opaque) {
  while (!g_stop.load()) {
    pthread_t thread;
    pthread_create(&thread, nullptr, churn_once, opaque);
    pthread_join(thread, nullptr);
  }
  return nullptr;
}

int churn_for(int rounds) {
  pthread_t threads[4];
  for (std::uintptr_t i = 0; i < 4; ++i)
    pthread_create(&threads[i], nullptr, churn, reinterpret_cast<void*>(i + 1));
  Table<std::uintptr_t> none(1);
  Taken taken;
  std::uint64_t raced = 0, reads = 0, left_out = 0, bytes = 0, done = 0, dirty = 0;
  for (int i = 0; i < rounds; ++i) {
    usleep(5000);
    std::uint64_t resident;
    const CensusResult result = count(taken, i % 4 == 3 ? 8u << 20 : ~std::uint64_t{0}, none, &resident);
    std::sort(taken.units.begin(), taken.units.end(),
              [](const Unit& a, const Unit& b) { return a.begin < b.begin; });
    for (std::size_t k = 0; k + 1 < taken.units.n; ++k)
      if (taken.units.items[k].end > taken.units.items[k + 1].begin) puts("units overlap"), _exit(1);
    done += result.done;
    raced += result.raced;
    dirty += result.raced != 0;
    reads += result.reads;
    if (i % 4 != 3) left_out += taken.left_out, bytes += resident;
  }
  g_stop = true;
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
  printf("churn: %d rounds, %lu done, %lu with races, %lu raced of %lu reads; left out by races %.3f %%\n",
         rounds, done, dirty, raced, reads,
         bytes ? 100.0 * static_cast<double>(left_out) / static_cast<double>(bytes) : 0);
  return done == static_cast<std::uint64_t>(rounds) ? 0 : 1;
}

// ---- time -----------------------------------------------------------------------------------------------

int measure(std::size_t bytes, std::size_t size, std::uint64_t budget) {
  const std::size_t n = bytes / (size + 8);
  Table<void*> blocks(n);
  for (std::size_t i = 0; i < n; ++i) {
    blocks.add(malloc(size));
    memset(blocks.items[i], 1, size);
  }
  Random random{7};
  if (getenv("RANDOM_ORDER"))  // the links of free blocks lead anywhere
    for (std::size_t i = 0; i < n; ++i) std::swap(blocks.items[i], blocks.items[i + random.below(n - i)]);
  Table<Block> live(n);
  Table<std::uintptr_t> samples(1u << 20);
  const bool runs = getenv("DENSITY_RUNS") != nullptr;  // the dead in long runs, not one by one
  for (std::size_t i = 0; i < n; ++i) {
    const bool dies = runs ? (i / 100000) % 2 == 0 && random.below(10) != 0 : random.below(2) == 0;
    if (dies) free(blocks.items[i]);
    else live.add({address_of(blocks.items[i]), malloc_usable_size(blocks.items[i])});
  }
  std::sort(live.begin(), live.end(), [](const Block& a, const Block& b) { return a.at < b.at; });
  draw_samples(live, samples, random);
  Taken taken;
  for (int i = 0; i < 3; ++i) {
    std::uint64_t us = 0, resident = 0;
    const CensusResult result = count(taken, budget, samples, &resident, &us, CLOCK_THREAD_CPUTIME_ID);
    std::uint64_t own = 0;
    for (const Block& b : live) own += b.usable;
    const double share = 1 - static_cast<double>(taken.left_out) / static_cast<double>(resident);
    printf(
        "resident %.1f MB, %.3f s of CPU, done %d, walked %.1f %%, live off by %+.3f %%, units %zu, reads "
        "%lu, "
        "raced %lu\n",
        static_cast<double>(resident) / 1e6, static_cast<double>(us) / 1e6, result.done, share * 100,
        (static_cast<double>(taken.live) / share / static_cast<double>(own) - 1) * 100, taken.units.n,
        result.reads, result.raced);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 4096);
  const auto number = [&](int i, std::size_t other) {
    return argc > i ? strtoul(argv[i], nullptr, 10) : other;
  };
  set_glibc_version(gnu_get_libc_version());
  g_small = argc > 3 && strcmp(argv[3], "small") == 0;
  if (argc > 1 && strcmp(argv[1], "check") == 0) return check(number(2, 256) << 20);
  if (argc > 1 && strcmp(argv[1], "churn") == 0) return churn_for(static_cast<int>(number(2, 200)));
  if (argc > 1 && strcmp(argv[1], "time") == 0)
    return measure(number(2, 1024) << 20, number(3, 56), argc > 4 ? number(4, 0) << 20 : ~std::uint64_t{0});
  fputs("usage: census_glibc check|churn|time ...\n", stderr);
  return 2;
}
