// SPDX-License-Identifier: Apache-2.0
// A census against the truth: a heap whose live blocks this program knows, asked while its threads sleep,
// after they have ended, and while they churn.
//   census_check BACKEND check [SEED]   every live block in one unit, live bytes as counted
//   census_check BACKEND churn [COUNT]  COUNT censuses while threads allocate, free, map and exit
//   census_check BACKEND time [MEBIBYTES [BYTES [cross]]]
//     how long one takes, and how long it delays a thread's malloc and free; cross: another thread has freed
// BACKEND: jemalloc, mimalloc2, mimalloc3 or the path of a shared object. Status 77: it is not installed.
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "backends/backend.hpp"
#include "base/os.hpp"

using namespace mallard;
using namespace mallard::backends;
using namespace mallard::heaps;

namespace {

// ---- which memory is the allocator's: it maps through these, glibc does not
// --------------------------------
struct Mapping {
  std::uintptr_t begin, end;
  bool mapped;  ///< false: given back
};
constexpr int kMaxMappings = 1 << 20;
Mapping* g_mappings;  // not from malloc
std::atomic<int> g_mapping_count{0};

void note(std::uintptr_t begin, std::size_t bytes, bool mapped) {
  if (!g_mappings) return;
  const int i = g_mapping_count.fetch_add(1);
  if (i < kMaxMappings) g_mappings[i] = {begin, begin + align_up(bytes, kPageBytes), mapped};
}

void add(std::vector<AddressRange>& to, AddressRange r) {
  std::vector<AddressRange> out;
  for (const AddressRange& o : to)
    if (o.end < r.begin || o.begin > r.end) out.push_back(o);
    else r = {std::min(o.begin, r.begin), std::max(o.end, r.end)};
  out.push_back(r);
  to = out;
}

void remove(std::vector<AddressRange>& from, AddressRange r) {
  std::vector<AddressRange> out;
  for (const AddressRange& o : from) {
    if (o.begin < std::min(o.end, r.begin)) out.push_back({o.begin, std::min(o.end, r.begin)});
    if (std::max(o.begin, r.end) < o.end) out.push_back({std::max(o.begin, r.end), o.end});
  }
  from = out;
}

Backend g_backend;

/// Anonymous memory of anybody: tcmalloc extends the break, and maps by system calls of its own. Its page map
/// knows nothing of the rest.
std::vector<AddressRange> anonymous_ranges() {
  std::vector<AddressRange> ranges;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin, end;
    char access[8];
    int name = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %7s %*x %*s %*u %n", &begin, &end, access, &name) != 3) continue;
    const std::string of = line.substr(static_cast<std::size_t>(name));
    if (access[0] == 'r' && access[1] == 'w' && (of.empty() || of == "[heap]"))
      ranges.push_back({begin, end});
  }
  return ranges;
}

