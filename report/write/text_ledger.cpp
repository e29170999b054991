// SPDX-License-Identifier: Apache-2.0
#include "report/judge/verdict_words.hpp"
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"
#include "symbols/demangle.hpp"

namespace mallard::report {
namespace {

constexpr std::uint32_t kDetailsShown = 5, kBriefDetails = 1;
constexpr std::size_t kNameColumns = 62;

/// Label, bytes, part of RSS, error, and what it means.
void row(Sink& to, std::string_view name, const Estimate& bytes, std::uint64_t rss, bool with_error,
         std::string_view meaning) noexcept {
  Cell cell;
  label(to, name);
  add_bytes(cell, bytes.value);
  add_right(to, cell.view(), 12);
  cell.clear();
  add_decimal(cell, rss > 0 ? 100 * bytes.value / static_cast<double>(rss) : 0, 1);
  cell.add(" %");
  add_right(to, cell.view(), 9);
  cell.clear();
  if (with_error) add_relative_error(cell, bytes);
  add_right(to, cell.view(), 9);
  if (!meaning.empty()) to.add("   ").add(meaning);
  to.add('\n');
}

/// What the line means in this ledger, where it is not all that the table of causes says.
std::string_view meaning_of(Cause cause, const Snapshot& s) noexcept {
  const Ledger& ledger = s.ledger;
  const bool without_rounding = !ledger.rounding_known;
  if (cause == Cause::kLive && without_rounding && !ledger.by_pages) return kRoundingIncluded;
  if (cause == Cause::kHoles && without_rounding && ledger.by_pages)
    return "free, rounding, headers; live blocks keep it";
  if (cause == Cause::kRetained && ledger.by_pages) return "pages without a live block";
  if (cause == Cause::kAnonymous && !words::is_heap_known(s)) return "mapped; the heap may be in it";
  return facts_of(cause).meaning;
}

/// A part of the line above.
void write_part(double bytes, std::string_view what, Sink& to) noexcept {
  Cell cell;
  to.add("      ");
  add_bytes(cell, bytes);
  add_right(to, cell.view(), 10);
  to.add("  ").add(what).add('\n');
}

/// What else is known of a line.
void write_parts(const LedgerLine& line, Sink& to) noexcept {
  if (line.sharing.with_others > 0)
    write_part(static_cast<double>(line.sharing.with_others), "other processes map, too", to);
  if (line.dirty > 0)
    write_part(static_cast<double>(line.dirty), "changed: to be written back before the kernel takes them",
               to);
}

/// The end of a path says more than its beginning.
void add_path(Sink& to, std::string_view path) noexcept {
  if (columns(path) > kNameColumns) {
    to.add("...");
    path = part_of(path, path.size() - (kNameColumns - 3));
  }
  add_printable(to, path);
}

/// Says whose stacks they are: threads of one name are one. The main thread is called "main" whatever its name
/// is, and has one stack.
void write_thread(const LedgerDetail& d, Sink& to) noexcept {
  if (d.name == "main" && d.mappings == 1) return void(to.add("main thread"));
  if (d.name == "main") return add_parts(to, "main thread and threads 'main', ", as_grouped(d.mappings));
  if (d.name.empty()) {
    to.add(d.mappings == 1 ? "another thread" : "other threads");
  } else {
    to.add(d.mappings == 1 ? "thread '" : "threads '");
    add_printable(to, d.name);
    to.add("'");
  }
  if (d.mappings > 1) add_parts(to, ", ", as_grouped(d.mappings));
}

void write_detail(const LedgerDetail& d, bool from_outside, Sink& to) noexcept {
  Cell cell;
  to.add("      ");
  add_bytes(cell, static_cast<double>(d.bytes));
  add_right(to, cell.view(), 10);
  to.add("  ");
  const bool is_anonymous = d.cause == Cause::kAnonymous || d.cause == Cause::kLazilyFreed;
  if (d.cause == Cause::kLazilyFreed && d.name == kServedHeap && d.mapper == 0) {
    to.add("in the heap of the allocator that serves");
  } else if (d.cause == Cause::kStacks) {
    write_thread(d, to);
  } else if (d.name.empty()) {
    to.add(!is_anonymous  ? "no name"
           : from_outside ? "mapped by the program or its libraries"
                          : "mapped by the loader, libc or a bare system call");
  } else {
    add_path(to, is_anonymous ? file_name_of(d.name) : d.name);
  }
  if (d.frame && !d.frame->function.empty()) {
    char shortened[kNameColumns * 4];
    to.add(", ");
    add_printable(to,
                  symbols::shorten_name(d.frame->function, shortened, sizeof shortened, kNameColumns - 20));
  }
  if (!d.allocator.empty()) to.add(", which has ").add(d.allocator).add(" inside");
  if (d.mappings > 1 && d.cause != Cause::kStacks) {
    cell.clear();
    cell.add(", in ");
    add_grouped(cell, d.mappings);
    cell.add(" mappings");
    to.add(cell.view());
  }
  to.add('\n');
}

void write_details(const Snapshot& s, Cause cause, std::uint32_t most, Sink& to) noexcept {
  const Ledger& ledger = s.ledger;
  std::uint32_t shown = 0, more = 0;
  std::uint64_t more_bytes = 0;
  for (std::uint32_t i = 0; i < ledger.detail_count; ++i) {
    const LedgerDetail& d = ledger.details[i];
    if (d.cause != cause) continue;
    if (shown < most) {
      write_detail(d, !words::is_under_mallard(s), to);
      ++shown;
    } else {
      ++more;
      more_bytes += d.bytes;
    }
  }
  if (more == 0) return;
  Cell cell;
  to.add("      ");
  add_bytes(cell, static_cast<double>(more_bytes));
  add_right(to, cell.view(), 10);
  cell.clear();
  cell.add("  in ");
  add_grouped(cell, more);
  cell.add(" more\n");
  to.add(cell.view());
}

/// Why the lines and RSS differ although RSS stood still, as far as the way in which pages were read tells.
std::string_view reason_of_difference(const Ledger& ledger) noexcept {
  const bool beyond = ledger.unexplained_bytes < 0;
  switch (ledger.method) {
    case ResidencyMethod::kPagemap:
      if (beyond) return "pages of zeros, only read, count above";
      break;
    case ResidencyMethod::kMincore:
      return "the lines are by the page cache, not by page tables";
    case ResidencyMethod::kPagemapScan:
    case ResidencyMethod::kSmaps:
    case ResidencyMethod::kNone:
      break;
  }
  if (!beyond && ledger.unread_bytes > 0) return "not all address space was looked at";
  return beyond ? "the lines above less RSS; no reason is known"
                : "RSS less the lines above; no reason is known";
}

void write_unexplained(const Ledger& ledger, Sink& to) noexcept {
  const bool negative = ledger.unexplained_bytes < 0;
  const auto bytes = static_cast<double>(negative ? -ledger.unexplained_bytes : ledger.unexplained_bytes);
  Cell meaning;
  const std::uint64_t before = ledger.rss_before_bytes, after = ledger.rss_after_bytes;
  const std::uint64_t moved = before < after ? after - before : before - after;
  const std::uint64_t much = ledger.rss_bytes / 200;
  if (moved > much) {
    meaning.add("memory moved: RSS was ");
    add_bytes(meaning, static_cast<double>(before));
    meaning.add(", then ");
    add_bytes(meaning, static_cast<double>(after));
  } else if (bytes > static_cast<double>(much)) {
    meaning.add(reason_of_difference(ledger));
  } else {
    meaning.add(negative ? "the lines above less RSS" : "RSS less the lines above");
  }
  row(to, negative ? "beyond RSS" : "unexplained", {bytes, 0, false, 0, 0}, ledger.rss_bytes, false,
      meaning.view());
}

/// How the pages were read, where the best way was not to be had.
void write_method(const Ledger& l, Sink& to) noexcept {
  if (l.method == ResidencyMethod::kPagemap)
    to.add("  This kernel does not tell pages of zeros that were only read from others: they count.\n");
  if (l.method == ResidencyMethod::kSmaps) {
    to.add("  The kernel refuses this process its page tables (it has dropped its privileges, or may not\n");
    to.add("  be dumped): smaps tells how much of each mapping counts, mincore which pages of a heap.\n");
  }
  if (l.method == ResidencyMethod::kMincore)
    to.add("  The kernel's page tables cannot be read: files count as far as the page cache holds them.\n");
  if (l.unread_bytes > 0) {
    Cell cell;
    add_bytes(cell, static_cast<double>(l.unread_bytes));
    cell.add(" of address space were too much to be asked page by page.");
    to.add("  ").add(cell.view()).add('\n');
  }
}

/// What the line of blocks that mallard did not see rests on.
void write_past_mallard(const Snapshot& s, Sink& to) noexcept {
  const Ledger& l = s.ledger;
  const double past = l.lines[static_cast<int>(Cause::kPastMallard)].bytes.value;
  if (past <= 0 || !l.divided) return;
  Cell cell;
  cell.add("  Of ");
  add_bytes(cell, l.counted_live_bytes);
  cell.add(" that are live by the allocator's own marks, recorded blocks explain\n  ");
  add_bytes(cell, std::max(0.0, l.counted_live_bytes - past));
  cell.add("; no call site is known of the rest. ");
  to.add(cell.view());
  std::size_t count = 0;
  for (const BoundElsewhere& b : s.other_allocators.bound) count += b.to_server;
  if (count == 0) {
    to.add("No loaded object is known to call\n");
    to.add("  past mallard: a pointer from dlsym may, or an object that is gone.\n");
    return;
  }
  to.add("Allocated past mallard by:\n");
  for (const BoundElsewhere& b : s.other_allocators.bound) {
    if (!b.to_server) continue;
    cell.clear();
    cell.add(", ");
    add_grouped(cell, b.references);
    cell.add(b.references == 1 ? " call bound to " : " calls bound to ").add(file_name_of(b.bound_to));
    to.add("    ");
    add_path(to, file_name_of(b.object));
    to.add(cell.view()).add('\n');
  }
}

void write_not_divided(const Ledger& l, Sink& to) noexcept {
  to.add("  The heap is not divided: ").add(view_of(l.not_divided_why)).add(".\n");
}

/// What of the free memory is free in a way of its own.
void write_free_notes(const Ledger& l, Sink& to) noexcept {
  if (l.arena_top_bytes > 0)
    add_parts(to, "  Of retained memory, ", as_bytes(l.arena_top_bytes),
              " are tops of arenas of other threads: a trim leaves them.\n");
  if (l.thread_cached_bytes > 0)
    add_parts(to, "  Of holes, ", as_bytes(l.thread_cached_bytes),
              " are free blocks that threads keep for themselves.\n");
  if (l.free_memory.uncollected >= kPageBytes)
    add_parts(
        to, "  Of holes and retained memory, ", as_bytes(l.free_memory.uncollected),
        " are blocks that other threads\n  freed and the threads that own them have not taken back yet.\n");
}

/// What a reader must know to trust the lines, or not to.
void write_notes(const Snapshot& s, Sink& to) noexcept {
  const Ledger& l = s.ledger;
  const ExactRecording& exact = s.recording.exact;
  Cell cell;
  const auto note = [&] {
    to.add("  ").add(cell.view()).add('\n');
    cell.clear();
  };
  if (l.divided) {
    to.add("  Pinned: only a whole ").add(view_of(l.unit_name));
    to.add(" goes back to the kernel. One live block keeps it all, holes too.\n");
  } else {
    write_not_divided(l, to);
  }
  if (l.by_pages)
    to.add(
        "  The allocator cannot be asked: this is from the booked blocks and the pages that they lie on.\n");
  if (l.divided && !l.rounding_known && !l.by_pages)
    to.add(s.recording.on ? "  No live block was sampled: rounding cannot be told from what was requested.\n"
                          : "  Nothing is recorded: rounding cannot be told from what was requested.\n");
  if (l.divided && l.examined < 0.999) {
    cell.add("Of the heap, ");
    add_decimal(cell, 100 * l.examined, 0);
    cell.add(" % was looked at; the rest is taken to be like it.");
    note();
  }
  write_free_notes(l, to);
  if (exact.on && l.divided && exact.raced_units > 0) {
    add_grouped(cell, exact.raced_units);
    cell.add(" pieces of the heap changed while they were read: their parts may be a moment apart.");
    note();
  }
  if (exact.on && l.divided && exact.met_blocks < exact.live_blocks - exact.live_blocks / 200) {
    cell.add("Of the booked blocks ");
    add_decimal(cell, 100 * static_cast<double>(exact.met_blocks) / static_cast<double>(exact.live_blocks),
                1);
    cell.add(" % were still live, and in the allocator's memory, when the heap was looked at.");
    note();
  }
  if (l.unlogged_mappings > 0) {
    add_grouped(cell, l.unlogged_mappings);
    cell.add(" mappings could not be noted: who made them is not known, or may be out of date.");
    note();
  }
  if (l.raced > 0) {
    add_grouped(cell, l.raced);
    cell.add(" of ");
    add_grouped(cell, l.reads);
    cell.add(" looks into the heap met memory in change, and were left out.");
    note();
  }
  write_method(l, to);
}

void write_unknown(const Snapshot& s, Sink& to) noexcept {
  to.add("  Not known: ").add(view_of(s.ledger.why_not)).add(".\n");
  if (!s.rss.known) {
    to.add("  Next step: mount /proc, or run a kernel from 4.14 on.\n");
    return;
  }
  byte_line(to, "anonymous", s.rss.anonymous, "heap, stacks, other private memory");
  byte_line(to, "files", s.rss.file, "program, libraries, mapped data files");
  byte_line(to, facts_of(Cause::kShared).words, s.rss.shared_memory, "");
  byte_line(to, "resident (RSS)", s.rss.total, "");
}

}  // namespace

void write_ledger(const Snapshot& s, const TextLayout& layout, Sink& to) noexcept {
  const Ledger& ledger = s.ledger;
  heading(to, "Where the resident memory is");
  if (!ledger.known) {
    write_unknown(s, to);
  } else {
    label(to, "cause");
    add_right(to, "resident", 12);
    add_right(to, s.core.path.empty() ? "of RSS" : "of core", 9);
    add_right(to, "error", 9);
    to.add('\n');
    for (int i = 0; i < kCauseCount; ++i) {
      const auto cause = static_cast<Cause>(i);
      const bool of_divided = facts_of(cause).kind == CauseKind::kDivided;
      if (of_divided ? !ledger.divided : ledger.lines[i].bytes.value <= 0) continue;
      if (cause == Cause::kRounding && !ledger.rounding_known) continue;
      if (cause == Cause::kPastMallard && ledger.lines[i].bytes.value <= 0) continue;
      const bool or_metadata = cause == Cause::kRetained && ledger.by_pages;
      row(to, or_metadata ? "retained or metadata" : facts_of(cause).words, ledger.lines[i].bytes,
          ledger.rss_bytes, of_divided, meaning_of(cause, s));
      if (cause == Cause::kLive && s.before.live_bytes > 0)
        write_part(s.before.live_bytes, older_words(s), to);
      write_parts(ledger.lines[i], to);
      write_details(s, cause, layout.brief ? kBriefDetails : kDetailsShown, to);
    }
    write_unexplained(ledger, to);
    const bool ran = s.core.path.empty();
    row(to, ran ? "resident (RSS)" : "in the core", {static_cast<double>(ledger.rss_bytes), 0, false, 0, 0},
        ledger.rss_bytes, false,
        ran ? "the kernel's own figure, around the scan" : "pages that hold anything but zeros");
    if (ledger.huge_bytes > 0)
      byte_line(to, "  heap on huge pages", ledger.huge_bytes,
                "within the heap; given back in 2 MiB pieces only");
    if (ledger.huge_zeros.known && ledger.huge_zeros.bytes.value > 0)
      byte_line(to, "  zeros on huge pages", static_cast<std::uint64_t>(ledger.huge_zeros.bytes.value),
                "within RSS; most of them never touched");
    if (ledger.divided && ledger.heap_sharing.with_others > 0)
      byte_line(to, "  heap with others", ledger.heap_sharing.with_others,
                "within the heap; other processes map it, too");
  }
  if (s.rss.swapped > 0) byte_line(to, "swapped out", s.rss.swapped, "beside RSS");
  if (s.rss.locked > 0) byte_line(to, "locked", s.rss.locked, "within RSS, by mlock");
  if (ledger.known && !layout.brief) write_past_mallard(s, to);
  if (ledger.known && !layout.brief) write_notes(s, to);
  else if (ledger.known && !ledger.divided) write_not_divided(ledger, to);
}

}  // namespace mallard::report
