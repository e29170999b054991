// SPDX-License-Identifier: Apache-2.0
// What is adopted of another process's samples, sites and mapping log, and what of it is refused or left out.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/attributes.hpp"
#include "base/os.hpp"
#include "record/live_table.hpp"
#include "record/mappings.hpp"
#include "record/published.hpp"
#include "record/record.hpp"
#include "record/site_table.hpp"
#include "tests/unit/other_recorded.hpp"

using namespace mallard;
using namespace mallard::record;

namespace {

const void* block(std::uintptr_t n) { return reinterpret_cast<const void*>(0x71'0000'0000 + n * 4096); }
[[gnu::noinline]] void allocate(const void* p, std::size_t asked, std::size_t usable) {
  on_alloc(p, asked, usable, MALLARD_CALLER());
}
[[gnu::noinline]] void allocate_elsewhere(const void* p, std::size_t asked) {
  on_alloc(p, asked, asked, MALLARD_CALLER());
}

std::vector<LiveBlock> live() {
  std::vector<LiveBlock> all(live_count());
  std::uint32_t n = 0;
  for (std::uint32_t shard = 0; shard < kShards; ++shard)
    n += live_copy_shard(shard, all.data() + n, static_cast<std::uint32_t>(all.size()) - n);
  std::sort(all.begin(), all.end(), [](const LiveBlock& a, const LiveBlock& b) { return a.address < b.address; });
  return all;
}

bool equal(const LiveBlock& a, const LiveBlock& b) {
  return a.address == b.address && a.asked_bytes == b.asked_bytes && a.weight == b.weight && a.born_ns == b.born_ns &&
         a.site == b.site && a.rounding_bytes == b.rounding_bytes;
}

// More than the rows that lie in the library's own data.
constexpr std::uintptr_t kBlocks = 200, kMappings = 600, kLater = 0x930000000;

/// What the process that records says of itself.
struct Truth {
  LiveBlock blocks[kBlocks];
  std::uint32_t live, sites, one_site;
  double allocated_bytes, allocated_count;
  std::uint64_t samples, started_ns, at_peak;
  Counters counters;
  Peak peak;
  int depth;
  std::uintptr_t pcs[unwind::kMaxDepth];
  std::uint32_t first_stack;
};

/// So many that the tree of stacks needs more than its first level.
constexpr std::uint32_t kStacks = 6000;
void make_stack(std::uint32_t i, std::uintptr_t (&pcs)[3]) {
  pcs[0] = 0x10000 + i % 61;
  pcs[1] = 0x20000 + i / 61;
  pcs[2] = 0x30000;
}

void tell(Truth* truth) {
  const std::vector<LiveBlock> all = live();
  std::copy(all.begin(), all.end(), truth->blocks);
  truth->live = static_cast<std::uint32_t>(all.size());
  truth->sites = site_count();
  const Site& one = site(all.front().site);
  const SiteSums& sums = site_sums(one);
  truth->one_site = static_cast<std::uint32_t>(all.front().site);
  truth->allocated_bytes = sums.allocated_bytes.load();
  truth->allocated_count = sums.allocated_count.load();
  truth->samples = sums.samples.load();
  truth->started_ns = started_ns();
  truth->at_peak = sampled_at_peak(one);
  truth->counters = counters();
  truth->peak = sampled_peak();
  truth->depth = copy_site_pcs(one, truth->pcs, unwind::kMaxDepth);
}

void record_blocks(Truth* truth) {
  if (!resume(4096)) _exit(1);
  for (std::uintptr_t n = 0; n < kBlocks; ++n) {
    if (n % 3) allocate(block(n), 100 + n, 128 + n);
    else allocate_elsewhere(block(n), 5000 + n);
  }
  for (std::uintptr_t n = 3; n < kBlocks; n += 5) on_free(block(n));
  allocate(block(1), 77, 80);  // whose free was not seen
  on_map(0x920000000, 0x3000, 7);
  on_map(0x920003000, 0x1000, 8);
  on_map(0x920008000, 0x1000, 9);
  truth->first_stack = site_count();
  for (std::uint32_t i = 0; i < kStacks; ++i) {
    std::uintptr_t pcs[3];
    make_stack(i, pcs);
    intern_site(pcs, 3);
  }
  // More than the log's first pieces hold, of which none joins its neighbour.
  for (std::uintptr_t n = 0; n < kMappings; ++n) on_map(kLater + n * 0x1000, 0x1000, 100 + n);
  on_lazy_free(12345);
  tell(truth);
}

int examine_stacks(const Truth* truth) {
  EXPECT(site_count() == truth->first_stack + kStacks);
  for (std::uint32_t i = 0; i < kStacks; ++i) {
    std::uintptr_t pcs[3], found[4];
    make_stack(i, pcs);
    EXPECT(copy_site_pcs(site(SiteId{truth->first_stack + i}), found, 4) == 3);
    EXPECT(std::equal(pcs, pcs + 3, found));
    EXPECT(intern_site(pcs, 3) == SiteId{truth->first_stack + i});
  }
  return 0;
}

int examine_blocks(const OtherParts& parts, const Truth* truth) {
  // What is on the books of this process is forgotten.
  EXPECT(resume(1 << 20));
  for (std::uintptr_t n = 1000; n < 1300; ++n) allocate_elsewhere(block(n), 1);
  for (std::uintptr_t n = 0; n < kMappings; ++n) on_map(kLater / 2 + n * 0x2000, 0x1000, n);
  std::uint64_t torn = 99;
  EXPECT(adopt(parts, &torn));
  EXPECT(torn == 0);
  EXPECT(is_recording());
  EXPECT(started_ns() == truth->started_ns);
  EXPECT(sampler_mean_bytes() == 4096);
  EXPECT(!began_with_process());
  EXPECT(live_count() == truth->live);
  const std::vector<LiveBlock> all = live();
  EXPECT(all.size() == truth->live);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT(equal(all[i], truth->blocks[i]));
  EXPECT(!may_be_tracked(block(1001)));
  EXPECT(may_be_tracked(block(1)));
  EXPECT(site_count() == truth->sites);
  const Site& one = site(SiteId{truth->one_site});
  EXPECT(site_sums(one).allocated_bytes.load() == truth->allocated_bytes);
  EXPECT(site_sums(one).allocated_count.load() == truth->allocated_count);
  EXPECT(site_sums(one).samples.load() == truth->samples);
  EXPECT(sampled_peak().bytes == truth->peak.bytes);
  EXPECT(sampled_peak().at_ns == truth->peak.at_ns);
  EXPECT(sampled_at_peak(one) == truth->at_peak);
  const Counters now = counters(), then = truth->counters;
  EXPECT(now.sampled == then.sampled && then.sampled == kBlocks + 1);
  EXPECT(now.sampled_frees == then.sampled_frees && then.sampled_frees == kBlocks / 5);
  EXPECT(now.missed_frees == 1);
  EXPECT(now.dropped_full == 0 && now.reentrant == 0);
  std::uintptr_t pcs[unwind::kMaxDepth];
  EXPECT(copy_site_pcs(one, pcs, unwind::kMaxDepth) == truth->depth);
  EXPECT(truth->depth > 1);
  EXPECT(std::equal(pcs, pcs + truth->depth, truth->pcs));
  if (const int line = examine_stacks(truth)) return line;
  MappedInterval found[4];
  EXPECT(copy_mappings(kLater / 2, found, 1) == 1 && found[0].begin >= 0x920000000);  // its own are forgotten
  EXPECT(copy_mappings(0x920000000, found, 4) == 4);
  EXPECT(found[0].begin == 0x920000000 && found[0].end == 0x920003000 && found[0].caller == 7);
  EXPECT(found[1].begin == 0x920003000 && found[1].end == 0x920004000 && found[1].caller == 8);
  EXPECT(found[2].begin == 0x920008000 && found[2].end == 0x920009000 && found[2].caller == 9);
  static MappedInterval more[kMappings + 1];
  EXPECT(copy_mappings(kLater, more, kMappings + 1) == kMappings);
  for (std::uintptr_t n = 0; n < kMappings; ++n)
    EXPECT(more[n].begin == kLater + n * 0x1000 && more[n].end == more[n].begin + 0x1000 && more[n].caller == 100 + n);
  EXPECT(lazy_free_bytes() >= 12345);
  // The tables are whole: what is on them can go, and the nodes serve again.
  for (const LiveBlock& b : all) EXPECT(on_free(reinterpret_cast<const void*>(b.address)));
  EXPECT(live_count() == 0);
  for (const LiveBlock& b : all) EXPECT(!may_be_tracked(reinterpret_cast<const void*>(b.address)));
  return 0;
}

}  // namespace

