// SPDX-License-Identifier: Apache-2.0
// The findings about what allocators keep for threads: the tops of glibc's arenas, mimalloc's pages without
// an owner.
#include <algorithm>

#include "report/judge/heap_words.hpp"
#include "report/judge/remedies.hpp"

namespace mallard::report::words {

Estimate in_arena_tops(const Findings& all) noexcept {
  return counted(
      std::min(static_cast<double>(all.s.ledger.arena_top_bytes), all.line(Cause::kRetained).value));
}

bool has_arena_tops(const Findings& all) noexcept {
  return !all.s.ledger.by_pages && reaches_in_heap(in_arena_tops(all), kLeastHeapShare, all.f);
}

void find_arena_tops(Findings& all) noexcept {
  if (!has_arena_tops(all)) return;
  const Ledger& l = all.s.ledger;
  Case c = all.open(VerdictCause::kArenaTops, in_arena_tops(all));
  say_part(c, "arena_top_bytes");
  c.text.say("are free memory at the tops of ").count(l.arenas);
  c.text.say(l.arenas == 1 ? " arena" : " arenas").say(" that glibc keeps for threads");
  if (l.threadless_arenas > 0)
    c.text.say(", ").count(l.threadless_arenas).say(" of which have no thread any more");
  c.text.say(
      ". glibc gives a top back only from a threshold on that grows with the largest block freed, to 64 MiB, "
      "and "
      "malloc_trim does not reach the tops of these arenas.");
  say_idle_threads(c);
  c.evidence("arenas", l.arenas);
  c.evidence("threadless_arenas", l.threadless_arenas);
  c.evidence("live_bytes", all.line(Cause::kLive).value);
  look_at_largest(c, &SiteRow::allocated_bytes);
  say_remedies(c, {RemedyKind::kTrimThreshold, RemedyKind::kMmapThreshold, RemedyKind::kArenaLimit});
  if (c.next.size() == 0) c.next.say("mallopt(M_TRIM_THRESHOLD, 131072) holds the threshold down.");
  all.add(c);
}

void find_abandoned_pages(Findings& all) noexcept {
  const double bytes = std::min(static_cast<double>(all.s.ledger.ownerless_bytes),
                                all.line(Cause::kHoles).value - cached(all));
  if (!reaches_in_heap(counted(bytes), kLeastHeapShare, all.f)) return;
  Case c = all.open(VerdictCause::kAbandonedPages, counted(bytes));
  say_part(c, "ownerless_bytes");
  c.text.say(
      "are free memory on pages of mimalloc that no thread owns and that live blocks pin: their threads have "
      "ended");
  c.text.say(c.s.allocator.version.starts_with("3") ? ", or have given them away when they were full." : ".");
  c.text.say(" A thread that needs blocks of the same size has to take such a page over first.");
  c.evidence("holes_bytes", all.line(Cause::kHoles).value);
  c.evidence("live_bytes", c.s.ledger.lines[static_cast<int>(Cause::kLive)].bytes.value);
  look_at_largest(c, &SiteRow::hole_bytes);
  c.next.say(
      "Keep threads in a pool instead of ending them, or have the thread that stays allocate what outlives "
      "the "
      "others.");
  say_try_another(c);
  all.add(c);
  all.take(Cause::kHoles, bytes);
}

}  // namespace mallard::report::words
