// SPDX-License-Identifier: Apache-2.0
// The finding that huge pages bring memory that nobody has touched.
#include <algorithm>
#include <initializer_list>

#include "report/judge/heap_words.hpp"
#include "report/judge/remedies.hpp"

namespace mallard::report::words {
namespace {

double in_line(const Snapshot& s, Cause cause) noexcept {
  return s.ledger.huge_zeros.in_line[static_cast<int>(cause)];
}

void say_where(Case& c) noexcept {
  struct Part {
    Cause cause;
    std::string_view where, evidence;
  };
  constexpr Part kParts[] = {
      {Cause::kLive, "in live blocks", "live_zero_bytes"},
      {Cause::kHoles, "free, on pages that live blocks pin", "hole_zero_bytes"},
      {Cause::kRetained, "in free memory that the allocator keeps", "retained_zero_bytes"},
      {Cause::kUndivided, "in the heap", "undivided_zero_bytes"},
      {Cause::kAnonymous, "in memory beside the heap", "anonymous_zero_bytes"},
      {Cause::kStacks, "in stacks", "stack_zero_bytes"},
  };
  const Part* most = nullptr;
  for (const Part& part : kParts) {
    const double bytes = in_line(c.s, part.cause);
    if (bytes < 1) continue;
    c.evidence(part.evidence, bytes);
    if (!most || bytes > in_line(c.s, most->cause)) most = &part;
  }
  if (!most) return;
  const double bytes = in_line(c.s, most->cause);
  c.text.say(" ").say(most_or_largest(bytes, c.s.ledger.huge_zeros.bytes.value)).say(" ");
  c.text.say(most->where).say(", ").bytes(bytes);
  if (most->cause == Cause::kAnonymous) {
    const HugeZeros& zeros = c.s.ledger.huge_zeros;
    c.finding.owner = zeros.owner;
    if (!zeros.allocator.empty()) c.text.say(", of ").say(zeros.allocator);
    if (!zeros.owner.empty())
      c.text.say(zeros.allocator.empty() ? ", mapped by " : " inside ").say(file_name_of(zeros.owner));
  }
  c.text.say(".");
  if (most->cause == Cause::kLive) look_at_largest(c, &SiteRow::resident_bytes);
}

void say_how_to_do_without(Case& c) noexcept {
  if (c.s.ledger.huge_zeros.everywhere) c.next.say("The kernel gives huge pages to every process here. ");
  else c.next.say("The kernel gives huge pages here only to who asks for them, by madvise(MADV_HUGEPAGE). ");
  if (serves(c.s, "system") && !c.s.ledger.huge_zeros.everywhere)
    c.next.say("glibc asks for them if GLIBC_TUNABLES has glibc.malloc.hugetlb=1: set it to 0. ");
  c.next.say(
      "prctl(PR_SET_THP_DISABLE, 1) before the memory is touched turns them off for the whole process; the "
      "price is more misses of the TLB.");
  say_remedies(c, {RemedyKind::kHugePages});
}

}  // namespace

void find_huge_pages(Findings& all) noexcept {
  const HugeZeros& zeros = all.s.ledger.huge_zeros;
  // What a leak has is in its finding.
  const double live = in_line(all.s, Cause::kLive);
  const double room = std::max(0.0, all.line(Cause::kLive).value - all.found(VerdictCause::kLeak));
  const Estimate bytes = less(zeros.bytes, live - std::min(live, room));
  if (!zeros.known || !reaches(bytes, kLeastCauseShare, all.f.memory)) return;
  Case c = all.open(VerdictCause::kHugePages, bytes, how_known(bytes));
  say_part(c, "huge_zero_bytes");
  c.text.say(
      "are parts of huge pages that hold nothing but zeros. One touched byte brings 2 MiB into memory: most "
      "of "
      "this was never touched, unless the program itself wrote the zeros. On huge pages are ");
  c.text.bytes(static_cast<double>(zeros.huge_bytes)).say(" in all.");
  c.evidence("huge_bytes", static_cast<double>(zeros.huge_bytes));
  say_where(c);
  say_how_to_do_without(c);
  all.add(c);
  for (const Cause cause :
       {Cause::kHoles, Cause::kRetained, Cause::kUndivided, Cause::kAnonymous, Cause::kStacks})
    all.take(cause, in_line(all.s, cause));
}

}  // namespace mallard::report::words
