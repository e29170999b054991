// SPDX-License-Identifier: Apache-2.0
// The sampler, the site table and the live table. They are process-wide: every test uses addresses and stacks
// of its own. Also built with ThreadSanitizer and AddressSanitizer.
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "record/filter.hpp"
#include "record/live_table.hpp"
#include "unwind/quick_rules.hpp"
#include "unwind/rules.hpp"
#include "record/sampler.hpp"
#include "record/site_table.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard::record;
using namespace mallard::unwind;

static void prepare() {
  static const bool ready = sites_init(Expected::kFewStacks) && live_init();
  REQUIRE(ready);
}

TEST_CASE("sampler: each size is drawn with its stated probability") {
  constexpr std::uint64_t kMean = 16384;
  sampler_init(kMean);
  for (std::uint64_t size : {0u, 16u, 1000u, 16384u, 100000u}) {
    // Chance alone goes beyond 6 deviations once in 500 million times, beyond 4.5 once in 150,000.
    const int tries = 400000;
    int drawn = 0;
    for (int i = 0; i < tries; ++i)
      if (count(size)) drawn += decide(size);
    const double p = 1 / weight_of(size), expected = tries * p;
    const double deviation = std::sqrt(tries * p * (1 - p));
    CAPTURE(size, drawn, expected);
    REQUIRE(std::fabs(drawn - expected) <= 6 * deviation + 1);
  }
}

TEST_CASE("sampler: a thread's first allocation is no more likely than any other") {
  constexpr std::uint64_t kMean = 16384;
  sampler_init(kMean);
  std::atomic<int> drawn{0};
  constexpr int kThreads = 4000;
  for (int i = 0; i < kThreads; ++i) std::thread([&] { drawn += count(100) && decide(100); }).join();
  const double p = 1 / weight_of(100), expected = kThreads * p;  // about 86
  CAPTURE(drawn.load(), expected);
  REQUIRE(std::fabs(drawn - expected) <= 6 * std::sqrt(expected));
}

TEST_CASE("sampler: impossible sizes do not stop sampling") {
  sampler_init(16384);
  for (std::uint64_t size : {~0ull, ~0ull - 100, 1ull << 63}) {
    if (count(size)) decide(size);
    int drawn = 0;
    for (int i = 0; i < 1000; ++i) drawn += count(16384) && decide(16384);
    REQUIRE(drawn > 400);
  }
}

TEST_CASE("sampler: weights are at least one and fall with size") {
  sampler_init(524288);
  double last = weight_of(0);
  REQUIRE(std::fabs(last - 2048.5) < 0.1);  // 1 / (1 - exp(-256 / 524288))
  for (std::uint64_t size = 1; size < (1ull << 40); size *= 3) {
    REQUIRE(weight_of(size) <= last);
    last = weight_of(size);
    REQUIRE(last >= 1);
  }
  REQUIRE(last == 1);
}