std::vector<AddressRange> heap_ranges() {
  if (std::string(g_backend.name) == "tcmalloc") return anonymous_ranges();
  std::vector<AddressRange> ranges;
  const int n = std::min(g_mapping_count.load(), kMaxMappings);
  for (int i = 0; i < n; ++i) {
    const AddressRange r{g_mappings[i].begin, g_mappings[i].end};
    if (g_mappings[i].mapped) add(ranges, r);
    else remove(ranges, r);
  }
  std::sort(ranges.begin(), ranges.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
  // A thread may have noted its new mapping before another one notes that it unmapped the same addresses.
  std::uintptr_t end = 0;
  for (AddressRange& r : ranges) {
    r.begin = std::max(r.begin, end);
    end = std::max(r.end, end);
  }
  ranges.erase(std::remove_if(ranges.begin(), ranges.end(), [](auto& r) { return r.begin >= r.end; }),
               ranges.end());
  return ranges;
}

std::vector<AddressRange> resident_ranges(const std::vector<AddressRange>& heap) {
  std::vector<AddressRange> out;
  constexpr std::size_t kStep = 64 << 20;
  static unsigned char in_memory[kStep / kPageBytes];
  for (const AddressRange& r : heap)
    for (std::uintptr_t at = r.begin; at < r.end; at += kStep) {
      const std::size_t bytes = std::min<std::size_t>(kStep, r.end - at);
      if (os::call(SYS_mincore, static_cast<long>(at), static_cast<long>(bytes), os::arg(in_memory)) != 0)
        continue;
      for (std::size_t i = 0; i < bytes / kPageBytes; ++i) {
        if (!(in_memory[i] & 1)) continue;
        const std::uintptr_t page = at + i * kPageBytes;
        if (!out.empty() && out.back().end == page) out.back().end += kPageBytes;
        else out.push_back({page, page + kPageBytes});
      }
    }
  return out;
}

// ---- the heap
// ----------------------------------------------------------------------------------------------
struct Block {
  std::uintptr_t at;
  std::size_t bytes;
};

std::vector<Unit> g_units;
std::uint64_t g_budget = ~std::uint64_t{0};
int g_failures = 0;

template <typename... Args>
void fail(const char* format, Args... args) {
  if (++g_failures > 20) return;
  std::printf("FAILED: ");
  std::printf(format, args...);
  std::printf("\n");
}

std::size_t random_size(std::mt19937_64& random) {
  const double u = std::uniform_real_distribution<>(0, 1)(random);
  const auto up_to = [&](std::size_t n) { return std::size_t{1} + random() % n; };
  if (u < 0.70) return up_to(512);
  if (u < 0.93) return up_to(8 << 10);
  if (u < 0.99) return up_to(64 << 10);
  if (u < 0.9995) return up_to(1 << 20);
  return up_to(40 << 20);
}

Block allocate(std::mt19937_64& random, std::size_t size) {
  const bool aligned = random() % 16 == 0;
  void* p = aligned ? g_backend.functions.memalign(std::size_t{16} << random() % 10, size)
                    : g_backend.functions.malloc(size);
  if (!p) std::abort();
  std::memset(p, 1, std::min<std::size_t>(size, 256));
  return {address_of(p), g_backend.functions.usable_size(p)};
}

void release(const Block& b) { g_backend.functions.free(reinterpret_cast<void*>(b.at)); }

CensusResult census(const std::vector<AddressRange>& heap, const std::vector<AddressRange>& resident) {
  g_units.clear();
  const CensusRequest request{.process = own_process(),
                              .heap = heap,
                              .resident = resident,
                              .sampled_blocks = {},
                              .budget_bytes = g_budget,
                              .on_unit = [](const Unit& u, void*) { g_units.push_back(u); },
                              .opaque = nullptr};
  const CensusResult result = g_backend.census(request);
  if (!result.done) {
    std::printf("FAILED: %s %s: %s\n", g_backend.name, g_backend.version, result.why_not);
    std::exit(1);
  }
  return result;
}

void sort_units() {
  std::sort(g_units.begin(), g_units.end(), [](auto& a, auto& b) { return a.begin < b.begin; });
}

// ---- check
// -------------------------------------------------------------------------------------------------
/// \param slack_bytes blocks of the allocator's own that nobody here knows
void compare(const char* when, std::vector<Block> live, std::uint64_t slack_bytes) {
  const auto heap = heap_ranges();
  const auto resident = resident_ranges(heap);
  const CensusResult result = census(heap, resident);
  sort_units();
  std::sort(live.begin(), live.end(), [](auto& a, auto& b) { return a.at < b.at; });
  std::uint64_t truth = 0, counted = 0, metadata = 0, more = 0, unit_bytes = 0;
  std::size_t next = 0, outside = 0, wrong = 0, left_out = 0;
  for (std::size_t i = 0; i < g_units.size(); ++i) {
    const Unit& u = g_units[i];
    if (u.begin >= u.end) fail("%s: unit %zx is empty", when, u.begin);
    if (i + 1 < g_units.size() && g_units[i + 1].begin < u.end)
      fail("%s: units %zx-%zx and %zx-%zx overlap", when, u.begin, u.end, g_units[i + 1].begin,
           g_units[i + 1].end);
    if (u.kind == UnitKind::kNotExamined) {
      if (g_budget == ~std::uint64_t{0}) fail("%s: unit %zx was not examined", when, u.begin);
      for (; next < live.size() && live[next].at < u.end; ++next) outside += live[next].at < u.begin;
      ++left_out;
      continue;
    }
    if (u.kind == UnitKind::kMetadata) {
      for (std::uintptr_t at = u.begin; at < u.end; at += kPageBytes)
        if (os::resident_bytes(reinterpret_cast<void*>(at), kPageBytes)) metadata += kPageBytes;
      continue;
    }
    std::uint64_t in_unit = 0;
    for (; next < live.size() && live[next].at < u.end; ++next) {
      if (live[next].at < u.begin || live[next].at + live[next].bytes > u.end) {
        if (++outside <= 3) fail("%s: block %zx+%zu lies in no unit", when, live[next].at, live[next].bytes);
        continue;
      }
      in_unit += live[next].bytes;
    }
    // Usable sizes of aligned blocks may be less than the block.
    if (in_unit > u.live_bytes) {
      if (++wrong <= 3)
        fail("%s: unit %zx-%zx of %zu has %zu live bytes, the truth is %zu", when, u.begin, u.end,
             std::size_t(u.block_bytes), std::size_t(u.live_bytes), std::size_t(in_unit));
    }
    counted += u.live_bytes;
    unit_bytes += u.end - u.begin;
    truth += in_unit;
    more += u.live_bytes > in_unit ? u.live_bytes - in_unit : 0;
  }
  for (; next < live.size(); ++next) ++outside;
  const std::uint64_t bound = result.thread_cached_bytes + slack_bytes + truth / 1000;
  std::printf(
      "%-8s %zu blocks, %zu units (%.1f MiB), live %zu, counted %zu (cached %zu, bound %zu), metadata %zu, "
      "outside %zu, left out %zu, wrong %zu, reads %zu, raced %zu\n",
      when, live.size(), g_units.size(), double(unit_bytes) / 0x1p20, std::size_t(truth),
      std::size_t(counted), std::size_t(result.thread_cached_bytes), std::size_t(bound),
      std::size_t(metadata), outside, left_out, wrong, std::size_t(result.reads), std::size_t(result.raced));
  if (outside) fail("%s: %zu blocks outside all units", when, outside);
  if (more > bound)
    fail("%s: counted %zu bytes too many, at most %zu may be", when, std::size_t(more), std::size_t(bound));
  if (metadata == 0) fail("%s: no metadata found", when);
  if (result.raced) fail("%s: %zu races in a heap at rest", when, std::size_t(result.raced));
}

/// std::barrier, which the oldest compiler lacks.
class Meeting {
 public:
  explicit Meeting(unsigned threads) { pthread_barrier_init(&barrier_, nullptr, threads); }
  ~Meeting() { pthread_barrier_destroy(&barrier_); }
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;
  void arrive_and_wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

void check(unsigned seed) {
  constexpr int kThreads = 4;
  constexpr std::size_t kBlocks = 60'000;
  std::vector<Block> blocks[kThreads], kept[kThreads];
  Meeting sync(kThreads + 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed * 100 + t);
      for (std::size_t i = 0; i < kBlocks; ++i) blocks[t].push_back(allocate(random, random_size(random)));
      sync.arrive_and_wait();  // everybody has allocated; now free 99 %, every other block of the neighbour's
      const int from = (t + 1) % kThreads;
      for (std::size_t i = 0; i < kBlocks; ++i) {
        const int owner = i % 2 ? t : from;
        const Block& b = blocks[owner][i];
        if (std::hash<std::uintptr_t>()(b.at * 0x9E3779B97F4A7C15 >> 20) % 100 != 0) release(b);
        else kept[t].push_back(b);
      }
      sync.arrive_and_wait();  // census of threads that are alive
      sync.arrive_and_wait();
    });
  const auto live = [&] {
    std::vector<Block> all;
    for (auto& k : kept) all.insert(all.end(), k.begin(), k.end());
    return all;
  };
  const std::uint64_t slack = 256 << 10;
  sync.arrive_and_wait();
  sync.arrive_and_wait();
  compare("alive", live(), slack);
  g_budget = 4 << 20;  // less than the thread-free lists of a mimalloc
  compare("partly", live(), slack);
  g_budget = ~std::uint64_t{0};
  sync.arrive_and_wait();
  for (auto& t : threads) t.join();
  compare("ended", live(), slack);
  for (auto& k : kept) {
    for (std::size_t i = 0; i < k.size() / 2; ++i) release(k[i]);
    k.erase(k.begin(), k.begin() + static_cast<long>(k.size() / 2));
  }
  compare("halved", live(), slack);
}