TEST_CASE("adopted: blocks, sites, sums, stacks, counters and mappings are as the other process has them") {
  CHECK(examined_from_outside<Truth>(record_blocks, examine_blocks) == 0);
}

TEST_CASE("adopted: it can be done again, when more is on the books") {
  CHECK(examined_from_outside<Truth>(record_blocks, [](const OtherParts& parts, const Truth* truth) {
          std::uint64_t torn = 99;
          EXPECT(resume(1 << 20));
          EXPECT(adopt(parts, &torn) && torn == 0);
          EXPECT(adopt(parts, &torn) && torn == 0);
          EXPECT(live_count() == truth->live);
          sites_clear_sums();
          EXPECT(adopt_sums(parts));
          EXPECT(site_sums(site(SiteId{truth->one_site})).samples.load() == truth->samples);
          EXPECT(counters().sampled == truth->counters.sampled);
          return 0;
        }) == 0);
}

TEST_CASE("adopted: by a process that has no tables") {
  CHECK(examined_from_outside<Truth>(record_blocks, [](const OtherParts& parts, const Truth* truth) {
          std::uint64_t torn = 99;
          EXPECT(adopt(parts, &torn));
          EXPECT(torn == 0);
          EXPECT(live_count() == truth->live);
          return examine_stacks(truth);
        }) == 0);
}

