// SPDX-License-Identifier: Apache-2.0
// Findings about memory beside the heap: other allocators, shared memory, stacks, files.
#include <algorithm>

#include "report/judge/verdict_words.hpp"

namespace mallard::report::words {
namespace {

const LedgerDetail* largest_detail(const Snapshot& s, Cause cause, bool data_only) noexcept {
  const LedgerDetail* most = nullptr;
  for (const LedgerDetail& d : std::span(s.ledger.details, s.ledger.detail_count)) {
    if (d.cause != cause || (most && d.bytes <= most->bytes)) continue;
    if (data_only && is_code(d.name, s.process)) continue;
    most = &d;
  }
  return most;
}

bool belongs_to(const LedgerDetail& d, const OtherAllocator& a) noexcept {
  if (!d.allocator.empty() && a.name == d.allocator) return d.name.empty() || a.object == d.name;
  return !d.name.empty() && a.object == d.name && d.allocator.empty();
}

/// What an allocator has in memory, and has not given back lazily.
double bytes_of(const OtherAllocator& a) noexcept {
  return static_cast<double>(a.resident_bytes - std::min(a.resident_bytes, a.lazily_freed_bytes));
}

void say_next_step_of(Case& c, const OtherAllocator& a) noexcept {
  if (a.next_step.empty()) return;
  const char first = a.next_step[0];  // a sentence, here
  c.next.add(first >= 'a' && first <= 'z' && !a.is_managed ? static_cast<char>(first - 'a' + 'A') : first);
  c.next.say(part_of(a.next_step, 1)).say(".");
  if (!a.is_managed && a.status == OtherStatus::kReported && a.why != "not asked for" && !a.why.empty())
    c.next.say(" Here ").say(a.why).say(".");
}

void add_allocator(Findings& all, const OtherAllocator& a, double bytes) noexcept {
  const VerdictCause cause = a.is_managed ? VerdictCause::kRuntimeHeap : VerdictCause::kSecondAllocator;
  Case c = all.open(cause, counted(bytes));
  c.finding.owner = a.object.empty() ? a.name : a.object;
  say_part(c, "second_allocator_bytes");
  c.text.say("are held by ").say(a.name);
  if (!a.version.empty()) c.text.say(" ").say(a.version);
  if (!a.object.empty()) c.text.say(" inside ").say(file_name_of(a.object));
  c.text.say(a.is_managed
                 ? ", which has a heap of its own: malloc does not serve it."
                 : ", beside the allocator that serves malloc. What is free in the one is no use to the "
                   "other.");
  if (a.status == OtherStatus::kRefused) c.text.say(" It was not taken over: ").say(a.why).say(".");
  say_next_step_of(c, a);
  all.add(c);
}

/// A bare system call has no caller that could be seen; whoever has an allocator inside is suspect.
void say_who_it_may_be(Case& c) noexcept {
  for (const OtherAllocator& a : c.s.other_allocators.allocators) {
    if (a.is_managed || a.status == OtherStatus::kRedirected || a.mapped_bytes > 0) continue;
    c.text.say(" ").say(a.name).say(" inside ").say(file_name_of(a.object));
    c.text.say(!is_under_mallard(c.s)
                   ? " has a heap of its own: it may be its."
                   : " was not seen to map any: it may be its, by bare system calls.");
    return;
  }
  if (is_under_mallard(c.s)) return;  // the runtime's mappings were seen
  for (const OtherAllocator& a : c.s.other_allocators.allocators) {
    if (!a.is_managed) continue;
    c.text.say(" It may be ").say(a.name).say(", which is inside ").say(file_name_of(a.object)).say(".");
    return;
  }
}

bool is_anybodys(const Snapshot& s, const LedgerDetail& d) noexcept {
  const auto& known = s.other_allocators.allocators;
  return std::any_of(known.begin(), known.end(), [&d](const OtherAllocator& a) { return belongs_to(d, a); });
}

/// Memory that somebody mapped who is no allocator that we know.
void add_unknown(Findings& all, double bytes) noexcept {
  const Estimate rest = counted(bytes);
  if (!reaches(rest, kLeastCauseShare, all.f.memory)) return;
  Case c = all.open(VerdictCause::kSecondAllocator, rest);
  const bool is_past_malloc = is_heap_known(c.s);
  c.finding.title = is_past_malloc ? "memory mapped past malloc" : "memory that mallard cannot divide";
  say_part(c, "anonymous_bytes");
  c.text.say(is_past_malloc
                 ? "are anonymous memory that did not come from malloc."
                 : "are anonymous memory. The program's allocator is none that mallard can ask, and "
                   "its heap may be all of this.");
  if (!c.s.charge.lazily_freed_known)
    c.text.say(" Some of it may have been given back lazily: nobody looked.");
  say_changed(c, Cause::kAnonymous);
  const LedgerDetail* most = nullptr;
  for (const LedgerDetail& d : std::span(c.s.ledger.details, c.s.ledger.detail_count))
    if (d.cause == Cause::kAnonymous && !is_anybodys(c.s, d) && (!most || d.bytes > most->bytes)) most = &d;
  if (most) {
    const auto part = static_cast<double>(most->bytes);
    c.text.say(part > bytes / 2 ? " Most of it, " : " The largest part, ").bytes(part);
    if (most->name.empty() && !most->allocator.empty()) {
      c.text.say(", is memory of ").say(most->allocator);
    } else {
      c.text.say(", was mapped by ");
      const bool from_outside = !is_under_mallard(c.s);
      c.text.say(!most->name.empty() ? file_name_of(most->name)
                 : from_outside      ? "the program or its libraries"
                                     : "somebody whom nobody saw");
      if (!most->allocator.empty()) c.text.say(", which has ").say(most->allocator).say(" inside");
    }
    c.text.say(".");
    c.evidence("largest_owner_bytes", part);
    c.finding.owner = most->name;
    if (most->name.empty()) say_who_it_may_be(c);
  }
  if (is_past_malloc)
    c.next.say(
        "Look at what it maps: an arena, a cache or a JIT of its own. Call sites are known for malloc only.");
  else if (c.s.allocator.bypassed || c.s.allocator.stepped_aside)
    c.next.say("The calls of the program's malloc do not come to mallard: the part on its allocator says why.");
  else if (c.s.site_count > 0)
    c.next.say("Look at the call sites with the most live memory: their blocks may lie in it.");
  else if (c.s.reason != Reason::kInspection)
    c.next.say(mode_of(c.s.recording) == Mode::kOff ? "Nothing is recorded: 'mallard mode PID sample' begins."
                                                : "No allocation has been sampled yet: ask again after more work.");
  else if (c.s.allocator.name != kOwnMalloc)
    say_next(c, "Start the program with mallard (mallard run) for its call sites.", Needs::kRecording);
  say_next(c, " 'mallard check PID' names the allocators inside, and says what mallard would see.");
  all.add(c);
}

}  // namespace

void find_second_allocators(Findings& all) noexcept {
  double unknown = all.line(Cause::kAnonymous).value;
  for (const OtherAllocator& a : all.s.other_allocators.allocators) {
    const double bytes = std::min(bytes_of(a), unknown);
    unknown -= bytes;
    const double share = a.is_managed ? kLeastCauseShare : kLeastAllocatorShare;
    if (a.status != OtherStatus::kRedirected && reaches(counted(bytes), share, all.f.memory))
      add_allocator(all, a, bytes);
  }
  add_unknown(all, std::max(0.0, unknown));
}

namespace {

/// A runtime's heap that lies in shared memory, as ZGC's does. \return its bytes
double add_shared_runtime(Findings& all) noexcept {
  double bytes = 0;
  const LedgerDetail* most = nullptr;
  for (const LedgerDetail& d : std::span(all.s.ledger.details, all.s.ledger.detail_count)) {
    if (d.cause != Cause::kShared || d.allocator.empty()) continue;
    bytes += static_cast<double>(d.bytes);
    if (!most || d.bytes > most->bytes) most = &d;
  }
  if (!most || !reaches(counted(bytes), kLeastCauseShare, all.f.memory)) return bytes;
  Case c = all.open(VerdictCause::kRuntimeHeap, counted(bytes));
  say_part(c, "runtime_heap_bytes");
  c.text.say("are ").say(most->allocator).say(", in shared memory (").say(file_name_of(most->name));
  c.text.say("): malloc does not serve it.");
  c.finding.owner = most->name;
  c.next.say("It has the size that the runtime was given, and what is free in it is for the runtime to say.");
  all.add(c);
  return bytes;
}

}  // namespace

void find_shared_memory(Findings& all) noexcept {
  const Estimate shared = counted(all.line(Cause::kShared).value - add_shared_runtime(all));
  if (!reaches(shared, kLeastCauseShare, all.f.memory)) return;
  Case c = all.open(VerdictCause::kSharedMemory, shared);
  say_part(c, "shared_memory_bytes");
  c.text.say("are shared memory.");
  say_changed(c, Cause::kShared);
  if (const LedgerDetail* d = largest_detail(c.s, Cause::kShared, false); d && d->allocator.empty()) {
    c.text.say(" ").say(most_or_largest(static_cast<double>(d->bytes), shared.value)).say(" ");
    c.text.say(d->name.empty() ? "without a name" : file_name_of(d->name)).say(", ");
    c.text.bytes(static_cast<double>(d->bytes)).say(".");
    c.finding.owner = d->name;
  }
  c.next.say("It counts in each process that uses it: look at Pss, and at who made the segment.");
  all.add(c);
}

void find_file_copies(Findings& all) noexcept {
  const Estimate copies = counted(all.f.data_copies);
  if (!reaches(copies, kLeastCauseShare, all.f.memory)) return;
  Case c = all.open(VerdictCause::kFileCopies, copies);
  say_part(c, "file_copy_bytes");
  c.text.say(
      "are pages of files that were mapped privately and written to: they are anonymous in truth, and the "
      "kernel cannot take them back.");
  say_changed(c, Cause::kFileCopies);
  if (const LedgerDetail* d = largest_detail(c.s, Cause::kFileCopies, true)) {
    c.text.say(" ").say(most_or_largest(static_cast<double>(d->bytes), copies.value)).say(" of ");
    c.text.say(d->name.empty() ? "a file without a name" : file_name_of(d->name)).say(", ");
    c.text.bytes(static_cast<double>(d->bytes)).say(".");
    c.finding.owner = d->name;
  }
  c.next.say("Without swap the kernel cannot take them. Map the file shared, or write to less of it.");
  all.add(c);
}

void find_stacks(Findings& all) noexcept {
  const LedgerLine& line = all.s.ledger.lines[static_cast<int>(Cause::kStacks)];
  const Estimate& bytes = all.line(Cause::kStacks);
  if (!reaches(bytes, kLeastCauseShare, all.f.memory)) return;
  Case c = all.open(VerdictCause::kStacks, bytes);
  say_part(c, "stack_bytes");
  c.text.say("are stacks of ")
      .count(static_cast<double>(line.mappings > 0 ? line.mappings
                                                   : static_cast<std::uint64_t>(c.s.process.threads)));
  c.text.say(" threads. A stack keeps the pages of the deepest call until its thread ends.");
  const LedgerDetail* const most = largest_detail(all.s, Cause::kStacks, false);
  if (most && !most->name.empty() && most->name != "main")
    c.text.say(" ")
        .say(most_or_largest(static_cast<double>(most->bytes), bytes.value))
        .say(most->mappings == 1 ? " of thread '" : " of threads '")
        .say(most->name)
        .say("': ")
        .bytes(static_cast<double>(most->bytes))
        .say(".");
  c.evidence("threads", c.s.process.threads);
  say_changed(c, Cause::kStacks);
  c.next.say("Use fewer threads, or find the deep calls and the large local arrays.");
  all.add(c);
}

void find_lazily_freed(Findings& all) noexcept {
  const Estimate& freed = all.line(Cause::kLazilyFreed);
  if (!reaches(freed, kLeastCauseShare, all.f.memory + freed.value)) return;
  Case c = all.open(VerdictCause::kLazilyFreed, freed);
  c.text.bytes(freed.value)
      .say(" have been given back by MADV_FREE; the kernel counts them as resident until it needs memory.");
  c.evidence("lazily_freed_bytes", freed.value);
  c.evidence("memory_bytes", all.f.memory);
  say_changed(c, Cause::kLazilyFreed);
  c.next.say("Nothing has to be done: they are as good as free. To see it in RSS at once, ");
  c.next.say(c.s.allocator.name == "jemalloc" ? "set MALLOC_CONF=muzzy_decay_ms:0."
                                              : "have their owner use MADV_DONTNEED.");
  all.add(c);
}

void find_mapped_files(Findings& all) noexcept {
  const Estimate files = counted(all.f.data_files);
  if (!reaches(files, kLeastCauseShare, all.f.memory + files.value)) return;
  Case c = all.open(VerdictCause::kMappedFiles, files);
  c.text.bytes(files.value).say(" are pages of mapped files, beside ").bytes(all.f.memory);
  c.text.say(" of other memory.");
  c.evidence("file_bytes", files.value);
  c.evidence("memory_bytes", all.f.memory);
  const auto dirty = static_cast<double>(all.s.ledger.lines[static_cast<int>(Cause::kFiles)].dirty);
  if (all.s.ledger.dirty_known && dirty >= kLeastCauseBytes) {
    c.text.say(" ").bytes(dirty).say(
        " of files are changed, and are to be written back before the kernel takes them.");
    c.evidence("dirty_bytes", dirty);
  }
  say_changed(c, Cause::kFiles);
  if (const LedgerDetail* d = largest_detail(c.s, Cause::kFiles, true)) {
    c.text.say(" ").say(most_or_largest(static_cast<double>(d->bytes), files.value)).say(" ");
    c.text.say(d->name.empty() ? "without a name" : file_name_of(d->name));
    c.text.say(", ").bytes(static_cast<double>(d->bytes)).say(".");
    c.evidence("largest_file_bytes", static_cast<double>(d->bytes));
    c.finding.owner = d->name;
  }
  c.next.say(
      "The kernel takes clean pages of files back when it needs memory: this is no heap problem. To limit "
      "it, "
      "map less of the file, or advise MADV_DONTNEED after use.");
  all.add(c);
}

}  // namespace mallard::report::words
