// SPDX-License-Identifier: Apache-2.0
// The ledger on hand-made regions: every resident byte under one cause, whatever the parts say.
#include <cstdlib>
#include <vector>

#include "report/divide/ledger.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard;
using namespace mallard::report;

namespace {

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

struct Process {
  std::vector<Region> regions;
  std::vector<ResidentRun> runs;
  Rss rss{};
  std::uintptr_t next = 0x100000;

  /// A region with `resident` bytes at its start in memory.
  Region& add(Owner owner, std::uint64_t size, std::uint64_t resident, std::string_view name = "",
              bool huge = false) {
    const std::uint64_t before =
        runs.empty() ? 0 : runs.back().before + (runs.back().end - runs.back().begin);
    Region region{};
    region.begin = next;
    region.end = next + size;
    region.owner = owner;
    region.name = name;
    if (resident > 0)
      runs.push_back({next, next + resident, before, owner == Owner::kFile || owner == Owner::kShared, huge});
    next += size + kMiB;
    rss.known = true;
    rss.total += resident;
    regions.push_back(region);
    return regions.back();
  }
  Ledger ledger(Arena& arena, const HeapTotals* heap, const char* why_not = nullptr) {
    Ledger ledger{};
    REQUIRE(build_ledger(arena, {regions, runs, rss, rss, heap, why_not}, &ledger));
    return ledger;
  }
};

double bytes(const Ledger& l, Cause cause) { return l.lines[static_cast<int>(cause)].bytes.value; }

Estimate exact(double value) { return {value, 0, true, value, value}; }

/// 1 MiB pinned, of it 600 KiB live, 24 KiB rounding, 400 KiB holes; 512 KiB metadata, 512 KiB retained.
HeapTotals heap_totals() {
  HeapTotals heap{};
  heap.pinned = kMiB;
  heap.live = exact(600 * kKiB);
  heap.rounding = exact(24 * kKiB);
  heap.holes = exact(400 * kKiB);
  heap.metadata = 512 * kKiB;
  heap.retained = 512 * kKiB;
  heap.rounding_known = true;
  heap.examined = 1;
  return heap;
}

}  // namespace

TEST_CASE("ledger: each owner has its line, and the lines are Rss") {
  Arena arena;
  Process p;
  p.add(Owner::kHeap, 4 * kMiB, 2 * kMiB);
  p.add(Owner::kHeapMetadata, 64 * kKiB, 32 * kKiB);
  p.add(Owner::kOwn, kMiB, 100 * kKiB);
  p.add(Owner::kAnonymous, kMiB, 200 * kKiB, "/lib/one.so");
  p.add(Owner::kAnonymous, kMiB, 52 * kKiB, "/lib/two.so");
  p.add(Owner::kAnonymous, kMiB, 48 * kKiB, "/lib/two.so");
  p.add(Owner::kStack, kMiB, 16 * kKiB, "main");
  p.add(Owner::kFile, kMiB, 300 * kKiB, "/data.mdb");
  p.add(Owner::kShared, kMiB, 8 * kKiB, "/dev/shm/x");
  const HeapTotals heap = heap_totals();
  const Ledger l = p.ledger(arena, &heap);
  REQUIRE(l.known);
  REQUIRE(l.divided);
  REQUIRE(l.unexplained_bytes == 0);
  REQUIRE(bytes(l, Cause::kLive) == 600 * kKiB);
  REQUIRE(bytes(l, Cause::kHoles) == 400 * kKiB);
  REQUIRE(bytes(l, Cause::kMetadata) == 544 * kKiB);
  REQUIRE(bytes(l, Cause::kUndivided) == 0);
  REQUIRE(bytes(l, Cause::kAnonymous) == 300 * kKiB);
  REQUIRE(bytes(l, Cause::kFiles) == 300 * kKiB);
  REQUIRE(l.heap_bytes == 2 * kMiB + 32 * kKiB);
  REQUIRE(l.detail_count == 5);
  REQUIRE(l.details[0].name == "/lib/one.so");
  REQUIRE(l.details[1].name == "/lib/two.so");
  REQUIRE(l.details[1].bytes == 100 * kKiB);
  REQUIRE(l.details[1].mappings == 2);
}

TEST_CASE("ledger: while memory moves, only what lies outside of RSS before and after is unexplained") {
  Arena arena;
  Process p;
  p.add(Owner::kHeap, 40 * kMiB, 20 * kMiB);
  const auto unexplained = [&](std::uint64_t before, std::uint64_t after) {
    Rss first = p.rss, second = p.rss;
    first.total = before;
    second.total = after;
    Ledger l{};
    REQUIRE(build_ledger(arena, {p.regions, p.runs, first, second, nullptr, "?"}, &l));
    REQUIRE(static_cast<std::int64_t>(l.rss_bytes) - l.unexplained_bytes ==
            20 * static_cast<std::int64_t>(kMiB));
    return l.unexplained_bytes / static_cast<std::int64_t>(kKiB);
  };
  REQUIRE(unexplained(15 * kMiB, 21 * kMiB) == 0);
  REQUIRE(unexplained(21 * kMiB, 15 * kMiB) == 0);
  REQUIRE(unexplained(15 * kMiB, 19 * kMiB) == -1024);
  REQUIRE(unexplained(23 * kMiB, 22 * kMiB) == 2048);
}

