// SPDX-License-Identifier: Apache-2.0
// What findings about pins, arenas, decay and forks say, with the remedies, and those about lost blocks and
// memory that nobody knows: tests/unit/golden/verdicts_pages.txt and verdicts_unknown.txt.
#include <initializer_list>

#include "tests/unit/verdict_written.hpp"

using namespace verdict_written;

namespace {

void add_two_sites(Process& p) {
  p.rows.reserve(2);
  p.add_site(3, 200);
  p.add_site(7, 96);
}

}  // namespace

TEST_CASE("verdict texts: who pins pages, arenas, forks, and what is advised") {
  PinSet set{};
  tell("pinned by one alone", [&](Process& p) { made_up::pin(p, set, 40, 2, 18); });
  tell("pinned by two together", [&](Process& p) { made_up::pin(p, set, 0, 1, 59); });
  const auto arenas = [](Process& p) {
    set_backend(p, "system");
    p.s.allocator.version = "glibc 2.36";
    p.s.process.command_line = "program --serve";
    p.move(Cause::kRetained, 60);
    p.s.ledger.arenas = 6;
    p.s.ledger.threadless_arenas = 2;
    p.s.ledger.arena_top_bytes = p.s.ledger.free_memory.top_excess = 60u << 20;
    p.s.ledger.free_memory.in_arenas = 60u << 20;
  };
  tell("tops of arenas", arenas);
  tell("tops of arenas, one of which has a thread", [&](Process& p) {
    arenas(p);
    p.s.ledger.arenas = 1;
    p.s.ledger.threadless_arenas = 0;
    p.s.peak.known = true;
    p.s.peak.bytes.value = 45 * kMega;
  });
  for (const char* backend : {"jemalloc", "mimalloc"})
    tell("pages that decay", [&](Process& p) {
      set_backend(p, backend);
      p.s.allocator.version = *backend == 'j' ? "5.3.0" : "2.0.9";
      p.move(Cause::kRetained, 60);
      p.s.ledger.free_memory.kept_pages = 50u << 20;
    });
  tell("pages that no thread owns", [](Process& p) {
    set_backend(p, "mimalloc");
    p.move(Cause::kHoles, 50);
    p.s.ledger.ownerless_bytes = 40u << 20;
  });
  for (const double rounding : {0, 20})
    tell("copied since the fork", [=](Process& p) {
      p.move(Cause::kRounding, rounding);
      p.s.process.parent_pid = 4242;
      p.s.copied_since_fork = {95 * kMega, 94 * kMega, true, 93 * kMega, 95 * kMega};
      p.s.inherited_live_bytes.value = 97 * kMega;
    });
  expect_verdicts("pages.txt");
}

TEST_CASE("verdict texts: blocks that nothing leads to, and memory that is nobody's") {
  static const LostGroup groups[] = {{96, 30'000, 3'000'000, 2, ""}};
  static LostSite site;
  const auto lose = [](Process& p, double site_megabytes) {
    LostBlocks& lost = p.s.lost;
    lost.done = true;
    lost.looks = 2;
    lost.blocks = 40'000;
    lost.bytes = 21u << 20;
    lost.resident_bytes = 20u << 20;
    lost.first = 2'000;
    lost.examined_blocks = 900'000;
    lost.examined_bytes = 90u << 20;
    lost.groups = groups;
    if (site_megabytes == 0) return;
    add_two_sites(p);
    const double bytes = site_megabytes * kMega;
    site = {2, {bytes, 0, true, bytes, bytes}, counted(30'000), 3, 40'000'000'000, 90'000'000'000};
    lost.by_site = true;
    lost.sites = {&site, 1};
  };
  tell("lost blocks of a size", [=](Process& p) { lose(p, 0); });
  tell("lost blocks, each by itself", [=](Process& p) {
    lose(p, 0);
    p.s.lost.first = p.s.lost.blocks;
    p.s.lost.registers_why = "a thread did not stop";
    p.s.recording.on = false;
  });
  tell("lost blocks in a core", [=](Process& p) {
    lose(p, 0);
    p.s.lost.looks = 1;
    p.s.core.left_out = 5;
  });
  tell("lost blocks of a site", [=](Process& p) { lose(p, 15); });
  tell("lost blocks of a site, by many samples", [=](Process& p) {
    lose(p, 9);
    p.s.lost.by_samples = true;
    site.bytes.low = 8 * kMega;
    site.bytes.high = 10 * kMega;
  });
  tell("lost blocks of a site, by one sample", [=](Process& p) {
    lose(p, 9);
    p.s.lost.by_samples = true;
    site.bytes.has_interval = false;
    site.aged = 1;
  });

  const auto mapped = [](Process& p, const char* name, const char* allocator, std::uint64_t megabytes) {
    p.move(Cause::kAnonymous, 60);
    p.s.charge.lazily_freed_known = true;
    p.details.push_back({.cause = Cause::kAnonymous, .name = "/lib/small.so", .bytes = 5u << 20, .mappings = 1});
    p.details.push_back({.cause = Cause::kAnonymous,
                         .name = name,
                         .allocator = allocator,
                         .bytes = megabytes << 20,
                         .mappings = 1});
  };
  tell("memory that an object mapped", [=](Process& p) { mapped(p, "/lib/libjit.so", "", 31); });
  tell("memory of which an object mapped a part", [=](Process& p) {
    mapped(p, "/lib/libjit.so", "Scudo", 29);
    p.s.charge.lazily_freed_known = false;
  });
  tell("memory whose name says whose it is", [=](Process& p) { mapped(p, "", "Scudo", 40); });
  tell("memory that nobody was seen to map", [=](Process& p) { mapped(p, "", "", 40); });
  for (const bool divided : {true, false})
    tell("memory of a process without mallard", [=](Process& p) {
      mapped(p, "", "", 40);
      p.s.reason = Reason::kInspection;
      p.s.ledger.divided = divided;
    });
  expect_verdicts("unknown.txt");
}