namespace {

/// The row of a block on the books of this process.
LiveBlock* row_of(const void* p) {
  const Published& published = mallard_published;
  const auto used = *reinterpret_cast<const std::uint32_t*>(published.live.used_at);
  for (std::uint32_t i = 1; i < used; ++i) {
    const Published::Rows& rows = published.live.rows;
    const std::uint64_t at =
        (i < rows.first_count ? rows.first : rows.rest) + std::uint64_t{i} * rows.stride;
    auto* row = reinterpret_cast<LiveBlock*>(at);
    if (row->address == address_of(p)) return row;
  }
  _exit(254);
}

/// \return how many samples are left out if `damage` has been at the row of a block
template <class Damage>
int left_out(Damage damage) {
  return examined_from_outside<Truth>(
      [damage](Truth* truth) {
        record_blocks(truth);
        damage(*row_of(block(2)));
      },
      [](const OtherParts& parts, const Truth* truth) {
        std::uint64_t torn = 0;
        EXPECT(resume(1 << 20));
        EXPECT(adopt(parts, &torn));
        EXPECT(live_count() == truth->live - torn);
        for (const LiveBlock& b : live()) EXPECT(torn == 0 || b.address != address_of(block(2)));
        return static_cast<int>(torn);
      });
}

}  // namespace

