// SPDX-License-Identifier: Apache-2.0
// Call sites as rows of a report: which of them get one, what stands in it, and whose code they are.
#include <sys/mman.h>

#include <filesystem>
#include <initializer_list>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "elf/modules.hpp"
#include "record/latency_clock.hpp"
#include "record/record.hpp"
#include "record/sampler.hpp"
#include "report/facts/frames.hpp"
#include "report/facts/latency.hpp"
#include "report/facts/sampled_sites.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

std::uint32_t site_of(std::initializer_list<std::uintptr_t> pcs) {
  return static_cast<std::uint32_t>(record::intern_site(pcs.begin(), static_cast<int>(pcs.size())));
}
const void* block(std::uintptr_t n) { return reinterpret_cast<const void*>(0x50'0000'0000 + n * 4096); }

[[gnu::noinline]] void one_site(std::uintptr_t n, std::size_t bytes) {
  record::on_alloc(block(n), bytes, bytes, MALLARD_CALLER());
}
[[gnu::noinline]] void another_site(std::uintptr_t n, std::size_t bytes) {
  record::on_alloc(block(n), bytes, bytes, MALLARD_CALLER());
}

double stood_for(std::initializer_list<std::uint64_t> sizes) {
  double sum = 0;
  for (std::uint64_t size : sizes) sum += record::weight_of(size) * static_cast<double>(size);
  return sum;
}

/// Counts of exact mode that are made up, of sites that have no other samples.
struct Counted {
  static constexpr std::uint32_t kMost = 2'600;
  std::vector<record::ExactCounts> counts;
  std::vector<ExactShare> shares;
  std::uint32_t first = 0;  ///< of the sites that were made
  RecordCopy copy;
  Snapshot s{};
  Arena arena;