TEST_CASE("context tree: a level is filled before nodes go to the next one, and each is found again") {
  prepare();
  constexpr PcIndex kNodes = 2000, kFirstLevel = 1u << tree::kLevel[0].bits;
  for (PcIndex slot = 0; slot < kFirstLevel; ++slot) tree::g_level[0][slot].store(0);  // what other tests have put there
  std::vector<NodeId> nodes;
  unsigned in_level[tree::kLevels] = {};
  for (PcIndex pc = 1; pc <= kNodes; ++pc) {
    nodes.push_back(context_child(kRoot, pc));
    REQUIRE(nodes.back() != kRoot);
    ++in_level[nodes.back() >> tree::kSlotBits];
  }
  // Nodes go by their hash to lines of eight slots: nearly all lines are full, and of the next level few.
  CHECK(in_level[0] >= kFirstLevel - 16);
  CHECK(in_level[0] < kFirstLevel);
  CHECK(in_level[1] + in_level[2] == kNodes - in_level[0]);
  CHECK(in_level[2] < kNodes / 20);  // where lines of the second have nodes of other tests
  CHECK(std::set<NodeId>(nodes.begin(), nodes.end()).size() == kNodes);
  for (PcIndex pc = 1; pc <= kNodes; ++pc) {
    const NodeId node = nodes[pc - 1];
    REQUIRE(context_child(kRoot, pc) == node);
    REQUIRE(context_parent(node) == kRoot);
    REQUIRE(context_pc(node) == pc);
    REQUIRE(context_site(node) == 0);
  }
  // Below a node of the next level its children stand there, or further on.
  const NodeId parent = *std::max_element(nodes.begin(), nodes.end());
  const NodeId child = context_child(parent, 7);
  CHECK(child >> tree::kSlotBits >= parent >> tree::kSlotBits);
  CHECK(context_parent(child) == parent);
  CHECK(context_set_site(child, 5) == 5);
  CHECK(context_set_site(child, 6) == 5);
  CHECK(context_site(child) == 5);
  CHECK(context_tree_dropped() == 0);
}

TEST_CASE("site table: equal stacks share one id, others do not") {
  prepare();
  const std::uintptr_t a[] = {0x1000, 0x2000, 0x3000}, b[] = {0x1000, 0x2000, 0x3001};
  const SiteId first = intern_site(a, 3);
  REQUIRE(first != kOverflowSite);
  REQUIRE(intern_site(a, 3) == first);
  REQUIRE(intern_site(b, 3) != first);
  REQUIRE(intern_site(a, 2) != first);
  const Site& s = site(first);
  REQUIRE(s.depth == 3);
  std::uintptr_t pcs[4];
  REQUIRE(copy_site_pcs(s, pcs, 4) == 3);
  REQUIRE((pcs[0] == 0x1000 && pcs[1] == 0x2000 && pcs[2] == 0x3000));
  REQUIRE(copy_site_pcs(s, pcs, 2) == 2);
}

TEST_CASE("site table: sums and their variance") {
  prepare();
  const std::uintptr_t pcs[] = {0x77001};
  const SiteId id = intern_site(pcs, 1);
  REQUIRE(site_sums(site(id)).samples.load() == 0);
  add_sample(id, 100, 10);
  add_sample(id, 50, 2);
  const SiteSums& s = site_sums(site(id));
  REQUIRE(s.allocated_bytes.load() == 1100);
  REQUIRE(s.allocated_count.load() == 12);
  REQUIRE(s.allocated_bytes_variance.load() == 10. * 9 * 100 * 100 + 2. * 1 * 50 * 50);
  REQUIRE(s.largest_bytes.load() == 100);
  REQUIRE(s.samples.load() == 2);
}

TEST_CASE("site table: threads that insert the same stacks agree on the ids") {
  prepare();
  constexpr int kStacks = 4000;
  std::vector<SiteId> ids[3];
  std::vector<std::thread> threads;
  for (auto& mine : ids)
    threads.emplace_back([&mine] {
      for (std::uintptr_t i = 0; i < kStacks; ++i) {
        const std::uintptr_t pcs[] = {0x5550000 + i, i, i * 3};
        mine.push_back(intern_site(pcs, 3));
        add_sample(mine.back(), 8, 2);
      }
    });
  for (std::thread& t : threads) t.join();
  REQUIRE(ids[0] == ids[1]);
  REQUIRE(ids[0] == ids[2]);
  REQUIRE(std::set<SiteId>(ids[0].begin(), ids[0].end()).size() == kStacks);
  REQUIRE(site_sums(site(ids[0][7])).samples.load() == 3);
}

