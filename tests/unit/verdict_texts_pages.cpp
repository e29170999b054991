// SPDX-License-Identifier: Apache-2.0
// What findings about pins, arenas, decay and forks say, with the remedies:
// tests/unit/golden/verdicts_pages.txt.
#include <initializer_list>

#include "tests/unit/verdict_written.hpp"

using namespace verdict_written;

TEST_CASE("verdict texts: who pins pages, arenas, forks, and what is advised") {
  g_written.str("");
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
  expect_golden("verdicts_pages.txt", g_written.str());
}
