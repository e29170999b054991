// SPDX-License-Identifier: Apache-2.0
#include "report/write/text.hpp"

#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

void write_header(const Snapshot& s, Sink& to) noexcept {
  Cell cell;
  cell.add("mallard ").add(s.mallard_version).add(" report ").add_signed(s.number).add(", ");
  add_utc(cell, s.process.taken_at_ns);
  to.add(cell.view()).add('\n');
  heading(to, "Process");
  label(to, "program");
  add_printable(to, s.process.name);
  to.add(", ");
  add_printable(to, s.process.executable);
  to.add('\n');
  label(to, "command line");
  add_printable(to, s.process.command_line);
  to.add('\n');
  cell.clear();
  cell.add("pid ").add_signed(s.process.pid).add(", parent ").add_signed(s.process.parent_pid).add(", ");
  cell.add_signed(s.process.threads).add(s.process.threads == 1 ? " thread" : " threads");
  if (s.reason == Reason::kSignal) cell.add(" (one is mallard's)");
  cell.add(", up ");
  add_duration(cell, s.process.uptime_ns);
  label(to, "state");
  to.add(cell.view()).add('\n');
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

void write_allocator(const Allocator& a, Sink& to) noexcept {
  heading(to, "Allocator");
  label(to, "serves malloc");
  add_printable(to, a.name);
  to.add(' ');
  add_printable(to, a.version);
  if (!a.path.empty()) {
    to.add(", ");
    add_printable(to, a.path);
  } else if (!a.bypassed) {
    to.add(", inside libmallard.so");
  }
  to.add('\n');
  if (a.bypassed) {
    label(to, "BYPASSED");
    to.add("malloc belongs to ").add(a.bypass_owner).add(", which comes before libmallard.so.\n");
    label(to, "");
    to.add("Its calls are not seen: the figures below are the kernel's only.\n");
    label(to, "next step");
    to.add("run 'mallard check' on the program; it names the allocator inside it.\n");
  } else if (a.stepped_aside) {
    label(to, "STEPPED ASIDE");
    to.add("a sanitizer owns malloc in this process; nothing is recorded.\n");
    label(to, "next step");
    to.add("use a build without -fsanitize.\n");
  } else if (a.requested != a.name && a.requested != "next" && !a.requested.empty() &&
             part_of(a.requested, 0, 8) != "mimalloc" &&
             a.requested.find('/') == std::string_view::npos) {
    label(to, "asked for");
    add_printable(to, a.requested);
    to.add(", which could not be used; the reason was printed on stderr at start\n");
  }
  const Takeover& t = a.takeover;
  if (t.state == Takeover::State::kTakenOver) {
    label(to, "taken over");
    Cell entries;
    entries.add_unsigned(t.entry_points);
    add_printable(to, t.allocator);
    to.add(" inside the executable, ").add(entries.view()).add(" entry points\n");
  } else if (t.state == Takeover::State::kRefused) {
    label(to, "not taken over");
    add_printable(to, t.allocator.empty() ? "the executable" : t.allocator);
    to.add(": ");
    add_printable(to, t.why);
    to.add('\n');
  }
  for (int i = 0; i < a.statistic_count; ++i) write_statistic(a.statistics[i], i == 0, to);
  if (a.statistic_count == 0 && !a.bypassed)
    to.add("  It has no statistics that could be read without holding its locks.\n");
}

/// What exact books hold, and what they could not.
void write_exact(const Snapshot& s, Sink& to) noexcept {
  const ExactRecording& e = s.recording.exact;
  Cell cell;
  add_grouped(cell, e.live_blocks);
  cell.add(" live blocks of ");
  add_grouped(cell, s.recording.sites);
  cell.add(s.recording.sites == 1 ? " call site" : " call sites");
  cell.add("; the books themselves take up to ");
  add_bytes(cell, static_cast<double>(e.own_bytes));
  label(to, "booked");
  to.add(cell.view()).add('\n');
  cell.clear();
  add_grouped(cell, e.trouble.unknown_frees);
  cell.add(" frees of older blocks, ");
  add_grouped(cell, e.trouble.unbooked);
  cell.add(" blocks unbooked (no memory), ");
  add_grouped(cell, e.trouble.missed_frees);
  cell.add(" frees unseen");
  label(to, "not on the books");
  to.add(cell.view()).add('\n');
  cell.clear();
  add_bytes(cell, static_cast<double>(e.trouble.unsure_peak_bytes));
  cell.add(" at most: threads tell of their newest blocks a little later");
  label(to, "peaks may be off by");
  to.add(cell.view()).add('\n');
}

void write_recording(const Snapshot& s, Sink& to) noexcept {
  const Recording& r = s.recording;
  heading(to, "Recording");
  if (!r.on) {
    label(to, "mode");
    to.add("off: ").add(r.why_off ? view_of(r.why_off) : "no call sites").add('\n');
    return;
  }
  Cell cell;
  cell.add(r.exact.on ? "exact: every allocation is booked" : "sample: one sample per ");
  if (!r.exact.on) {
    add_bytes(cell, static_cast<double>(r.sample_bytes));
    cell.add(" allocated, on average");
  }
  cell.add(", for ");
  add_duration(cell, r.since_ns);
  label(to, "mode");
  to.add(cell.view()).add('\n');
  if (!r.since_start) {
    label(to, "older blocks");
    to.add("what was allocated before has no call site\n");
  }
  if (r.exact.on) write_exact(s, to);
  cell.clear();
  add_grouped(cell, r.counters.sampled);
  cell.add(" taken, ");
  add_grouped(cell, r.live_samples);
  cell.add(" of them live");
  if (!r.exact.on) {
    cell.add(", ");
    add_grouped(cell, r.sites);
    cell.add(r.sites == 1 ? " call site" : " call sites");
  }
  label(to, r.exact.on ? "samples, for ages" : "samples");
  to.add(cell.view()).add('\n');
  cell.clear();
  add_grouped(cell, r.counters.dropped_full);
  cell.add(" samples (table full), ");
  add_grouped(cell, r.counters.overflow_sites);
  cell.add(" stacks (table ").add(r.stacks.addresses_dropped == 0 ? "" : "of code addresses ").add("full), ");
  add_grouped(cell, r.counters.missed_frees + r.counters.reentrant);
  cell.add(" frees, ");
  add_grouped(cell, r.skipped_live);
  cell.add(" while reading");
  label(to, "lost");
  to.add(cell.view()).add('\n');
  cell.clear();
  add_grouped(cell, r.stacks.captured);
  cell.add(" captured, ");
  add_grouped(cell, r.stacks.truncated);
  cell.add(" cut short, ");
  add_grouped(cell, r.stacks.by_libunwind);
  cell.add(" by libunwind");
  label(to, "stacks");
  to.add(cell.view()).add('\n');
  if (!s.ledger.known) byte_line(to, "mallard's own memory", s.own_bytes, "");
}

/// What only exact books know.
void write_peak(const Snapshot& s, Sink& to) noexcept {
  Cell cell;
  label(to, "peak of live");
  add_bytes(cell, static_cast<double>(s.peak_bytes));
  to.add(cell.view()).add('\n');
  cell.clear();
  add_count(cell, static_cast<double>(s.temporary_count));
  cell.add(" blocks (");
  add_decimal(cell,
              s.allocated_count.value > 0
                  ? 100 * static_cast<double>(s.temporary_count) / s.allocated_count.value
                  : 0,
              1);
  cell.add(" %) were freed before their thread's next allocation");
  label(to, "temporary");
  to.add(cell.view()).add('\n');
  if (s.before.live_bytes <= 0) return;
  cell.clear();
  add_bytes(cell, s.before.live_bytes);
  cell.add(" more, allocated before exact recording began, rounding included");
  label(to, "older");
  to.add(cell.view()).add('\n');
}

void write_heap(const Snapshot& s, Sink& to) noexcept {
  heading(to, "Heap");
  if (s.heap_is_bound && s.rss.known)
    byte_line(to, "heap resident, at most", s.heap_resident_bytes,
              "all anonymous memory, less lazily freed and mallard's own");
  else if (!s.heap_is_bound)
    byte_line(to, "heap resident", s.heap_resident_bytes, "of the allocator, metadata included");
  if (!s.recording.on) return;
  Cell cell;
  add_bytes_with_interval(cell, s.live_bytes);
  const bool exact = s.recording.exact.on;
  label(to, exact              ? "live, on the books"
            : s.ledger.divided ? "live, by samples alone"
                               : facts_of(Cause::kLive).words);
  to.add(cell.view()).add(exact ? " in " : " in about ");
  cell.clear();
  add_count(cell, s.live_count.value);
  to.add(cell.view()).add(" blocks\n");
  if (s.inherited) {
    cell.clear();
    add_bytes_with_interval(cell, s.inherited_live_bytes);
    label(to, "  of it inherited");
    to.add(cell.view()).add(", allocated by the parent before the fork\n");
  }
  cell.clear();
  add_bytes_with_interval(cell, s.allocated_bytes);
  label(to, s.recording.since_start ? "allocated since start" : "allocated since then");
  to.add(cell.view()).add(exact ? " in " : " in about ");
  cell.clear();
  add_count(cell, s.allocated_count.value);
  to.add(cell.view()).add(" blocks\n");
  if (exact) write_peak(s, to);
  label(to, "fragmentation ratio");
  const Estimate& f = s.fragmentation_ratio;
  cell.clear();
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
  Cell cell;
  heading(to, "About these figures");
  if (s.recording.exact.on) {
    to.add("  error: exact. Every block is counted; while the report was taken the program ran on.\n");
  } else if (s.recording.on)
    to.add(
        "  error: half of the 95 % confidence interval; ±? where a site has too few samples for one.\n"
        "  A site that is missing here has, with 95 % confidence, at most three sampling intervals live.\n");
  cell.add("  The report was taken in ");
  add_duration(cell, s.duration_ns);
  cell.add(" while the program ran on.\n");
  to.add(cell.view());
}

}  // namespace

void write_text(const Snapshot& s, const TextLayout& layout, Sink& to) noexcept {
  write_header(s, to);
  write_allocator(s.allocator, to);
  write_verdict(s, to);
  write_ledger(s, to);
  write_checks(s, to);
  write_other_allocators(s, to);
  write_heap(s, to);
  if (s.recording.on) write_site_tables(s, layout, to);
  write_probe(s, to);
  write_recording(s, to);
  write_footer(s, to);
}

}  // namespace mallard::report
