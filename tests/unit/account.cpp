// SPDX-License-Identifier: Apache-2.0
// A heap that is made up, divided by what an allocator would answer: lines of the ledger, figures of call sites,
// and what is said where it cannot be asked.
#include <initializer_list>
#include <string>
#include <vector>

#include "report/divide/heap_division.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::report;
using heaps::Unit;
using heaps::UnitKind;

namespace {

constexpr std::uintptr_t kHeap = 0x10'0000'0000;
constexpr double kPage = kPageBytes;
constexpr std::size_t kHeapPages = 16;

/// What the allocator answers.
std::vector<Unit> g_units;
heaps::CensusResult g_answer;

heaps::CensusResult census(const heaps::CensusRequest& request) {
  CHECK(request.budget_bytes == std::uint64_t{1} << 60);  // another process: all of it is looked at
  REQUIRE(request.heap.size() == 1);
  CHECK(request.heap[0].begin == kHeap);
  for (const Unit& unit : g_units) request.report(unit);
  return g_answer;
}

struct Accounted {
  MadeUpProcess process;
  Arena arena;
  backends::Backend backend;
  Served served{};
  Memory memory;
  std::vector<Region> regions;
  std::vector<SiteRow> rows = std::vector<SiteRow>(4);
  std::vector<record::LiveBlock> blocks;
  RecordCopy copy;
  ExactRecording exact{};
  BeforeRecording before{};
  Ledger out{};

  Accounted() {
    g_units.clear();
    g_answer = {.done = true,
                .why_not = nullptr,
                .unit_name = "slab",
                .thread_cached_bytes = 0,
                .internal_bytes = 0,
                .reads = 70,
                .raced = 3,
                .arena_top_bytes = 11,
                .arenas = 5,
                .threadless_arenas = 2};
    g_answer.free_memory.main_top = 9;
    backends::set_text(backend.name, sizeof backend.name, "jemalloc");
    backend.census = census;
    for (std::uint32_t i = 0; i < rows.size(); ++i) rows[i].id = i;
  }
  void unit(std::size_t page, std::size_t pages, std::uint64_t live, std::uint64_t block_bytes) {
    g_units.push_back(
        {kHeap + page * kPageBytes, kHeap + (page + pages) * kPageBytes, UnitKind::kBlocks, block_bytes, live, 0});
  }
  void sample(std::size_t page, std::uint64_t asked, std::uint32_t rounding, std::uint32_t site,
              double weight = 1) {
    blocks.push_back({kHeap + page * kPageBytes, asked, weight, 1, record::SiteId{site}, rounding});
  }
  void divide(std::span<const BoundElsewhere> bound = {}) {
    process.map(kHeap, kHeapPages * kPageBytes);
    process.map(kHeap + 100 * kPageBytes, 3 * kPageBytes);
    Region heap{}, other{};
    heap.begin = kHeap;
    heap.end = kHeap + kHeapPages * kPageBytes;
    heap.owner = Owner::kHeap;
    other.begin = kHeap + 100 * kPageBytes;
    other.end = other.begin + 3 * kPageBytes;
    other.owner = Owner::kAnonymous;
    heap.private_anonymous = other.private_anonymous = true;
    regions = {heap, other};
    memory.process = &process;
    memory.known = true;
    memory.regions.all = regions;
    memory.regions.unlogged_mappings = 4;
    memory.looks = 2;
    memory.scan_ns = 77;
    memory.before.known = memory.after.known = true;
    memory.before.total = memory.after.total = (kHeapPages + 3) * kPageBytes;
    const ScanRange ranges[] = {{heap.begin, heap.end}, {other.begin, other.end}};
    REQUIRE(memory.residency.scan(arena, process, ranges));
    served.backend = &backend;
    copy.rows = rows.data();
    copy.row_count = copy.site_count = static_cast<std::uint32_t>(rows.size());
    copy.blocks = blocks;
    account(arena, memory, served, copy, bound, &exact, &before, &out);
  }
  double line(Cause cause) const { return out.lines[static_cast<int>(cause)].bytes.value; }
};

Approx near(double value) { return Approx(value).margin(1e-3); }

}  // namespace

