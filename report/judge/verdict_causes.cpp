// SPDX-License-Identifier: Apache-2.0
// When each verdict holds, and the sentences for those that are lines of the ledger.
#include "report/judge/verdict_words.hpp"

namespace mallard::report::words {
namespace {

constexpr double kProved = 0.8;  ///< of what the ledger calls retained went back in the purge probe

bool is_jemalloc(const Snapshot& s) noexcept { return s.allocator.name == "jemalloc"; }
bool is_mimalloc(const Snapshot& s) noexcept { return s.allocator.name == "mimalloc"; }
bool is_glibc(const Snapshot& s) noexcept { return s.allocator.name == "system"; }

void say_changed(Judged& j, Cause cause) noexcept {
  const Change& c = j.s.history.since_first;
  if (!c.known || !c.causes_known) return;
  const auto changed = static_cast<double>(c.causes[static_cast<int>(cause)]);
  j.evidence("change", changed);
  if (changed > -kWorthSaying && changed < kWorthSaying) return;
  j.text.say(" That is ").bytes(changed > 0 ? changed : -changed);
  j.text.say(changed > 0 ? " more than " : " less than ").time(c.ago_ns).say(" ago, at the first report.");
}

const LedgerDetail* largest_detail(const Snapshot& s, Cause cause, bool data_only) noexcept {
  const LedgerDetail* most = nullptr;
  for (std::uint32_t i = 0; i < s.ledger.detail_count; ++i) {
    const LedgerDetail& d = s.ledger.details[i];
    if (d.cause != cause || (most && d.bytes <= most->bytes)) continue;
    if (data_only && is_code(d.name, s.process)) continue;
    most = &d;
  }
  return most;
}

void explain_holes(Judged& j) noexcept {
  say_part(j, j.f.holes);
  j.text.say("are holes: free memory that cannot go back, because live blocks pin it (a ");
  j.text.say(view_of(j.s.ledger.unit_name))
      .say(" goes back as a whole only). Live data itself is ")
      .bytes(j.f.live)
      .say(".");
  j.evidence("holes_bytes", j.f.holes);
  j.evidence("live_bytes", j.f.live);
  j.evidence("memory_bytes", j.f.memory);
  say_changed(j, Cause::kHoles);
  const SiteRow* row = largest(j.s, &SiteRow::hole_bytes);
  const double older = j.s.before.hole_bytes;
  if (older > 0 && (!row || older > row->hole_bytes.value)) {
    j.text.say(" Most is pinned by blocks allocated before exact recording began: ")
        .bytes(older)
        .say(" of holes");
    j.text.say(" around ").bytes(j.s.before.live_bytes).say(" of them.");
    j.evidence("older_hole_bytes", older);
    j.next.say("Start the program with ALLOC_MODE=exact to see which call sites they belong to; or");
  } else if (row) {
    j.text.say(" Most is pinned by ");
    add_site(j.text, *row);
    j.text.say(": ").bytes(row->hole_bytes.value).say(" of holes around ").bytes(row->live_bytes.value);
    j.text.say(" of live blocks.");
    j.evidence("site_hole_bytes", row->hole_bytes.value);
    look_at_largest(j, &SiteRow::hole_bytes);
    j.next.say(
        "Give the long-lived blocks of this site a pool of their own, apart from short-lived ones; or");
  } else {
    j.next.say("Set ALLOC_SAMPLE_BYTES lower to see which call site pins the holes; or");
  }
  j.next.say(" try another allocator (ALLOC_BACKEND). A purge gives none of this back");
  say_next(j, j.s.probe.done ? ", as the probe below shows." : ": mallard dump --purge PID proves it.");
}

void explain_retention(Judged& j) noexcept {
  const Probe& p = j.s.probe;
  say_part(j, j.f.retained);
  j.text
      .say(j.s.ledger.by_pages ? "are pages without a live block, free or metadata, that "
                               : "are free pages that ")
      .say(is_glibc(j.s) ? "glibc" : j.s.allocator.name);
  j.text.say(" keeps for later; no live block pins them, so this is neither a leak nor fragmentation.");
  j.evidence("retained_bytes", j.f.retained);
  j.evidence("live_bytes", j.f.live);
  j.evidence("memory_bytes", j.f.memory);
  say_changed(j, Cause::kRetained);
  if (p.done) {
    j.evidence("given_back_bytes", static_cast<double>(p.given_back));
    j.text.say(" The purge probe ")
        .say(static_cast<double>(p.given_back) >= kProved * j.f.retained ? "proved it: " : "gave back ");
    j.text.bytes(static_cast<double>(p.given_back))
        .say(static_cast<double>(p.given_back) >= kProved * j.f.retained ? " went back." : " of it.");
  }
  look_at_largest(j, &SiteRow::allocated_bytes);
  if (is_jemalloc(j.s))
    j.next.say(
        "Ask again in 20 s: jemalloc gives dirty pages back within 10 s (dirty_decay_ms) while the program "
        "allocates. "
        "In an idle program set MALLOC_CONF=background_thread:true.");
  else if (is_mimalloc(j.s))
    j.next.say(
        "Ask again in some seconds, while the program allocates. Pages of threads that are idle or have "
        "ended stay: "
        "set MIMALLOC_PURGE_DELAY=0, or try ALLOC_BACKEND=jemalloc.");
  else if (is_glibc(j.s))
    j.next.say(
        "glibc keeps them until malloc_trim. Where they lie in the arenas of many threads, "
        "MALLOC_ARENA_MAX=2 keeps "
        "less; ALLOC_BACKEND=jemalloc gives them back by itself.");
  if (!p.done)
    say_next(j, j.next.size() > 0 ? " To prove it: mallard dump --purge PID."
                                  : "To prove it: mallard dump --purge PID.");
}

void explain_lazily_freed(Judged& j) noexcept {
  say_part(j, j.f.lazily_freed);
  j.text.say("have been given back by MADV_FREE; the kernel counts them as resident until it needs memory.");
  j.evidence("lazily_freed_bytes", j.f.lazily_freed);
  j.evidence("memory_bytes", j.f.memory);
  say_changed(j, Cause::kLazilyFreed);
  j.next.say("Nothing has to be done: they are as good as free. To see it in RSS at once, ");
  j.next.say(is_jemalloc(j.s) ? "set MALLOC_CONF=muzzy_decay_ms:0." : "have their owner use MADV_DONTNEED.");
}

/// What is known of the allocator behind a detail of kAnonymous; nullptr = nothing.
const OtherAllocator* other_allocator_of(const Snapshot& s, const LedgerDetail& d) noexcept {
  const OtherAllocator* by_object = nullptr;
  for (const OtherAllocator& a : s.other_allocators.allocators) {
    const bool is_named = !d.allocator.empty() && a.name == d.allocator;
    if (is_named && (d.name.empty() || a.object == d.name)) return &a;
    if (!d.name.empty() && a.object == d.name && !by_object) by_object = &a;
  }
  return by_object;
}

/// A bare system call has no caller that could be seen; whoever has an allocator inside is suspect.
void say_who_it_may_be(Judged& j) noexcept {
  for (const OtherAllocator& a : j.s.other_allocators.allocators) {
    if (a.is_managed || a.status == OtherStatus::kRedirected || a.mapped_bytes > 0) continue;
    j.text.say(" ").say(a.name).say(" inside ").say(file_name_of(a.object));
    j.text.say(" was not seen to map any: it may be its, by bare system calls.");
    return;
  }
}

void explain_second_allocator(Judged& j) noexcept {
  say_part(j, j.f.anonymous);
  j.text.say("are anonymous memory that did not come from malloc.");
  j.evidence("anonymous_bytes", j.f.anonymous);
  j.evidence("memory_bytes", j.f.memory);
  say_changed(j, Cause::kAnonymous);
  const LedgerDetail* d = largest_detail(j.s, Cause::kAnonymous, false);
  if (d) {
    j.text.say(" Most of it, ").bytes(static_cast<double>(d->bytes));
    if (d->name.empty() && !d->allocator.empty()) {
      j.text.say(", is memory of ").say(d->allocator);
    } else {
      j.text.say(", was mapped by ");
      j.text.say(d->name.empty() ? "somebody whom nobody saw" : file_name_of(d->name));
      if (!d->allocator.empty()) j.text.say(", which has ").say(d->allocator).say(" inside");
    }
    j.text.say(".");
    j.evidence("largest_owner_bytes", static_cast<double>(d->bytes));
  }
  const OtherAllocator* a = d ? other_allocator_of(j.s, *d) : nullptr;
  if (a && a->resident_bytes > 0) {
    j.text.say(" ").say(a->name);
    if (!a->version.empty()) j.text.say(" ").say(a->version);
    j.text.say(" holds ").bytes(static_cast<double>(a->resident_bytes)).say(" in all");
    if (a->status == OtherStatus::kRefused) j.text.say("; it was not taken over: ").say(a->why);
    j.text.say(".");
    j.evidence("second_allocator_bytes", static_cast<double>(a->resident_bytes));
  } else if (d && d->name.empty()) {
    say_who_it_may_be(j);
  }
  if (a && !a->next_step.empty()) {
    const char first = a->next_step[0];  // a sentence, here
    j.next.add(first >= 'a' && first <= 'z' && !a->is_managed ? static_cast<char>(first - 'a' + 'A') : first);
    j.next.say(part_of(a->next_step, 1)).say(".");
    if (!a->is_managed && a->status == OtherStatus::kReported && a->why != "not asked for" && !a->why.empty())
      j.next.say(" Here ").say(a->why).say(".");
    return;
  }
  j.next.say(
      "Look at what it maps: an arena, a cache or a JIT of its own. Call sites are known for malloc only; ");
  say_next(j, "'mallard check PID' names the allocators inside.");
}

/// Private pages of files: the kernel cannot take them back as it takes those of files.
void explain_file_copies(Judged& j) noexcept {
  say_part(j, j.f.file_copies);
  j.text.say("are private copies of pages of mapped files, which the program has written to.");
  j.evidence("file_copy_bytes", j.f.file_copies);
  j.evidence("memory_bytes", j.f.memory);
  say_changed(j, Cause::kFileCopies);
  if (const LedgerDetail* d = largest_detail(j.s, Cause::kFileCopies, true)) {
    j.text.say(" Most is of ")
        .say(file_name_of(d->name))
        .say(", ")
        .bytes(static_cast<double>(d->bytes))
        .say(".");
    j.evidence("largest_file_bytes", static_cast<double>(d->bytes));
  }
  j.next.say(
      "No file has these pages: without swap the kernel cannot take them. Map the file shared, or write to "
      "less of it.");
}

void say_dirty(Judged& j) noexcept {
  const auto dirty = static_cast<double>(j.s.ledger.lines[static_cast<int>(Cause::kFiles)].dirty);
  if (!j.s.ledger.dirty_known || dirty < kLeastCauseBytes) return;
  j.text.say(" ").bytes(dirty).say(
      " of files are changed, and are to be written back before the kernel takes them.");
  j.evidence("dirty_bytes", dirty);
}

void explain_files(Judged& j) noexcept {
  if (j.f.file_copies > j.f.files + j.f.shared) return explain_file_copies(j);
  const bool shared = j.f.shared > j.f.files;
  say_part(j, j.f.files + j.f.shared);
  j.text.say(shared ? "are shared memory and mapped files." : "are pages of mapped files.");
  if (!shared) say_dirty(j);
  j.evidence("file_bytes", j.f.files);
  j.evidence("shared_memory_bytes", j.f.shared);
  j.evidence("memory_bytes", j.f.memory);
  say_changed(j, shared ? Cause::kShared : Cause::kFiles);
  if (const LedgerDetail* d = largest_detail(j.s, shared ? Cause::kShared : Cause::kFiles, !shared)) {
    j.text.say(" Most is ").say(d->name.empty() ? "without a name" : file_name_of(d->name));
    if (!d->allocator.empty()) j.text.say(", ").say(d->allocator);
    j.text.say(", ").bytes(static_cast<double>(d->bytes)).say(".");
    j.evidence("largest_file_bytes", static_cast<double>(d->bytes));
  }
  j.next.say(
      shared ? "Shared memory counts in each process that uses it: look at Pss, and at who made the segment."
             : "The kernel takes clean pages of files back when it needs memory: this is no heap problem. To "
               "limit it, "
               "map less of the file, or advise MADV_DONTNEED after use.");
}

void explain_stacks(Judged& j) noexcept {
  const std::uint64_t stacks = j.s.ledger.lines[static_cast<int>(Cause::kStacks)].mappings;
  say_part(j, j.f.stacks);
  j.text.say("are stacks of ")
      .count(static_cast<double>(stacks > 0 ? stacks : static_cast<std::uint64_t>(j.s.process.threads)));
  j.text.say(" threads. A stack keeps the pages of the deepest call until its thread ends.");
  j.evidence("stack_bytes", j.f.stacks);
  j.evidence("memory_bytes", j.f.memory);
  j.evidence("threads", j.s.process.threads);
  say_changed(j, Cause::kStacks);
  j.next.say("Use fewer threads, or find the deep calls and the large local arrays.");
}

using F = const Facts&;
constexpr Rule kRules[] = {
    {VerdictCause::kNone, [](F) noexcept { return 0.0; }, 1, explain_none},
    {VerdictCause::kLeak, [](F f) noexcept { return f.growth >= kLeastLeakShare * f.memory ? f.growing : 0; },
     kLeastLeakShare, explain_leak},
    {VerdictCause::kExternalFragmentation, [](F f) noexcept { return f.holes; }, kLeastCauseShare,
     explain_holes},
    {VerdictCause::kRetention, [](F f) noexcept { return f.retained; }, kLeastRetentionShare,
     explain_retention},
    {VerdictCause::kLazilyFreed, [](F f) noexcept { return f.lazily_freed; }, kLeastCauseShare,
     explain_lazily_freed},
    {VerdictCause::kSecondAllocator, [](F f) noexcept { return f.anonymous; }, kLeastCauseShare,
     explain_second_allocator},
    {VerdictCause::kMappedFiles, [](F f) noexcept { return std::max(f.files + f.shared, f.file_copies); },
     kLeastCauseShare, explain_files},
    {VerdictCause::kStacks, [](F f) noexcept { return f.stacks; }, kLeastCauseShare, explain_stacks},
};

constexpr bool in_order() noexcept {
  for (std::size_t i = 0; i < std::size(kRules); ++i)
    if (kRules[i].cause != static_cast<VerdictCause>(i)) return false;
  return std::size(kRules) == std::size(kVerdicts);
}
static_assert(in_order(), "a row for each of verdicts.def, in its order");

}  // namespace

std::span<const Rule> rules() noexcept { return kRules; }

}  // namespace mallard::report::words