  explicit Counted(std::uint32_t sites) {
    REQUIRE(record::resume(4096));
    for (std::uint32_t i = 0; i < sites; ++i) {
      const std::uint32_t id = site_of({0x4000'0000 + i, 0x1000});
      if (i == 0) first = id;
      REQUIRE(id == first + i);
    }
    counts.resize(first + kMost);
    shares.resize(first + kMost);
    copy.counts = counts;
    copy.shares = shares;
  }
  /// The site was used, but leads in no figure.
  record::ExactCounts& use(std::uint32_t site) {
    record::ExactCounts& c = counts[first + site];
    if (c.allocated_count == 0) c.allocated_count = 1, c.freed_count = 1;
    return c;
  }
  void choose() { REQUIRE(choose_rows(arena, &copy, &s)); }
  const SiteRow* row(std::uint32_t site) const { return copy.find(record::SiteId{first + site}); }
};

}  // namespace

TEST_CASE("site rows: by exact books each site that was used has a row, with every figure") {
  Counted c(3);
  c.counts[c.first] = {1000, 50, 400, 20, 5, 900, 800, 64};
  c.shares[c.first] = {4096, 500, 3000, 2048, 1024};
  c.counts[c.first + 2] = {70, 7, 90, 9, 0, 80, 0, 10};  // a block came and went in between
  c.s.ledger.pins.known = true;
  c.choose();
  CHECK(c.copy.exact);
  CHECK(c.copy.row_count == 2);
  CHECK(c.s.recording.sites == 2);
  CHECK(c.s.others.sites == 0);
  REQUIRE(c.row(0));
  CHECK(!c.row(1));
  const SiteRow& row = *c.row(0);
  CHECK(row.id == c.first);
  CHECK(row.depth == 2);
  CHECK(row.largest_bytes == 64);
  CHECK(row.sizes.empty());
  for (const auto& [figure, value] : {std::pair(SiteFigure::kLive, 600.0),
                                      {SiteFigure::kLiveCount, 30.0},
                                      {SiteFigure::kAllocated, 1000.0},
                                      {SiteFigure::kAllocatedCount, 50.0},
                                      {SiteFigure::kTemporary, 5.0},
                                      {SiteFigure::kPeak, 900.0},
                                      {SiteFigure::kAtPeak, 800.0},
                                      {SiteFigure::kResident, 4096.0},
                                      {SiteFigure::kResidentLive, 500.0},
                                      {SiteFigure::kHoles, 3000.0},
                                      {SiteFigure::kAlone, 2048.0},
                                      {SiteFigure::kAloneHoles, 1024.0}}) {
    CAPTURE(facts_of(figure).field);
    CHECK(facts_of(figure).of(row).value == value);
    CHECK(facts_of(figure).of(row).has_interval);
  }
  CHECK(c.row(2)->live_bytes.value == 0);
  CHECK(c.row(2)->live_count.value == 0);
}

TEST_CASE("site rows: what a site holds alone is not told where nobody knows") {
  Counted c(1);
  c.use(0);
  c.shares[c.first].alone = 4096;
  c.choose();
  CHECK(!c.row(0)->alone_bytes.has_interval);
  CHECK(!c.row(0)->alone_hole_bytes.has_interval);
  CHECK(c.row(0)->resident_bytes.has_interval);
}

TEST_CASE("site rows: up to 2,000 sites each get a row; of more, those that lead in any order, and a sum") {
  Counted few(2'000);
  for (std::uint32_t i = 0; i < 2'000; ++i) few.use(i);
  few.choose();
  CHECK(few.copy.row_count == 2'000);

  Counted c(Counted::kMost);
  for (std::uint32_t i = 0; i < Counted::kMost; ++i) c.use(i);
  for (std::uint32_t i = 0; i < 600; ++i) {
    c.use(i).allocated_bytes = 10'000 + i;                // of 600 the first 100 do not lead
    c.use(i).freed_bytes = 9'000;
    c.use(1'000 + i).temporary_count = 2;                 // equals: those with smaller ids
    c.use(i).largest_bytes = 8;
  }
  c.use(2'000).peak_bytes = 5;
  c.shares[c.first + 2'001].alone = 1;
  PinSet set{};
  set.sites[0] = c.first + 2'100;
  set.sites[1] = c.first + 2'101;
  set.count = 2;
  c.s.ledger.pins.sets = {&set, 1};
  const LostSite lost[] = {{c.first + 2'200, {}, {}, 0, 0, 0}, {c.first + Counted::kMost, {}, {}, 0, 0, 0}};
  c.s.lost.sites = lost;
  c.choose();
  for (const auto& [site, has_row] : {std::pair(100u, true),
                                      {99u, false},
                                      {599u, true},
                                      {1'000u, true},
                                      {1'499u, true},
                                      {1'500u, false},
                                      {2'000u, true},
                                      {2'001u, true},
                                      {2'002u, false},
                                      {2'100u, true},
                                      {2'101u, true},
                                      {2'102u, false},
                                      {2'200u, true}}) {
    CAPTURE(site);
    CHECK((c.row(site) != nullptr) == has_row);
  }
  CHECK(c.s.recording.sites == Counted::kMost);
  CHECK(c.s.others.sites == Counted::kMost - c.copy.row_count);
  CHECK(c.s.others.temporary_count == 100 * 2);
  CHECK(c.s.others.live_bytes == 100 * 1'000 + 99 * 100 / 2);
  CHECK(c.s.others.peak_bytes == 0);  // peaks do not add up
}

TEST_CASE("site rows: a site's row knows what its samples stand for, and how old they are") {
  REQUIRE(record::resume(4096));
  std::uintptr_t n = 0;
  for (std::size_t bytes : {100, 3000, 200}) one_site(++n, bytes);
  another_site(4, 9000);
  REQUIRE(record::on_free(block(3)));
  Arena arena;
  Snapshot s{};
  RecordCopy copy;
  REQUIRE(copy_record(arena, &copy, &s));
  CHECK(s.recording.live_samples == 3);
  CHECK(s.recording.skipped_live == 0);
  CHECK(s.recording.counters.sampled == 4);
  CHECK(!s.inherited);
  CHECK(s.inherited_live_bytes.value == 0);
  CHECK(s.live_bytes.value == Approx(stood_for({100, 3000, 9000})));
  CHECK(s.allocated_bytes.value == Approx(stood_for({100, 200, 3000, 9000})));
  CHECK(s.live_count.value ==
        Approx(record::weight_of(100) + record::weight_of(3000) + record::weight_of(9000)));
  CHECK(s.allocated_count.value ==
        Approx(record::weight_of(100) + record::weight_of(200) + record::weight_of(3000) +
               record::weight_of(9000)));
  CHECK(s.peak.known);
  CHECK(s.peak.bytes.value == Approx(stood_for({100, 200, 3000, 9000})).margin(4));
  const SiteRow* const rows = order_sites(copy, &s);
  REQUIRE(s.site_count >= 2);  // the others are sites of other tests
  CHECK(s.recording.sites == s.site_count);
  CHECK(rows[0].samples == 1);
  CHECK(rows[0].largest_bytes == 9000);
  CHECK(rows[0].live_bytes.value == Approx(stood_for({9000})));
  CHECK(rows[1].samples == 3);
  CHECK(rows[1].live_samples == 2);
  CHECK(rows[1].largest_bytes == 3000);
  CHECK(rows[1].live_bytes.value == Approx(stood_for({100, 3000})));
  CHECK(rows[1].allocated_bytes.value == Approx(stood_for({100, 200, 3000})));
  CHECK(rows[1].live_count.value == Approx(record::weight_of(100) + record::weight_of(3000)));
  CHECK(rows[1].youngest_ns <= rows[1].mean_age_ns);
  CHECK(rows[1].mean_age_ns <= rows[1].oldest_ns);

  CHECK(allocated_since(copy) == 0);
}

TEST_CASE("site rows: what was allocated since is told, also at sites that are new") {
  REQUIRE(record::resume(4096));
  one_site(1, 500);
  Arena arena;
  Snapshot s{};
  RecordCopy copy;
  REQUIRE(copy_record(arena, &copy, &s));
  one_site(2, 700);
  another_site(3, 40);
  record::on_free(block(2));
  CHECK(allocated_since(copy) == Approx(stood_for({700, 40})));
}

TEST_CASE("site rows: ages are those of the oldest and the youngest sample, and a mean by weight") {
  SiteRow row{};
  double weight = 0;
  for (const auto& [born_ns, of] : {std::pair(std::uint64_t{960}, 2.0), {980, 1.0}, {990, 1.0}}) {
    weight += of;
    add_age(row, {0, 0, of, born_ns, {}, 0}, weight, 1000);
  }
  CHECK(row.live_samples == 3);
  CHECK(row.oldest_ns == 40);
  CHECK(row.youngest_ns == 10);
  CHECK(row.mean_age_ns >= 26);
  CHECK(row.mean_age_ns <= 27);
  add_age(row, {0, 0, 1, 1001, {}, 0}, weight + 1, 1000);  // booked since the clock was read
  CHECK(row.youngest_ns == 0);
  CHECK(row.oldest_ns == 40);
}

TEST_CASE("site rows: they are ordered by live bytes, then by what was allocated, then by id") {
  const auto row = [](std::uint32_t id, double live, double allocated) {
    SiteRow r{};
    r.id = id;
    r.live_bytes.value = live;
    r.allocated_bytes.value = allocated;
    return r;
  };
  SiteRow rows[] = {row(0, 99, 99), row(7, 5, 20), row(3, 5, 20), row(4, 5, 30), row(9, 6, 1)};
  RecordCopy copy;
  copy.rows = rows;
  copy.row_count = 5;
  Snapshot s{};
  CHECK(order_sites(copy, &s) == rows + 1);  // row 0 is that of what found no room
  REQUIRE(s.site_count == 4);
  CHECK(s.recording.sites == 4);
  for (const auto& [i, id] : {std::pair(0, 9u), {1, 4u}, {2, 3u}, {3, 7u}}) CHECK(s.sites[i].id == id);
  rows[0].samples = 1;
  CHECK(order_sites(copy, &s) == rows);
  CHECK(s.site_count == 5);
  rows[0].samples = 0;
  copy.exact = true;
  s.recording.sites = 300;
  CHECK(order_sites(copy, &s) == rows);
  CHECK(s.recording.sites == 300);  // of all sites, with a row or without
}

namespace made_here {
void function(int);
[[gnu::noinline]] void function(int) { asm volatile("nop"); }
void leaf(int);
[[gnu::noinline]] void leaf(int) { asm volatile("nop; nop"); }
}  // namespace made_here
extern "C" void mallard_test_function();
extern "C" [[gnu::noinline]] void mallard_test_function() { asm volatile("nop"); }

TEST_CASE("frames: each address has its function and module, once, however many stacks have it") {
  void* const code = mmap(nullptr, kPageBytes, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(code != MAP_FAILED);
  const std::uintptr_t here = reinterpret_cast<std::uintptr_t>(&mallard_test_function) + 1;
  const std::uintptr_t mangled = reinterpret_cast<std::uintptr_t>(&made_here::function) + 1;
  const std::uintptr_t generated = address_of(code) + 16, nowhere = 0x123;
  REQUIRE(record::resume(4096));
  Arena arena;
  elf::Modules modules;
  REQUIRE(modules.read(arena));
  SiteRow rows[3] = {}, slow[1] = {};
  const std::uintptr_t leaf = reinterpret_cast<std::uintptr_t>(&made_here::leaf) + 1;
  rows[0].id = site_of({here, generated, nowhere});
  rows[0].depth = 3;
  rows[2].id = site_of({leaf, here});  // of no other stack, and called by none
  rows[2].depth = 2;
  rows[1].id = slow[0].id = site_of({mangled, here});
  rows[1].depth = slow[0].depth = 2;
  LedgerDetail details[3] = {};
  details[0].mapper = mangled;
  details[1].mapper = 0;
  details[2].mapper = nowhere + 1;
  Snapshot s{};
  s.site_count = 3;
  s.latency.stacks = slow;
  s.ledger.details = details;
  s.ledger.detail_count = 3;
  REQUIRE(add_frames(arena, modules, rows, &s));
  CHECK(s.frames.size() == 6);
  CHECK(rows[2].frames[0]->function == "made_here::leaf(int)");
  const Frame &first = *rows[0].frames[0], &jit = *rows[0].frames[1], &unknown = *rows[0].frames[2];
  CHECK(first.function == "mallard_test_function");
  CHECK(first.function_offset == 1);
  CHECK(first.pc == here);
  REQUIRE(first.module_index >= 0);
  const ModuleRow& module = s.modules[static_cast<std::size_t>(first.module_index)];
  CHECK(first.module == module.path);
  CHECK(first.module == std::filesystem::read_symlink("/proc/self/exe").string());
  CHECK(first.module_address == here - module.load_bias);
  CHECK(jit.module_index == -1);
  CHECK(jit.module.empty());
  CHECK(jit.function == "[generated code]");
  CHECK(unknown.module_index == -1);
  CHECK(unknown.function.empty());
  CHECK(unknown.pc == nowhere);
  CHECK(rows[1].frames[0]->function == "made_here::function(int)");
  CHECK(rows[1].frames[1] == rows[0].frames[0]);
  CHECK(slow[0].frames[0] == rows[1].frames[0]);
  CHECK(details[0].frame == rows[1].frames[0]);
  CHECK(details[1].frame == nullptr);
  REQUIRE(details[2].frame != nullptr);
  CHECK(details[2].frame->function.empty());
  for (const ModuleRow& m : s.modules) CHECK(m.begin < m.end);
  munmap(code, kPageBytes);
}

namespace {

struct SlowCalls {
  double tick_ns = record::latency_tick_ns();
  std::uint64_t own = record::latency_clock_own_ticks();
  [[gnu::noinline]] void call(double ns) const {
    record::latency_note(record::Operation::kMalloc, 0, 0,
                         own + static_cast<std::uint64_t>(ns / tick_ns), MALLARD_CALLER());
  }
  template <int kSite>
  [[gnu::noinline]] void at_a_site(const std::vector<double>& times) const {
    for (const double ns : times) call(ns);
  }
  /// At each as many calls of 5 us as there were sites before, and one of 70 us.
  template <int... kSites>
  void at_sites(std::integer_sequence<int, kSites...>) const {
    std::vector<double> times(1, 70'000);
    ((at_a_site<kSites>(times), times.push_back(5'000)), ...);
  }
};

}  // namespace

TEST_CASE("slow calls: of the sites where most time went there are stacks, and all are in the sums") {
  constexpr int kSites = 30;
  REQUIRE(record::resume(4096));
  REQUIRE(record::latency_begin(1, nullptr));
  while (!record::latency_is_due()) {
  }  // the thread has a record
  const SlowCalls slow;
  slow.at_sites(std::make_integer_sequence<int, kSites>());
  slow.call(2'000'000);
  record::latency_note(record::Operation::kFree, 0, 0, slow.own + static_cast<std::uint64_t>(900 / slow.tick_ns),
                       MALLARD_CALLER());  // quick enough
  Arena arena;
  Latency l{};
  REQUIRE(copy_latency(arena, &l));
  record::latency_end();
  const auto near = [](double ns) { return Approx(ns).epsilon(0.03); };
  CHECK(l.on);
  CHECK(l.every == 1);
  CHECK(l.slow_ns == 1000);
  CHECK(l.went_back == 0);
  CHECK(l.slow_calls == kSites * (kSites - 1) / 2 + kSites + 1);
  CHECK(l.slow_sum_ns == near(kSites * (kSites - 1) / 2 * 5'000.0 + kSites * 70'000.0 + 2'000'000.0));
  REQUIRE(l.sites.size() == 20);
  CHECK(l.stacks.size() == 20);
  CHECK(l.sites[0].calls == 1);
  CHECK(l.sites[0].sum_ns == near(2'000'000));
  CHECK(l.sites[0].most_ns == near(2'000'000));
  for (const auto& [step, calls] : {std::pair(0, 1u), {1, 1u}, {2, 1u}, {3, 0u}})
    CHECK(l.sites[0].longer[step] == calls);
  for (std::uint32_t i = 1; i < 20; ++i) {
    CAPTURE(i);
    const std::uint32_t calls = kSites - i;
    const LatencySite& site = l.sites[i];
    CHECK(site.operation == "malloc");
    CHECK(site.calls == calls + 1);
    CHECK(site.longer[0] == 1);
    CHECK(site.longer[1] == 0);
    CHECK(site.sum_ns == near(calls * 5'000.0 + 70'000));
    CHECK(site.most_ns == near(70'000));
    REQUIRE(site.row == i);
    CHECK(l.stacks[i].depth > 0);
    CHECK(l.stacks[i].id != l.stacks[i - 1].id);
  }
}

TEST_CASE("slow calls: where calls are not timed there is nothing to tell") {
  Arena arena;
  Latency l{};
  REQUIRE(copy_latency(arena, &l));
  CHECK(!l.on);
  CHECK(l.rows.empty());
  CHECK(l.sites.empty());
}