TEST_CASE("account: the heap is divided by the units that the allocator tells and the blocks that are known") {
  Accounted a;
  a.unit(0, 4, 100, 100);
  a.sample(0, 90, 10, 1);
  a.divide();
  REQUIRE(a.out.known);
  REQUIRE(a.out.divided);
  CHECK(a.line(Cause::kLive) == near(90));
  CHECK(a.line(Cause::kRounding) == near(10));
  CHECK(a.line(Cause::kHoles) == near(4 * kPage - 100));
  CHECK(a.line(Cause::kRetained) == near(12 * kPage));
  CHECK(a.line(Cause::kAnonymous) == near(3 * kPage));
  CHECK(a.line(Cause::kUndivided) == 0);
  CHECK(a.rows[1].resident_bytes.value == near(4 * kPage));
  CHECK(a.rows[1].resident_live_bytes.value == near(90));
  CHECK(a.rows[1].hole_bytes.value == near(4 * kPage - 100));
  CHECK(a.rows[2].resident_bytes.value == 0);
  CHECK(a.out.unit_name == std::string("slab"));
  CHECK(a.out.reads == 70);
  CHECK(a.out.raced == 3);
  CHECK(a.out.arena_top_bytes == 11);
  CHECK(a.out.arenas == 5);
  CHECK(a.out.threadless_arenas == 2);
  CHECK(a.out.free_memory.main_top == 9);
  CHECK(a.out.looks == 2);
  CHECK(a.out.scan_ns == 77);
  CHECK(a.out.unlogged_mappings == 4);
  CHECK(!a.out.by_pages);
  CHECK(!a.out.dirty_known);
  CHECK(a.before.live_bytes == 0);
  CHECK(a.out.heap_map.cells.size() > 0);
}

TEST_CASE("account: what a site holds alone is told where it is nearly all that the site has") {
  Accounted a;
  a.unit(0, 4, 100, 100);
  a.sample(0, 90, 10, 1);
  a.unit(4, 4, 200, 100);
  a.sample(4, 100, 0, 2);
  a.sample(5, 100, 0, 3);
  a.divide();
  CHECK(a.rows[1].alone_bytes.has_interval);
  CHECK(a.rows[1].alone_bytes.value == near(4 * kPage));
  CHECK(a.rows[1].alone_bytes.low <= a.rows[1].alone_bytes.value);
  CHECK(a.rows[1].alone_bytes.high >= a.rows[1].resident_bytes.high);
  CHECK(a.rows[1].alone_hole_bytes.has_interval);
  CHECK(a.rows[1].alone_hole_bytes.value == near(4 * kPage - 100));
  CHECK(a.rows[1].alone_hole_bytes.high >= a.rows[1].hole_bytes.high);
  for (const int site : {2, 3}) {
    CHECK(a.rows[site].resident_bytes.value == near(2 * kPage));
    CHECK(!a.rows[site].alone_bytes.has_interval);
    CHECK(!a.rows[site].alone_hole_bytes.has_interval);
  }
}

TEST_CASE("account: free blocks in thread caches look live, and are holes") {
  Accounted a;
  a.unit(0, 4, 100, 100);
  a.sample(0, 90, 10, 1);
  g_answer.thread_cached_bytes = 50;
  a.divide();
  CHECK(a.out.thread_cached_bytes == 50);
  const LedgerLine& live = a.out.lines[static_cast<int>(Cause::kLive)];
  const LedgerLine& holes = a.out.lines[static_cast<int>(Cause::kHoles)];
  CHECK(live.bytes.value == near(45));
  CHECK(live.bytes.low == near(45));
  CHECK(live.bytes.high == near(45));
  CHECK(a.line(Cause::kRounding) == near(5));
  CHECK(holes.bytes.value == near(4 * kPage - 50));
  CHECK(holes.bytes.low == near(4 * kPage - 50));
  CHECK(holes.bytes.high == near(4 * kPage - 50));
  CHECK(a.line(Cause::kRetained) == near(12 * kPage));

  Accounted all;  // never more than there is
  all.unit(0, 4, 100, 100);
  all.sample(0, 90, 10, 1);
  g_answer.thread_cached_bytes = 5'000;
  all.divide();
  CHECK(all.line(Cause::kLive) == near(0));
  CHECK(all.line(Cause::kHoles) == near(4 * kPage));
}