static LiveBlock block_at(std::uintptr_t address, std::uint64_t size) {
  return {address, size, 2, 1, SiteId{1}, 0};
}
static void* pointer(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

TEST_CASE("live table: what goes in comes out once") {
  prepare();
  LiveBlock out{};
  REQUIRE_FALSE(live_remove(pointer(0xabc000), &out));
  REQUIRE(live_insert(block_at(0xabc000, 77)) == Insert::kNew);
  REQUIRE(may_be_tracked(pointer(0xabc000)));
  REQUIRE(live_insert(block_at(0xabc010, 78)) == Insert::kNew);  // same granule
  REQUIRE(live_remove(pointer(0xabc000), &out));
  REQUIRE(out.asked_bytes == 77);
  REQUIRE(may_be_tracked(pointer(0xabc010)));  // the neighbour still counts
  REQUIRE_FALSE(live_remove(pointer(0xabc000), &out));
  REQUIRE(live_remove(pointer(0xabc010), &out));
  REQUIRE_FALSE(may_be_tracked(pointer(0xabc010)));
}

TEST_CASE("live table: a missed free is found when the address comes again") {
  prepare();
  REQUIRE(live_insert(block_at(0xdef000, 1)) == Insert::kNew);
  REQUIRE(live_insert(block_at(0xdef000, 2)) == Insert::kReplaced);
  LiveBlock out{};
  REQUIRE(live_remove(pointer(0xdef000), &out));
  REQUIRE(out.asked_bytes == 2);
  REQUIRE_FALSE(may_be_tracked(pointer(0xdef000)));
}

TEST_CASE("live table: more samples in a granule than its counter holds are never missed") {
  prepare();
  constexpr std::uintptr_t kSpan = static_cast<std::uintptr_t>(MALLARD_FILTER_SLOTS) << MALLARD_FILTER_SHIFT;
  constexpr std::uintptr_t kFirst = 0x7f0000000000;  // all in one slot, by folding
  for (std::uintptr_t i = 0; i < 300; ++i)
    REQUIRE(live_insert(block_at(kFirst + i * kSpan, i)) == Insert::kNew);
  LiveBlock out{};
  for (std::uintptr_t i = 0; i < 300; ++i) {
    REQUIRE(may_be_tracked(pointer(kFirst + i * kSpan)));
    REQUIRE(live_remove(pointer(kFirst + i * kSpan), &out));
    REQUIRE(out.asked_bytes == i);
  }
}

TEST_CASE("live table: threads on their own addresses lose nothing") {
  prepare();
  const std::uint32_t before = live_count();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::uintptr_t t = 0; t < 4; ++t)
    threads.emplace_back([t, &wrong] {
      const std::uintptr_t base = 0x100000000 + t * 64;  // granules are shared between the threads
      for (int round = 0; round < 20; ++round) {
        for (std::uintptr_t i = 0; i < 500; ++i)
          wrong += live_insert(block_at(base + i * 256, i)) != Insert::kNew;
        LiveBlock out{};
        for (std::uintptr_t i = 0; i < 500; ++i)
          wrong += !live_remove(pointer(base + i * 256), &out) || out.asked_bytes != i;
      }
    });
  for (std::thread& t : threads) t.join();
  REQUIRE(wrong == 0);
  REQUIRE(live_count() == before);
}

TEST_CASE("live table: the reader sees each block of a steady table once") {
  prepare();
  for (std::uintptr_t i = 0; i < 1000; ++i)
    REQUIRE(live_insert(block_at(0x40000000 + i * 48, i)) == Insert::kNew);
  std::vector<LiveBlock> copy(live_count());
  std::uint32_t n = 0;
  for (std::uint32_t shard = 0; shard < kShards; ++shard)
    n += live_copy_shard(shard, copy.data() + n, static_cast<std::uint32_t>(copy.size()) - n);
  REQUIRE(n == copy.size());
  std::set<std::uintptr_t> seen;
  for (const LiveBlock& b : copy) seen.insert(b.address);
  REQUIRE(seen.size() == copy.size());
  REQUIRE(seen.count(0x40000000 + 999 * 48) == 1);
  LiveBlock out{};
  for (std::uintptr_t i = 0; i < 1000; ++i) REQUIRE(live_remove(pointer(0x40000000 + i * 48), &out));
}