TEST_CASE("adopted: a sample whose weight does not follow from its size changed while it was copied") {
  CHECK(left_out([](LiveBlock&) {}) == 0);
  CHECK(left_out([](LiveBlock& b) { b.weight *= 1 + 5e-10; }) == 0);
  CHECK(left_out([](LiveBlock& b) { b.weight *= 1 - 5e-10; }) == 0);
  CHECK(left_out([](LiveBlock& b) { b.weight *= 1 + 2e-9; }) == 1);
  CHECK(left_out([](LiveBlock& b) { b.weight *= 1 - 2e-9; }) == 1);
  CHECK(left_out([](LiveBlock& b) { b.weight = -b.weight; }) == 1);
  CHECK(left_out([](LiveBlock& b) { b.asked_bytes += 16; }) == 1);
  CHECK(left_out([](LiveBlock& b) { b.site = SiteId{site_count() - 1}; }) == 0);
  CHECK(left_out([](LiveBlock& b) { b.site = SiteId{site_count()}; }) == 1);
}

namespace {

/// \return 1 if nothing is adopted once `damage` has been done, 0 if it is
template <class Damage>
int refused(Damage damage) {
  return examined_from_outside<Truth>(
      [damage](Truth* truth) {
        record_blocks(truth);
        damage();
      },
      [](const OtherParts& parts, Truth*) {
        std::uint64_t torn = 0;
        EXPECT(resume(1 << 20));
        return adopt(parts, &torn) ? 0 : 1;
      });
}

}  // namespace

TEST_CASE("adopted: tables that say they hold more than there can be are refused") {
  using Number = std::atomic<std::uint32_t>;
  CHECK(refused([] {}) == 0);
  CHECK(refused([] { part_of_own<Number>("live_used") = kMaxLive + 1; }) == 1);
  CHECK(refused([] { part_of_own<Number>("site_count") = kMaxSites + 1; }) == 1);
  CHECK(refused([] { part_of_own<Number>("sums_count") = kMaxSampledSites + 1; }) == 1);
}

TEST_CASE("adopted: a site whose sums were made since they were counted has none") {
  CHECK(examined_from_outside<Truth>(
            [](Truth* truth) {
              record_blocks(truth);
              auto& sums = part_of_own<std::atomic<std::uint32_t>>("sums_count");
              const std::uint32_t last = site(SiteId{truth->one_site}).sums.load();
              truth->live = last;  // the row of sums that was not there yet
              sums = last;
            },
            [](const OtherParts& parts, Truth* truth) {
              std::uint64_t torn = 0;
              EXPECT(adopt(parts, &torn));
              EXPECT(site(SiteId{truth->one_site}).sums.load() == 0);
              EXPECT(site_sums(site(SiteId{truth->one_site})).samples.load() == 0);
              // Those that were counted are there.
              for (std::uint32_t i = 0; i < site_count(); ++i)
                EXPECT(site(SiteId{i}).sums.load() < truth->live);
              EXPECT(site(SiteId{0}).sums.load() != 0);
              return 0;
            }) == 0);
}

TEST_CASE("adopted: nothing is told of a process of which one copy fails") {
  CHECK(examined_from_outside<Truth>(record_blocks, [](const OtherParts& parts, const Truth*) {
          const int line = is_refused_unless_whole(parts, [](const OtherParts& failing) {
            std::uint64_t torn = 0;
            return adopt(failing, &torn);
          });
          return line ? line : is_refused_unless_whole(parts, [](const OtherParts& failing) { return adopt_sums(failing); });
        }) == 0);
}

TEST_CASE("adopted: samples are counted once the blocks have been copied, so that none is live that is not counted") {
  CHECK(examined_from_outside<Truth>(record_blocks, [](const OtherParts& parts, const Truth* truth) {
          const OwnParts own = own_parts();
          const Part* counters_part = own.begin;
          while (std::string_view(counters_part->name) != "counters") ++counters_part;
          const ChangingProcess process(parts.process(), address_of(counters_part->at), 1);  // `sampled` comes first
          const OtherParts changing(process, address_of(own.begin), static_cast<std::uint64_t>(own.end - own.begin));
          std::uint64_t torn = 0;
          EXPECT(adopt(changing, &torn));
          EXPECT(counters().sampled == truth->counters.sampled + 1);
          EXPECT(counters().sampled_frees == truth->counters.sampled_frees);
          return 0;
        }) == 0);
}