TEST_CASE("account: blocks of the allocator's own look live, and are metadata as far as nobody else has them") {
  Accounted a;
  a.unit(0, 4, 100, 100);
  a.sample(0, 100, 0, 1);
  a.unit(4, 4, 3'000, 3'000);  // no sample says whose
  g_answer.internal_bytes = 1'000;
  a.divide();
  CHECK(a.line(Cause::kMetadata) == near(1'000));
  CHECK(a.line(Cause::kLive) == near(2'100));
  CHECK(a.line(Cause::kRetained) == near(8 * kPage));
  Accounted all;
  all.unit(0, 4, 100, 100);
  all.sample(0, 100, 0, 1);
  g_answer.internal_bytes = 1'000;
  all.divide();
  CHECK(all.line(Cause::kMetadata) == near(0));
  CHECK(all.line(Cause::kLive) == near(100));
}

TEST_CASE("account: a heap that cannot be divided is one line, with the reason") {
  const auto why_not = [](auto change) {
    Accounted a;
    change(a);
    a.divide();
    CHECK(a.out.known);
    CHECK(!a.out.divided);
    CHECK(a.line(Cause::kUndivided) == near(kHeapPages * kPage));
    CHECK(a.line(Cause::kAnonymous) == near(3 * kPage));
    CHECK(a.line(Cause::kLive) == 0);
    return std::string(a.out.not_divided_why ? a.out.not_divided_why : "");
  };
  constexpr const char* kNotOurs = "mallard's allocator does not serve this process";
  CHECK(why_not([](Accounted& a) { a.served.bypassed = true; }) == kNotOurs);
  CHECK(why_not([](Accounted& a) { a.served.stepped_aside = true; }) == kNotOurs);
  CHECK(why_not([](Accounted&) { g_answer.done = false; }) == "the allocator could not be asked");
  CHECK(why_not([](Accounted&) {
          g_answer.done = false;
          g_answer.why_not = "a reason";
        }) == "a reason");
  const auto without_census = [&](const char* name) {
    return why_not([name](Accounted& a) {
      a.backend.census = nullptr;
      backends::set_text(a.backend.name, sizeof a.backend.name, name);
    });
  };
  CHECK(without_census("Hoard") == "mallard does not know how to ask this allocator");
  for (const char* known : {"system", "musl"}) CHECK(without_census(known) == "no heap was found");
  // Exact books that began late do not tell which pages are free.
  CHECK(why_not([](Accounted& a) {
          a.exact.on = true;
          a.backend.census = nullptr;
        }) == "mallard does not know how to ask this allocator");
}

TEST_CASE("account: complete exact books divide a heap by pages where the allocator cannot be asked") {
  Accounted a;
  a.backend.census = nullptr;
  a.exact.on = a.exact.complete = true;
  a.divide();
  CHECK(a.out.divided);
  CHECK(a.out.by_pages);
  CHECK(a.out.unit_name == std::string("4 KiB page"));
  CHECK(!a.out.live_compared);
  CHECK(!a.out.rounding_known);
  CHECK(a.line(Cause::kRetained) == near(kHeapPages * kPage));
  CHECK(!a.out.pins.known);  // what another allocator gives back nobody knows
  BoundElsewhere bound[] = {{"/lib/a.so", "/lib/server.so", 1, true}};
  Accounted past;
  past.backend.census = nullptr;
  past.exact.on = past.exact.complete = true;
  past.divide(bound);
  CHECK(!past.out.divided);  // blocks that nobody booked may lie on any page
  bound[0].to_server = false;
  past.divide(bound);
  CHECK(past.out.divided);
}

TEST_CASE("account: where nothing is known of memory, only that is said") {
  Accounted a;
  a.memory.why_not = "a reason";
  a.served.backend = &a.backend;
  account(a.arena, a.memory, a.served, a.copy, {}, &a.exact, &a.before, &a.out);
  CHECK(!a.out.known);
  CHECK(a.out.why_not == std::string("a reason"));
  CHECK(!a.out.divided);
}
