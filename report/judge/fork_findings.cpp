// SPDX-License-Identifier: Apache-2.0
// The finding that memory which a fork shared has been copied since.
#include <algorithm>

#include "report/judge/heap_words.hpp"

namespace mallard::report::words {

void find_copied_since_fork(Findings& all) noexcept {
  const Estimate& copied = all.s.copied_since_fork;
  // What a leak has, and huge pages have brought, is in their findings.
  const double live = all.line(Cause::kLive).value + all.line(Cause::kRounding).value;
  const double others = all.found(VerdictCause::kLeak) + all.found(VerdictCause::kHugePages);
  const Estimate bytes = less(copied, std::max(0.0, copied.value + others - live));
  if (!copied.has_interval || !reaches(bytes, kLeastCauseShare, all.f.memory)) return;
  Case c = all.open(VerdictCause::kCopiedSinceFork, bytes, Confidence::kEstimated);
  say_part(c, "copied_bytes");
  c.text
      .say(
          "are blocks that the process had from its parent at the fork and that are in memory twice by now: "
          "process ")
      .number(c.s.process.parent_pid)
      .say(
          " has pages of its own at the same places. One of the two has written to them, and the kernel "
          "copied them.");
  const double inherited = c.s.inherited_live_bytes.value;
  c.text.say(" Inherited in all, and live, are ").bytes(inherited).say(".");
  c.evidence("inherited_live_bytes", inherited);
  c.next.say(
      "A write of one byte copies 4 KiB: keep what is written to (counters of references, marks of a garbage "
      "collector, "
      "locks) apart from what is only read. In Python, gc.freeze() before the fork keeps the collector off "
      "it. Or fork "
      "before the data is loaded, and map it from a file.");
  all.add(c);
}

}  // namespace mallard::report::words