// ---- churn
// -------------------------------------------------------------------------------------------------
std::atomic<bool> g_stop{false};
std::atomic<std::uint64_t> g_longest_ns{0}, g_calls{0};

void churn(unsigned seed, std::size_t slots, std::size_t largest) {
  std::mt19937_64 random(seed);
  std::vector<Block> mine(slots, Block{});
  for (std::size_t i = 0; i < slots * 20 && !g_stop; ++i) {
    Block& b = mine[random() % slots];
    const std::size_t size = std::min(largest, random_size(random));
    const std::uint64_t before = os::monotonic_ns();
    if (b.at) release(b);
    b = {address_of(g_backend.functions.malloc(size)), size};
    const std::uint64_t took = os::monotonic_ns() - before;
    std::uint64_t longest = g_longest_ns;
    while (took > longest && !g_longest_ns.compare_exchange_weak(longest, took)) {
    }
    ++g_calls;
  }
  for (const Block& b : mine)
    if (b.at) release(b);
}

void churn_check(int count) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (unsigned round = 0; !g_stop; ++round)
        std::thread([&] { churn(t * 1000 + round, 2000, std::size_t{40} << 20); }).join();
    });
  std::uint64_t reads = 0, raced = 0, units = 0, wrong = 0;
  for (int i = 0; i < count; ++i) {
    const auto heap = heap_ranges();
    const auto resident = resident_ranges(heap);
    const CensusResult result = census(heap, resident);
    reads += result.reads;
    raced += result.raced;
    units += g_units.size();
    sort_units();
    for (std::size_t k = 0; k + 1 < g_units.size(); ++k) wrong += g_units[k + 1].begin < g_units[k].end;
    for (const Unit& u : g_units) wrong += u.begin >= u.end || u.live_bytes > u.end - u.begin;
  }
  g_stop = true;
  for (auto& t : threads) t.join();
  std::printf("churn    %d censuses, %zu units, %zu malformed, %zu reads, %zu raced, %zu mallocs meanwhile\n",
              count, std::size_t(units), std::size_t(wrong), std::size_t(reads), std::size_t(raced),
              std::size_t(g_calls));
  if (units == 0) fail("no units");
  if (wrong) fail("%zu units overlap or are malformed", std::size_t(wrong));
}