namespace {
std::vector<std::uintptr_t> code_addresses(std::size_t count) {
  std::vector<std::uintptr_t> codes(count);
  std::uint64_t state = 1;
  for (std::uintptr_t& code : codes)
    code = 0x500000000000 + ((state = state * 6364136223846793005u + 1) >> 36);
  return codes;
}
Rule made_up_rule(std::uintptr_t code) {
  return {RuleKind::kFromSp, false, static_cast<std::int32_t>(code % 1000 * 8), 0};
}
}  // namespace

TEST_CASE("rules: threads that put the same rules agree on their places, and find them") {
  static RuleTable table;
  constexpr std::uint16_t kNow = 3;
  const auto codes = code_addresses(60'000);  // of 131,072 places
  std::vector<std::uint32_t> places[2] = {std::vector<std::uint32_t>(codes.size()),
                                          std::vector<std::uint32_t>(codes.size())};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < codes.size(); ++i) {
        const std::size_t which = t ? codes.size() - 1 - i : i;
        places[t][which] = table.put(codes[which], kNow, made_up_rule(codes[which]));
      }
    });
  for (std::thread& t : threads) t.join();
  std::size_t wrong = 0, dropped = 0, beyond_first_level = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::uint32_t place = places[0][i];
    dropped += place == RuleTable::kNone;
    if (place == RuleTable::kNone) continue;
    PackedRule found;
    wrong += places[1][i] != place || table.find(codes[i], kNow, &found) != place;
    wrong += found.rule().cfa_offset != made_up_rule(codes[i]).cfa_offset || table.code_at(place) != codes[i];
    wrong += table.find(codes[i], kNow + 1, &found) != RuleTable::kNone;
    beyond_first_level += place >= 1 << 12;
  }
  CHECK(wrong == 0);
  CHECK(dropped == 0);
  CHECK(beyond_first_level > 50'000);
  PackedRule none;
  CHECK(table.find(0x600000000000, kNow, &none) == RuleTable::kNone);
}

TEST_CASE("rules: few addresses stand on few pages") {
  static RuleTable table;
  std::set<std::uint32_t> pages;
  for (const std::uintptr_t code : code_addresses(600))
    pages.insert(table.put(code, 0, made_up_rule(code)) * RuleTable::row_bytes() / 4096);
  CHECK(pages.size() <= 17);
}

namespace {
/// The pages of the quick rules that hold nothing else.
struct QuickPages {
  std::uintptr_t begin, bytes;
  bool protect(int how) const { return mprotect(reinterpret_cast<void*>(begin), bytes, how) == 0; }
};
QuickPages quick_pages() {
  const auto at = reinterpret_cast<std::uintptr_t>(&g_quick_rules);
  const std::uintptr_t begin = (at + 4095) & ~std::uintptr_t{4095};
  return {begin, ((at + sizeof g_quick_rules) & ~std::uintptr_t{4095}) - begin};
}
std::vector<std::uintptr_t> g_kept_codes;
volatile std::size_t g_clears, g_found_in_clear;
std::size_t quickly_found(std::uint16_t generation) {
  std::size_t found = 0;
  QuickRule rule;
  for (const std::uintptr_t code : g_kept_codes)
    found += g_quick_rules.find(code, QuickRules::generation_bits(generation), &rule);
  return found;
}
}  // namespace

