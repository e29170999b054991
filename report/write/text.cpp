// SPDX-License-Identifier: Apache-2.0
#include "report/write/text.hpp"

#include <algorithm>
#include <span>
#include <string_view>

#include "report/write/columns.hpp"
#include "report/write/sections.hpp"
#include "report/write/text_site_lines.hpp"

namespace mallard::report {
namespace {

void write_process(const Snapshot& s, Sink& to) noexcept {
  const ProcessFacts& p = s.process;
  heading(to, "Process");
  labelled_line(to, "program", Printable{p.name}, ", ", Printable{p.executable});
  labelled_line(to, "command line", Printable{p.command_line});
  labelled_line(to, "state", "pid ", p.pid, ", parent ", p.parent_pid, ", ", p.threads,
                p.threads == 1 ? " thread" : " threads",
                s.reason == Reason::kSignal ? " (one is mallard's)" : "", ", up ", as_duration(p.uptime_ns));
  write_charge(s.charge, to);
  if (s.rss.peak > 0) byte_line(to, "peak RSS", s.rss.peak, "the most that it ever was (VmHWM)");
}

void write_statistic(const backends::Statistic& statistic, bool is_first, Sink& to) noexcept {
  const std::string_view name = view_of(statistic.name);
  if (statistic.is_possible())
    return byte_line(to, name, static_cast<std::uint64_t>(statistic.bytes),
                     is_first ? "the allocator's own figures" : "");
  label(to, name);
  add_right(to, "-", 12);
  to.add(statistic.bytes < 0 ? "   below zero: the allocator's own counter is wrong\n"
                             : "   more than any process has: the allocator's own counter is wrong\n");
}

std::string_view name_of(const Allocator& a) noexcept { return a.name == kOwnMalloc ? "a malloc of its own" : a.name; }

void write_allocator_line(const Snapshot& s, Sink& to) noexcept {
  const Allocator& a = s.allocator;
  const bool from_outside = s.reason == Reason::kInspection;
  if (from_outside && a.name == kNoAllocator)
    return labelled_line(to, "serves malloc", "no allocator that mallard knows");
  labelled_line(to, "serves malloc", Printable{name_of(a)}, a.version.empty() ? "" : " ", Printable{a.version},
                !a.path.empty()              ? ", "
                : a.bypassed || from_outside ? ""
                                             : ", inside libmallard.so",
                Printable{a.path});
}

/// The allocator that owns malloc in the place of mallard, as far as it is known.
const OtherAllocator* owner_of_malloc(const Snapshot& s) noexcept {
  for (const OtherAllocator& a : s.other_allocators.allocators)
    if (a.has_own_malloc && (a.object == s.allocator.bypass_owner || a.object == s.process.executable))
      return &a;
  return nullptr;
}

void write_bypassed(const Snapshot& s, Sink& to) noexcept {
  labelled_line(to, "BYPASSED", "malloc belongs to ", Printable{s.allocator.bypass_owner},
                ", which comes before libmallard.so.");
  labelled_line(to, "", "Its calls are not seen: the figures below are the kernel's only.");
  const OtherAllocator* owner = owner_of_malloc(s);
  if (owner) labelled_line(to, "it is", Printable{owner->name}, " ", Printable{owner->version});
  if (owner && owner->object == s.process.executable) {
    label(to, "next step");
    add_wrapped(to, owner->next_step.empty() ? owner->why : owner->next_step, kLabelColumns);
  } else {
    labelled_line(to, "next step", "put libmallard.so first in LD_PRELOAD, as mallard run does.");
  }
}

/// One inside the program that goes on serving, and whose calls are recorded.
void write_observed(const Snapshot& s, Sink& to) noexcept {
  const Allocator& a = s.allocator;
  const bool has_version = !a.version.empty() && a.version != "unknown";
  labelled_line(to, "serves", Printable{name_of(a)},
                has_version ? " " : "", Printable{has_version ? a.version : ""},
                ", inside the program, observed: ", static_cast<int>(a.takeover.entry_points), " entry points");
  labelled_line(to, "", Printable{a.path});
  if (a.beside.empty()) return;
  // Where no heap of glibc was met, there is none to divide.
  const auto is_undivided = [](const OtherAllocator& o) {
    return o.name == kGlibcMalloc && o.resident_bytes > 0 && o.divided_bytes == 0;
  };
  const std::span<OtherAllocator> others = s.other_allocators.allocators;
  const bool is_divided = s.recording.is_attached || (a.beside.starts_with("glibc ") &&
                                                      std::none_of(others.begin(), others.end(), is_undivided));
  labelled_line(to, "serves malloc", Printable{a.beside}, ", for those who call that: recorded, too",
                is_divided ? "" : ", in a heap of its");
  if (!is_divided) labelled_line(to, "", "own, which is not divided");
}

/// Which allocator serves, and where mallard does not see what it does.
void write_who_serves(const Snapshot& s, Sink& to) noexcept {
  const Allocator& a = s.allocator;
  if (a.takeover.is_observed()) return write_observed(s, to);
  write_allocator_line(s, to);
  if (a.bypassed) {
    write_bypassed(s, to);
  } else if (a.stepped_aside) {
    labelled_line(to, "STEPPED ASIDE", "a sanitizer owns malloc in this process; nothing is recorded.");
    labelled_line(to, "next step", "use a build without -fsanitize.");
  } else if (a.requested != a.name && a.requested != "next" && !a.requested.empty() &&
             part_of(a.requested, 0, 8) != "mimalloc" && a.requested.find('/') == std::string_view::npos) {
    labelled_line(to, "asked for", Printable{a.requested},
                  ", which could not be used; the reason was printed on stderr at start");
  } else if (a.requested == "next" && a.takeover.state != Takeover::State::kTakenOver) {
    labelled_line(to, "", "the program came with it; ALLOC_BACKEND chooses another");
  }
  const Takeover& t = a.takeover;
  if (t.state == Takeover::State::kTakenOver) {
    labelled_line(to, "taken over", Printable{t.allocator}, " inside the executable, ",
                  static_cast<int>(t.entry_points), " entry points");
  } else if (t.state == Takeover::State::kRefused) {
    labelled_line(to, "not taken over", Printable{t.allocator.empty() ? "the executable" : t.allocator}, ": ",
                  Printable{t.why});
  }
}

void write_allocator(const Snapshot& s, Sink& to) noexcept {
  const Allocator& a = s.allocator;
  heading(to, "Allocator");
  write_who_serves(s, to);
  for (int i = 0; i < a.statistic_count; ++i) write_statistic(a.statistics[i], i == 0, to);
  if (s.recording.is_attached) return;  // nobody in the process could be asked
  if (s.reason == Reason::kDump && !a.bypassed && !a.stepped_aside)
    to.add("  Its own statistics, if it has any, cannot be read from outside; dump --by-signal has them.\n");
  else if (a.statistic_count == 0 && !a.bypassed && s.reason != Reason::kInspection)
    to.add("  It has no statistics that could be read without holding its locks.\n");
}

std::string_view sites_word(const Recording& r) noexcept {
  return r.sites == 1 ? " call site" : " call sites";
}

/// What exact books hold, and what they could not.
void write_exact(const Recording& r, Sink& to) noexcept {
  const ExactRecording& e = r.exact;
  labelled_line(to, "booked", as_grouped(e.live_blocks), " live blocks of ", as_grouped(r.sites),
                sites_word(r), "; the books themselves take up to ", as_bytes(e.own_bytes));
  labelled_line(to, "not on the books", as_grouped(e.trouble.unknown_frees), " frees of older blocks, ",
                as_grouped(e.trouble.unbooked), " blocks unbooked (no memory), ",
                as_grouped(e.trouble.missed_frees), " frees unseen");
  labelled_line(to, "peaks may be off by", as_bytes(e.trouble.unsure_peak_bytes),
                " at most: threads tell of their newest blocks a little later");
}

/// What is recorded, and since when.
void write_mode(const Snapshot& s, Sink& to) noexcept {
  const Recording& r = s.recording;
  if (!r.on) return labelled_line(to, "mode", "off: ", r.why_off ? view_of(r.why_off) : "no call sites");
  if (r.exact.on)
    labelled_line(to, "mode", "exact: every allocation is booked, for ", as_duration(r.since_ns));
  else
    labelled_line(to, "mode", "sample: one sample per ", as_bytes(r.sample_bytes),
                  " allocated, on average, for ", as_duration(r.since_ns));
  if (!r.since_start) labelled_line(to, "older blocks", "what was allocated before has no call site");
}

void write_recording(const Snapshot& s, Sink& to) noexcept {
  const Recording& r = s.recording;
  heading(to, "Recording");
  write_mode(s, to);
  if (!r.on) return;
  if (r.exact.on) write_exact(r, to);
  label(to, r.exact.on ? "samples, for ages" : "samples");
  add_parts(to, as_grouped(r.counters.sampled), " taken, ", as_grouped(r.live_samples), " of them live");
  if (!r.exact.on) add_parts(to, ", ", as_grouped(r.sites), sites_word(r));
  to.add('\n');
  labelled_line(to, "lost", as_grouped(r.counters.dropped_full), " samples (table full), ",
                as_grouped(r.counters.overflow_sites), " stacks (table ",
                r.stacks.addresses_dropped == 0 ? "" : "of code addresses ", "full), ",
                as_grouped(r.counters.missed_frees + r.counters.reentrant), " frees, ",
                as_grouped(r.skipped_live), " while reading");
  if (r.counters.given_back_bytes > 0)
    labelled_line(to, "given back", as_bytes(r.counters.given_back_bytes),
                  " of address space: the program met its limit (ulimit -v), and the tables grow no more");
  labelled_line(to, "stacks", as_grouped(r.stacks.captured), " captured, ", as_grouped(r.stacks.truncated),
                " cut short, ", as_grouped(r.stacks.by_libunwind), " by libunwind");
  if (r.one_frame_sites > 0)
    labelled_line(to, "of one frame", as_grouped(r.one_frame_sites),
                  " call sites: called from code without unwind tables, whose callers are not known");
  if (!s.ledger.known) byte_line(to, "mallard's own memory", s.own_bytes, "");
}

/// What only exact books know.
void write_peak(const Snapshot& s, Sink& to) noexcept {
  labelled_line(to, "peak of live", as_bytes(s.peak_bytes));
  label(to, "temporary");
  add_parts(to, as_count(s.temporary_count), " blocks (");
  add_percent(to, static_cast<double>(s.temporary_count), s.allocated_count.value, 0);
  to.add(") were freed before their thread's next allocation\n");
  if (s.before.live_bytes > 0)
    labelled_line(to, "older", as_bytes(s.before.live_bytes),
                  " more, allocated before exact recording began, rounding included");
}

void write_heap_lines(const Snapshot& s, Sink& to) noexcept {
  if (s.heap_is_bound && s.rss.known)
    byte_line(to, "heap resident, at most", s.heap_resident_bytes,
              "all anonymous memory, less lazily freed and mallard's own");
  else if (!s.heap_is_bound)
    byte_line(to, "heap resident", s.heap_resident_bytes, "of the allocator, metadata included");
  if (!s.recording.on) return;
  const bool exact = s.recording.exact.on;
  const char* in = exact ? " in " : " in about ";
  labelled_line(to,
                exact              ? "live, on the books"
                : s.ledger.divided ? "live, by samples alone"
                                   : facts_of(Cause::kLive).words,
                as_interval(s.live_bytes), in, as_count(s.live_count.value), " blocks");
  if (s.inherited)
    labelled_line(to, "  of it inherited", as_interval(s.inherited_live_bytes),
                  ", allocated by the parent before the fork");
  if (s.copied_since_fork.has_interval && s.copied_since_fork.value > 0)
    labelled_line(to, "  of it copied", as_interval(s.copied_since_fork), ", in memory twice since the fork");
  labelled_line(to, s.recording.since_start ? "allocated since start" : "allocated since then",
                as_interval(s.allocated_bytes), in, as_count(s.allocated_count.value), " blocks");
  if (exact) write_peak(s, to);
  else if (s.peak.known)
    labelled_line(to, "peak of live", as_interval(s.peak.bytes), ", ", as_duration(s.peak.ago_ns), " ago");
  label(to, "fragmentation ratio");
  const Estimate& f = s.fragmentation_ratio;
  Cell cell;
  if (f.value > 0) {
    add_decimal(cell, f.value, 2);
    if (f.has_interval && f.low < f.high) {
      cell.add(" (95 %: ");
      add_decimal(cell, f.low, 2);
      cell.add(" to ");
      add_decimal(cell, f.high, 2);
      cell.add(')');
    }
    cell.add(s.heap_is_bound ? ", at most: heap resident / live" : ": heap resident / live");
  } else {
    cell.add(!s.rss.known             ? "unknown: /proc is not readable"
             : s.live_bytes.value > 0 ? "unknown: no resident memory is left for the heap"
                                      : "unknown: no live block was sampled");
  }
  to.add(cell.view()).add('\n');
}

void write_footer(const Snapshot& s, Sink& to) noexcept {
  heading(to, "About these figures");
  if (s.recording.exact.on) {
    to.add("  error: exact. Every block is counted; while the report was taken the program ran on.\n");
  } else if (s.recording.on)
    to.add(
        "  error: half of the 95 % confidence interval; ±? where a site has too few samples for one.\n"
        "  A site that is missing here has, with 95 % confidence, at most three sampling intervals live.\n");
  int made = 0, failed = 0;
  for (const Check& check : s.checks) {
    made += check.state != CheckState::kNotMade;
    failed += check.state == CheckState::kFailed;
  }
  if (made > 0) {
    Cell cell;
    cell.add("  Checks of these figures against each other: ").add_signed(made).add(" made, ");
    cell.add_signed(failed).add(failed == 0 ? " failed.\n" : " failed, see above.\n");
    to.add(cell.view());
  }
  add_parts(to, "  The report was taken in ", as_duration(s.duration_ns),
            s.reason == Reason::kDump ? " from outside, while the program ran on undisturbed.\n"
                                      : " while the program ran on.\n");
}

}  // namespace

namespace {

/// Who it is, in a line.
void write_title(const Snapshot& s, Sink& to) noexcept {
  add_parts(to, "mallard ", s.mallard_version);
  if (s.reason == Reason::kInspection) to.add(" inspection of ");
  else add_parts(to, " report ", s.number, " of ");
  add_parts(to, Printable{s.process.name}, ", pid ", s.process.pid, ", ",
            Number{add_utc, s.process.taken_at_ns}, "\n");
  write_core(s.core, to);
}

/// Conclusions, where the memory is, and who has most of it.
void write_brief(const Snapshot& s, const TextLayout& layout, Sink& to) noexcept {
  constexpr std::size_t kBriefRemedies = 3;
  write_title(s, to);
  write_verdict(s, to);
  write_remedies(s, kBriefRemedies, false, to);
  write_ledger(s, layout, to);
  write_checks(s, to);
  write_probe(s, to);
  write_lost(s, to);
  write_latency(s, 0, to);
  heading(to, "Heap");
  write_who_serves(s, to);
  write_mode(s, to);
  write_heap_lines(s, to);
  if (s.recording.on && to.lines() < kBriefLines) write_leading_sites(s, kBriefLines - 1 - to.lines(), to);
}

}  // namespace

void write_text(const Snapshot& s, const TextLayout& layout, Sink& to) noexcept {
  if (layout.brief) return write_brief(s, layout, to);
  write_title(s, to);
  const bool all_said = write_verdict(s, to);
  write_remedies(s, s.remedies.size(), true, to);
  write_process(s, to);
  write_allocator(s, to);
  write_ledger(s, layout, to);
  write_checks(s, to);
  write_other_allocators(s, to);
  heading(to, "Heap");
  write_heap_lines(s, to);
  if (s.recording.on) write_site_tables(s, layout, to);
  write_latency(s, layout.frames, to);
  write_probe(s, to);
  write_lost(s, to);
  write_recording(s, to);
  if (!all_said) write_findings_in_full(s, to);
  write_footer(s, to);
  if (layout.in_short) write_in_short(s, to);
}

}  // namespace mallard::report
