// SPDX-License-Identifier: Apache-2.0
// Large blocks in thread caches of jemalloc 5.2, on a process that is made up.
#include <vector>

#include "heaps/jemalloc_caches.hpp"
#include "unit/catch.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constexpr std::uintptr_t kBase = 0x1234'4000'0000, kThreads = 0x1235'0000'0000;
constexpr std::uint64_t kClasses[] = {8, 16, 32, 16384, 20480, 24576};
constexpr unsigned kSmall = 3, kCached = 5;  // of the last class nobody keeps blocks
constexpr std::size_t kBinBytes = 24, kBetween = 40, kRingBytes = 32;

/// Writes a cache between whose two tables of bins `ring` lies. \return where the ring is
std::uintptr_t put_cache(MadeUpProcess& process, std::uintptr_t at, std::uintptr_t next,
                         std::vector<std::uint32_t> large) {
  process.map(at & ~(kPageBytes - 1), 2 * kPageBytes);
  const std::uintptr_t ring = at + kSmall * kBinBytes + kBetween, bins = ring + kRingBytes + 24;
  const std::uint64_t words[] = {next ? next : ring, next ? next : ring, at, bins};
  process.put(ring, words);
  for (std::size_t i = 0; i < large.size(); ++i) process.put(bins + i * kBinBytes + 4, large[i]);
  return ring;
}

std::uint64_t ask(const MadeUpProcess& process) {
  const std::vector<AddressRange> resident = process.resident();
  const AddressRange heap[] = {{kBase, kBase + (2 << 20)}};
  const CensusRequest request{.process = process,
                              .heap = heap,
                              .resident = resident,
                              .sampled_blocks = {},
                              .budget_bytes = 0,
                              .on_unit = nullptr,
                              .opaque = nullptr};
  return JemallocCaches(request, kClasses, kSmall, kCached).large_bytes(kBase);
}

}  // namespace

TEST_CASE("jemalloc's caches: the large blocks of all threads of an arena") {
  MadeUpProcess process;
  process.map(kBase, 8 * kPageBytes);
  const std::uintptr_t second = kThreads + (1 << 20) + kSmall * kBinBytes + kBetween;
  const std::uintptr_t first = put_cache(process, kThreads + 0x100, second, {2, 1, 7});
  put_cache(process, kThreads + (1 << 20), first, {0, 3});
  // What points into the heap, and to what is no cache, is passed over.
  const std::uint64_t words[] = {kBase + 0x40, kThreads + 0x100, 5, ~std::uint64_t{0}, first};
  process.put(kBase + 5 * kPageBytes, words);
  CHECK(ask(process) == 2 * 16384 + 1 * 20480 + 3 * 20480);
}

TEST_CASE("jemalloc's caches: one thread, and counts that cannot be") {
  MadeUpProcess process;
  process.map(kBase, kPageBytes);
  process.put(kBase + 0x80, put_cache(process, kThreads, 0, {21, 4}));
  CHECK(ask(process) == 4 * 20480);
}

TEST_CASE("jemalloc's caches: a block without an arena, and pages that are not in memory") {
  MadeUpProcess process;
  process.map(kBase, 4 * kPageBytes);
  CHECK(ask(process) == 0);
  process.put(kBase + 2 * kPageBytes, put_cache(process, kThreads, 0, {1}));
  CHECK(ask(process) == 16384);
  process.swap_out(kBase + 2 * kPageBytes);
  CHECK(ask(process) == 0);
  CHECK(process.reads_of_swapped_out == 0);
}

TEST_CASE("jemalloc's caches: a thread that has ended takes its cache along") {
  MadeUpProcess process;
  process.map(kBase, kPageBytes);
  process.put(kBase, put_cache(process, kThreads, kThreads + (8 << 20), {1, 1}));
  CHECK(ask(process) == 16384 + 20480);
}