TEST_CASE(
    "quick rules: no thread finds the rules of an earlier generation, not even while they are cleared") {
  while (g_rules.generation() % QuickRules::kGenerations != 0) g_rules.expire_all();
  const std::uint16_t first = g_rules.generation();
  g_kept_codes = code_addresses(500);
  for (const std::uintptr_t code : g_kept_codes)
    g_quick_rules.keep(code, QuickRules::generation_bits(first),
                       PackedRule({RuleKind::kFromSp, false, 16, 0}, first));
  REQUIRE(quickly_found(first) > 400);
  // The first store of a clear is caught: what a thread finds now is what it finds in the midst of it.
  struct sigaction action {
  }, old{};
  action.sa_handler = [](int) {
    g_clears = g_clears + 1;
    g_found_in_clear = g_found_in_clear + quickly_found(g_rules.generation());
    quick_pages().protect(PROT_READ | PROT_WRITE);
  };
  sigaction(SIGSEGV, &action, &old);
  std::size_t found_later = 0;
  for (int i = 0; i < 2 * QuickRules::kGenerations; ++i) {
    quick_pages().protect(PROT_READ);
    g_rules.expire_all();
    quick_pages().protect(PROT_READ | PROT_WRITE);
    found_later += quickly_found(g_rules.generation());
  }
  sigaction(SIGSEGV, &old, nullptr);
  CHECK(g_clears == 1);
  CHECK(g_found_in_clear == 0);
  CHECK(found_later == 0);
}

TEST_CASE("rules: a rule is not believed 65,536 generations later, whose number is the same") {
  const auto table = std::make_unique<RuleTable>();
  const std::uintptr_t code = 0x401000;
  PackedRule rule;
  for (int steps : {1, 1 << 15, 1 << 16}) {
    table->put(code, table->generation(), {RuleKind::kFromSp, false, 16, 0});
    REQUIRE(table->find(code, table->generation(), &rule) != RuleTable::kNone);
    for (int i = 0; i < steps; ++i) table->expire_all();
    CHECK(table->find(code, table->generation(), &rule) == RuleTable::kNone);
  }
}

TEST_CASE("quick rules: what is found is what was kept last, under its generation") {
  static QuickRules table;
  const auto codes = code_addresses(20'000);
  std::size_t wrong = 0, found = 0, later = 0, empty = 0;
  QuickRule rule;
  const std::uint64_t now = QuickRules::generation_bits(126);
  for (const std::uintptr_t code : codes) empty += table.find(code, now, &rule);
  const auto packed = [](std::uintptr_t code) {
    const bool frame = code % 3 == 0;
    return PackedRule(
        {frame ? RuleKind::kFromFrame : RuleKind::kFromSp, code % 5 == 0,
         static_cast<std::int32_t>(code % 16384 * 8), (static_cast<std::int32_t>(code % 256) - 128) * 8},
        126);
  };
  for (const std::uintptr_t code : codes) {
    REQUIRE(QuickRule::can_be(packed(code)));
    table.keep(code, now, packed(code));
  }
  for (const std::uintptr_t code : codes) {
    later += table.find(code, QuickRules::generation_bits(127), &rule);
    if (!table.find(code, now, &rule)) continue;  // another one took its place
    ++found;
    const PackedRule kept = packed(code);
    wrong += rule.from_frame() != (kept.kind() == RuleKind::kFromFrame) ||
             rule.saves_frame() != kept.saves_frame() || rule.cfa_offset() != kept.cfa_offset() ||
             rule.frame_offset() != kept.frame_offset();
  }
  CHECK(empty == 0);
  CHECK(wrong == 0);
  CHECK(later == 0);
  CHECK(found > codes.size() / 2);
  table.prepare(128);  // the bits of generation 64 come again
  found = 0;
  for (const std::uintptr_t code : codes) found += table.find(code, now, &rule);
  CHECK(found == 0);
  CHECK(!QuickRule::can_be(PackedRule({RuleKind::kFromSp, false, 8 << 14, 0}, 0)));
  CHECK(!QuickRule::can_be(PackedRule({RuleKind::kFromSp, true, 8, -8 * 129}, 0)));
  CHECK(!QuickRule::can_be(PackedRule({RuleKind::kEnd}, 0)));
}