// ---- time
// --------------------------------------------------------------------------------------------------
void time_check(std::size_t mebibytes, std::size_t size, bool freed_by_another_thread) {
  std::mt19937_64 random(1);
  std::vector<void*> blocks((mebibytes << 20) / (size + 12));
  for (auto& b : blocks) std::memset(b = g_backend.functions.malloc(size), 1, size);
  const auto free_most = [&] {
    for (auto& b : blocks)
      if (random() % 100 != 0) g_backend.functions.free(b), b = nullptr;
  };
  if (freed_by_another_thread) std::thread(free_most).join();
  else free_most();
  const auto heap = heap_ranges();
  const auto resident = resident_ranges(heap);
  g_budget = std::uint64_t{2} << 30;  // what a report allows
  g_units.reserve(blocks.size() / 32);
  // The smallest of several maxima: a busy machine delays threads too.
  const auto longest_us = [](auto&& during) {
    std::uint64_t least = ~std::uint64_t{0};
    for (int window = 0; window < 7; ++window) {
      g_stop = false;
      g_calls = 0;
      std::thread busy([] {
        while (!g_stop) churn(7, 2000, 32 << 10);
      });
      while (g_calls < 1000) usleep(100);
      g_longest_ns = 0;
      during();
      g_stop = true;
      busy.join();
      least = std::min<std::uint64_t>(least, g_longest_ns);
    }
    return double(least) / 1e3;
  };
  const double idle = longest_us([] { usleep(20'000); });
  CensusResult result{};
  std::uint64_t best = ~std::uint64_t{0}, first = 0;
  const double delayed = longest_us([&] {
    const std::uint64_t began = os::monotonic_ns();
    do {
      const std::uint64_t before = os::monotonic_ns();
      result = census(heap, resident);
      const std::uint64_t took = os::monotonic_ns() - before;
      best = std::min(best, took);
      if (first == 0) first = took;
    } while (os::monotonic_ns() - began < 20'000'000);
  });
  std::printf(
      "%s %s: %zu MiB of %zu-byte blocks, %zu units: first %.1f ms, best %.1f ms; reads %zu, raced %zu; "
      "longest malloc/free %.0f us, without a census %.0f us\n",
      g_backend.name, g_backend.version, mebibytes, size, g_units.size(), double(first) / 1e6,
      double(best) / 1e6, std::size_t(result.reads), std::size_t(result.raced), delayed, idle);
}

}  // namespace

extern "C" {
void* mmap64(void* at, std::size_t bytes, int protection, int flags, int fd, off64_t offset) noexcept {
  const long r = os::call(SYS_mmap, os::arg(at), static_cast<long>(bytes), protection, flags, fd, offset);
  if (r < 0 && r > -4096) {
    errno = static_cast<int>(-r);
    return MAP_FAILED;
  }
  note(static_cast<std::uintptr_t>(r), bytes, true);
  return reinterpret_cast<void*>(r);
}
void* mmap(void* at, std::size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  return mmap64(at, bytes, protection, flags, fd, offset);
}
int munmap(void* at, std::size_t bytes) noexcept {
  note(address_of(at), bytes, false);
  const long r = os::call(SYS_munmap, os::arg(at), static_cast<long>(bytes));
  if (r < 0) errno = static_cast<int>(-r);
  return r < 0 ? -1 : 0;
}
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  g_mappings = static_cast<Mapping*>(os::map(kMaxMappings * sizeof(Mapping)));
  const std::string name = argv[1], what = argv[2];
  FixedText<512> why, hint;
  const bool found = name == "jemalloc"    ? use_jemalloc(&g_backend)
                     : name == "mimalloc2" ? use_mimalloc(2, MALLARD_LIBRARY, &g_backend, why, hint)
                     : name == "mimalloc3" ? use_mimalloc(3, MALLARD_LIBRARY, &g_backend, why, hint)
                                           : use_file(argv[1], &g_backend, why, hint);
  if (!found) {
    std::printf("skipped: %s: %s\n", argv[1], why.c_str());
    return 77;
  }
  std::printf("%s %s\n", g_backend.name, g_backend.version);
  if (!g_backend.census) return fail("no census"), 1;
  const auto number = [&](int otherwise) { return argc > 3 ? std::atoi(argv[3]) : otherwise; };
  if (what == "check") check(static_cast<unsigned>(number(1)));
  else if (what == "churn") churn_check(number(200));
  else
    time_check(static_cast<std::size_t>(number(1024)), argc > 4 ? std::strtoul(argv[4], nullptr, 10) : 100,
               argc > 5);
  return g_failures ? 1 : 0;
}
