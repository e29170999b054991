// SPDX-License-Identifier: Apache-2.0
#include "record/latency.hpp"

#include <string.h>
#include <sys/mman.h>

#include <atomic>

#include "base/math.hpp"
#include "base/os.hpp"
#include "base/parts.hpp"
#include "record/latency_clock.hpp"

namespace mallard::record {
namespace {

using Count = std::atomic<std::uint64_t>;

constexpr int kHistograms = kOperations * (kSizeGroups + 1);

/// Counts of times in ticks, the clock's own with them, which is known the better the more often it was
/// measured.
struct Histogram {
  Count buckets[kBuckets];
};
/// The longest times stand together, so that whoever reads touches no histogram in which nothing is counted.
struct Record {
  Count most[kHistograms];  ///< ticks + 1, with the clock's own; 0 = nothing is counted
  Histogram histograms[kHistograms];
};
int index_of(Operation operation, int group) noexcept {
  return static_cast<int>(operation) * (kSizeGroups + 1) + group;
}
struct SlowRow {
  Count key;  ///< 0 = free; operation and site
  Count calls[kSlowSteps];
  Count ticks, most_ticks;
};
struct Books {
  Count went_back;
  SlowRow slow[kMaxSlowSites + 1];  ///< the last one takes what finds no room
  Record records[1];                ///< in truth g_record_count
};

constinit Books* g_books = nullptr;
constinit std::size_t g_bytes = 0;
constinit std::uint32_t g_record_count = 0;
constinit bool g_wiped_by_fork = false;
constinit std::atomic<bool> g_on{false};
constinit std::atomic<std::uint32_t> g_next_record{0};
MALLARD_FORK_DATA constinit std::uint64_t g_since_ns = 0;
constinit std::uint32_t g_every = 1;
constinit double g_gap_scale = 0;  ///< mean of the exponential distribution whose whole part is a gap
constinit std::uint64_t g_slow_ticks[kSlowSteps]{};

MALLARD_PART(latency_on, g_on);
MALLARD_PART(latency_books, g_books);
MALLARD_PART(latency_bytes, g_bytes);
MALLARD_PART(latency_records, g_record_count);
MALLARD_PART(latency_taken, g_next_record);
MALLARD_PART(latency_since, g_since_ns);
MALLARD_PART(latency_every, g_every);

void raise(Count& to, std::uint64_t value) noexcept {
  std::uint64_t now = to.load(std::memory_order_relaxed);
  while (now < value && !to.compare_exchange_weak(now, value, std::memory_order_relaxed)) {
  }
}

void add(Count& to, std::uint64_t n) noexcept { to.fetch_add(n, std::memory_order_relaxed); }

/// splitmix64, of a sequence beside that of the samples, which begins when they do.
std::uint64_t next_random(ThreadState& t) noexcept {
  std::uint64_t z = (t.latency_random += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// Calls that go by until the next one is timed. Each call is with the same chance, whatever was before.
std::uint64_t next_gap(ThreadState& t) noexcept {
  const std::uint64_t random = next_random(t);
  if (g_gap_scale == 0) return 0;
  const double uniform = static_cast<double>((random >> 11) + 1) * 0x1p-53;  // (0, 1]
  return static_cast<std::uint64_t>(-math::log(uniform) * g_gap_scale);
}

/// Pages that are never touched cost nothing; huge ones would.
bool take_memory() noexcept {
  if (g_books) return true;
  constexpr std::size_t kAll =
      align_up(sizeof(Books) + (kMaxLatencyRecords - 1) * sizeof(Record), 2 * 1024 * 1024);
  std::size_t bytes = os::within_address_limit(kAll);
  if (bytes < sizeof(Books)) bytes = align_up(sizeof(Books), kPageBytes);
  void* memory = os::map_sparse(bytes);
  if (!memory) return false;
  os::call(SYS_madvise, os::arg(memory), static_cast<long>(bytes), MADV_NOHUGEPAGE);
  g_wiped_by_fork = os::call(SYS_madvise, os::arg(memory), static_cast<long>(bytes), MADV_WIPEONFORK) == 0;
  g_bytes = bytes;
  g_record_count = static_cast<std::uint32_t>((bytes - sizeof(Books)) / sizeof(Record) + 1);
  if (g_record_count > kMaxLatencyRecords) g_record_count = kMaxLatencyRecords;
  g_books = static_cast<Books*>(memory);
  return true;
}

/// A thread that counts meanwhile loses what it counts, or leaves a call behind. Locked memory is not given
/// back.
void wipe() noexcept {
  if (os::call(SYS_madvise, os::arg(g_books), static_cast<long>(g_bytes), MADV_DONTNEED) != 0)
    memset(static_cast<void*>(g_books), 0, g_bytes);
}

std::uint64_t key_of(Operation operation, bool has_site, SiteId site) noexcept {
  const std::uint64_t number = has_site ? static_cast<std::uint64_t>(site) + 1 : 0;
  return (number << 8 | static_cast<std::uint64_t>(operation)) + 1;
}

/// The row of a key, which is made if there is none.
SlowRow& slow_row(std::uint64_t key) noexcept {
  constexpr std::uint32_t kTries = 64;
  const std::uint64_t begin = key * 0x9e3779b97f4a7c15u >> 32;
  for (std::uint32_t i = 0; i < kTries; ++i) {
    SlowRow& row = g_books->slow[(begin + i) % kMaxSlowSites];
    std::uint64_t found = row.key.load(std::memory_order_relaxed);
    if (found == key) return row;
    if (found == 0 && row.key.compare_exchange_strong(found, key, std::memory_order_relaxed)) return row;
    if (found == key) return row;
  }
  SlowRow& last = g_books->slow[kMaxSlowSites];
  last.key.store(key_of(static_cast<Operation>((key - 1) & 0xff), false, SiteId{}),
                 std::memory_order_relaxed);
  return last;
}

MALLARD_NOINLINE void note_slow(Operation operation, std::uint64_t ticks,
                                const arch::Caller& caller) noexcept {
  SiteId site{};
  const bool has_site = site_of_call(caller, &site);
  SlowRow& row = slow_row(key_of(operation, has_site, site));
  int step = 0;
  while (step < kSlowSteps - 1 && ticks >= g_slow_ticks[step + 1]) ++step;
  add(row.calls[step], 1);
  add(row.ticks, ticks);
  raise(row.most_ticks, ticks);
}

}  // namespace

bool latency_begin(std::uint32_t every, KernelClock* kernel_clock) noexcept {
  if (!take_memory()) return false;
  latency_clock_start(kernel_clock);
  double step = static_cast<double>(kSlowNs) / latency_tick_ns();
  for (std::uint64_t& ticks : g_slow_ticks) {
    ticks = static_cast<std::uint64_t>(step);
    step *= 10;
  }
  g_every = every;
  g_gap_scale = every > 1 ? -1 / math::log(1 - 1 / static_cast<double>(every)) : 0;
  wipe();
  g_since_ns = os::monotonic_ns();
  g_on.store(true, std::memory_order_release);
  return true;
}

void latency_end() noexcept { g_on.store(false); }
bool latency_is_on() noexcept { return g_on.load(std::memory_order_acquire); }
std::uint32_t latency_every() noexcept { return g_every; }
std::uint64_t latency_since_ns() noexcept { return g_since_ns; }

bool latency_draw() noexcept {
  ThreadState& t = mallard_thread;
  if (MALLARD_UNLIKELY(!latency_is_on())) {  // it has ended a moment ago
    t.calls_left = next_gap(t);
    return false;
  }
  if (MALLARD_UNLIKELY(t.latency_record == nullptr)) {
    // The thread's first call: the 0 that it found was no gap. Draw one and count again.
    const std::uint32_t number = g_next_record.fetch_add(1, std::memory_order_relaxed);
    t.latency_random = time_before() ^ address_of(&t) * 0xd6e8feb86659fd93u;
    t.latency_record = &g_books->records[number % g_record_count];
    t.calls_left = next_gap(t);
    if (t.calls_left > 0) {
      --t.calls_left;
      return false;
    }
  }
  t.calls_left = next_gap(t);
  return t.in_recording == 0;
}

bool latency_asks_size() noexcept { return (mallard_thread.latency_random >> 40 & 1) != 0; }

void latency_note(Operation operation, int group, std::uint64_t before, std::uint64_t after,
                  const arch::Caller& caller) noexcept {
  auto* record = static_cast<Record*>(mallard_thread.latency_record);
  if (MALLARD_UNLIKELY(!record)) return;
  if (MALLARD_UNLIKELY(after < before)) return add(g_books->went_back, 1);
  const std::uint64_t ticks = after - before;
  const int index = index_of(operation, group);
  add(record->histograms[index].buckets[bucket_of(ticks)], 1);
  raise(record->most[index], ticks + 1);
  const std::uint64_t own = latency_clock_own_ticks();
  if (MALLARD_UNLIKELY(ticks >= g_slow_ticks[0] + own)) note_slow(operation, ticks - own, caller);
}

void latency_add(Operation operation, int group, LatencyCounts* to) noexcept {
  const std::uint32_t taken = g_next_record.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; g_books && i < g_record_count && i < taken; ++i) {
    const Record& record = g_books->records[i];
    const int index = index_of(operation, group);
    const std::uint64_t most = record.most[index].load(std::memory_order_relaxed);
    if (most == 0) continue;
    if (most - 1 > to->most_ticks) to->most_ticks = most - 1;
    for (std::uint32_t b = 0; b <= bucket_of(most - 1); ++b)
      to->buckets[b] += record.histograms[index].buckets[b].load(std::memory_order_relaxed);
  }
}

std::uint32_t latency_slow_sites(SlowSite* to, std::uint32_t room) noexcept {
  std::uint32_t count = 0;
  for (std::uint32_t i = 0; g_books && i <= kMaxSlowSites && count < room; ++i) {
    const SlowRow& row = g_books->slow[i];
    const std::uint64_t key = row.key.load(std::memory_order_relaxed);
    if (key == 0) continue;
    SlowSite& s = to[count++];
    s = {};
    s.operation = static_cast<Operation>((key - 1) & 0xff);
    s.has_site = (key - 1) >> 8 != 0;
    if (s.has_site) s.site = static_cast<SiteId>(((key - 1) >> 8) - 1);
    for (int step = 0; step < kSlowSteps; ++step)
      s.calls[step] = row.calls[step].load(std::memory_order_relaxed);
    s.ticks = row.ticks.load(std::memory_order_relaxed);
    s.most_ticks = row.most_ticks.load(std::memory_order_relaxed);
  }
  return count;
}

std::uint64_t latency_went_back() noexcept {
  return g_books ? g_books->went_back.load(std::memory_order_relaxed) : 0;
}

std::uint64_t latency_own_bytes() noexcept { return g_books ? os::resident_bytes(g_books, g_bytes) : 0; }

MALLARD_FORK_TEXT void latency_after_fork_in_child(std::uint64_t forked_ns) noexcept {
  if (!g_books) return;
  if (!g_wiped_by_fork) wipe();
  g_since_ns = forked_ns;
}

bool latency_adopt(const OtherParts& parts) noexcept {
  Books* theirs = nullptr;
  std::size_t bytes = 0;
  if (!parts.adopt(g_on) || !parts.copy_of(g_books, &theirs) || !parts.copy_of(g_bytes, &bytes)) return false;
  if (!latency_is_on() || !theirs) return true;
  if (!take_memory() || bytes > g_bytes || !parts.adopt(g_record_count)) return false;
  if (g_record_count > kMaxLatencyRecords || sizeof(Books) + (g_record_count - 1) * sizeof(Record) > bytes)
    return false;
  return parts.adopt(g_next_record) && parts.adopt(g_since_ns) && parts.adopt(g_every) &&
         latency_clock_adopt(parts) && parts.copy_in_memory(g_books, address_of(theirs), bytes);
}

}  // namespace mallard::record