TEST_CASE("ledger: a heap that cannot be asked is one line") {
  Arena arena;
  Process p;
  p.add(Owner::kHeap, 4 * kMiB, 2 * kMiB);
  const Ledger l = p.ledger(arena, nullptr, "it does not answer");
  REQUIRE_FALSE(l.divided);
  REQUIRE(bytes(l, Cause::kUndivided) == 2 * kMiB);
  REQUIRE(l.heap_bytes == 2 * kMiB);
  REQUIRE(l.unexplained_bytes == 0);
}

TEST_CASE("ledger: lazily freed pages are not retained, nor counted twice") {
  Arena arena;
  Process p;
  p.add(Owner::kHeap, 4 * kMiB, 2 * kMiB).lazily_freed_bytes = 200 * kKiB;
  p.add(Owner::kAnonymous, kMiB, 100 * kKiB).lazily_freed_bytes = 60 * kKiB;
  p.rss.lazily_freed = 260 * kKiB;
  const HeapTotals heap = heap_totals();
  const Ledger l = p.ledger(arena, &heap);
  REQUIRE(bytes(l, Cause::kLazilyFreed) == 260 * kKiB);
  REQUIRE(bytes(l, Cause::kRetained) == 312 * kKiB);
  REQUIRE(bytes(l, Cause::kAnonymous) == 40 * kKiB);
  REQUIRE(l.heap_bytes == 2 * kMiB - 200 * kKiB);
  REQUIRE(l.unexplained_bytes == 0);
}

TEST_CASE("ledger: lazily freed, where the kernel does not say in which mapping") {
  Arena arena;
  Process p;
  p.add(Owner::kHeap, 4 * kMiB, 2 * kMiB);
  p.rss.lazily_freed = 10 * kMiB;  // more than there is
  const Ledger l = p.ledger(arena, nullptr, "?");
  REQUIRE(bytes(l, Cause::kLazilyFreed) == 2 * kMiB);
  REQUIRE(bytes(l, Cause::kUndivided) == 0);
}

TEST_CASE("ledger: what the lines do not hold is unexplained, either way") {
  Arena arena;
  Process p;
  p.add(Owner::kFile, kMiB, 64 * kKiB, "/a");
  p.rss.total += 8 * kKiB;
  REQUIRE(p.ledger(arena, nullptr, "?").unexplained_bytes == static_cast<std::int64_t>(8 * kKiB));
  p.rss.total -= 16 * kKiB;
  REQUIRE(p.ledger(arena, nullptr, "?").unexplained_bytes == -static_cast<std::int64_t>(8 * kKiB));
}

TEST_CASE("ledger: huge pages of the heap, and heap ranges") {
  Arena arena;
  Process p;
  p.add(Owner::kHeap, 4 * kMiB, 2 * kMiB, "", true);
  p.add(Owner::kAnonymous, 4 * kMiB, 2 * kMiB, "", true);
  p.add(Owner::kHeap, kMiB, 4 * kKiB);
  REQUIRE(p.ledger(arena, nullptr, "?").huge_bytes == 2 * kMiB);
  HeapRanges heap{};
  REQUIRE(heap_ranges(arena, p.regions, p.runs, &heap));
  REQUIRE(heap.mapped.size() == 2);
  REQUIRE(heap.resident.size() == 2);
  REQUIRE(heap.resident_bytes == 2 * kMiB + 4 * kKiB);
}

TEST_CASE("ledger: changed copies of files are no files") {
  Arena arena;
  Process p;
  p.add(Owner::kFile, kMiB, 64 * kKiB, "/data");
  p.add(Owner::kFile, kMiB, 32 * kKiB, "/data");
  p.runs.back().file = false;
  p.add(Owner::kShared, kMiB, 16 * kKiB, "/dev/shm/x");  // a private mapping of it
  p.runs.back().file = false;
  Ledger l = p.ledger(arena, nullptr, "?");
  REQUIRE(bytes(l, Cause::kFiles) == 64 * kKiB);
  REQUIRE(bytes(l, Cause::kFileCopies) == 48 * kKiB);
  REQUIRE(bytes(l, Cause::kShared) == 0);
  REQUIRE(l.detail_count == 3);
  REQUIRE(l.details[1].cause == Cause::kFileCopies);
  REQUIRE(l.details[1].name == "/data");
  REQUIRE(l.unexplained_bytes == 0);
  // mincore does not tell.
  l = {};
  REQUIRE(build_ledger(arena, {p.regions, p.runs, p.rss, p.rss, nullptr, "?", false, false}, &l));
  REQUIRE(bytes(l, Cause::kFiles) == 96 * kKiB);
  REQUIRE(bytes(l, Cause::kFileCopies) == 0);
}

TEST_CASE("ledger: nothing at all") {
  Arena arena;
  Process p;
  const Ledger l = p.ledger(arena, nullptr, "?");
  REQUIRE(l.known);
  REQUIRE(l.detail_count == 0);
  REQUIRE(l.unexplained_bytes == 0);
}
