// SPDX-License-Identifier: Apache-2.0
// The purge probe, as text and as JSON.
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

constexpr double kNothing = 0.1;  // of what the ledger calls retained; below, the purge did not reach it
constexpr double kAll = 0.8;      // above, it did: the host allocates meanwhile
constexpr double kSmallBytes = 4 << 20;

double retained(const Snapshot& s) noexcept {
  if (!s.ledger.known || !s.ledger.divided) return 0;
  return s.ledger.lines[static_cast<int>(Cause::kRetained)].bytes.value;
}

void change_line(Sink& to, std::string_view name, std::uint64_t before, std::uint64_t after,
                 std::string_view without = {}) noexcept {
  labelled_line(to, name, as_bytes(before), " before, ", as_bytes(after), " after", without);
}

/// What the call did not reach: glibc's trim leaves the tops of arenas beside the main one.
std::string_view left_by(const Snapshot& s) noexcept {
  const auto tops = static_cast<double>(s.ledger.arena_top_bytes);
  const bool tops_are_most =
      tops >= kSmallBytes && 2 * (tops + static_cast<double>(s.probe.given_back)) > retained(s);
  return tops_are_most ? std::string_view("the tops of arenas of other threads") : view_of(s.probe.leaves);
}

/// What the figures of a probe mean, in one or two sentences.
void add_conclusion(const Snapshot& s, TextBuffer& to) noexcept {
  const Probe& p = s.probe;
  if (!p.done) {
    to.add("Nothing was tried: ").add(view_of(p.why_not)).add('.');
    return;
  }
  const auto given = static_cast<double>(p.given_back);
  const double kept = retained(s);
  const bool has_ledger = s.ledger.known && s.ledger.divided;
  if (!has_ledger && given < kSmallBytes) {
    to.add("Next to nothing went back, but no ledger tells how much there was to give back: ");
    to.add(left_by(s)).add('.');
  } else if (kept < kSmallBytes && given < kSmallBytes) {
    to.add("There was next to nothing to give back: retention is not the cause.");
  } else if (kept < kSmallBytes) {
    add_bytes(to, given);
    to.add(" went back to the kernel: free pages that the allocator had kept.");
  } else {
    add_bytes(to, given);
    to.add(given < kNothing * kept ? " of the " : given < kAll * kept ? ", less than the " : " of about ");
    add_bytes(to, kept);
    to.add(" that the ledger calls retained went back to the kernel: ");
    if (given < kNothing * kept)
      to.add("this proves nothing about the rest, which the call did not reach (").add(left_by(s)).add(')');
    else if (given < kAll * kept)
      to.add("as much is proved retained; the call did not reach the rest (").add(left_by(s)).add(')');
    else to.add("it was retained indeed");
    to.add('.');
  }
  to.add(" What stays resident, ");
  add_bytes(to, static_cast<double>(p.heap_after));
  to.add(" of anonymous memory, is live, pinned by live blocks, or out of this call's reach.");
}

}  // namespace

void write_probe(const Snapshot& s, Sink& to) noexcept {
  const Probe& p = s.probe;
  if (!p.asked) return;
  heading(to, "Purge probe (asked for; made after everything else in this report was measured)");
  FixedText<1024> says;
  add_conclusion(s, says);
  if (p.done) {
    labelled_line(to, "called", view_of(p.call), ", which took ", as_duration(p.duration_ns));
    labelled_line(to, "  leaves", view_of(p.leaves));
    labelled_line(to, "  holds up", view_of(p.holds));
    change_line(to, "resident (RSS)", p.rss_before, p.rss_after);
    change_line(to, "  of it anonymous", p.heap_before, p.heap_after, ", lazily freed memory left out");
  }
  label(to, "it says");
  add_wrapped(to, says.view(), kLabelColumns);
}

void write_purge_json(const Probe& p, Json& json) noexcept {
  text_or_null(json, "call", p.call);
  text_or_null(json, "leaves", p.leaves);
  text_or_null(json, "holds", p.holds);
  json.key("rss_before_bytes").number(p.rss_before).key("rss_after_bytes").number(p.rss_after);
  json.key("heap_before_bytes").number(p.heap_before).key("heap_after_bytes").number(p.heap_after);
  json.key("given_back_bytes").number(p.given_back).key("duration_ns").number(p.duration_ns);
}

void write_probe_json(const Snapshot& s, Json& json) noexcept {
  const Probe& p = s.probe;
  json.key("probe");
  if (!p.asked) return void(json.null().line());
  FixedText<1024> says;
  add_conclusion(s, says);
  json.open('{').key("kind").text("purge").key("done").flag(p.done);
  write_purge_json(p, json);
  text_or_null(json, "why_not", p.why_not);
  json.key("conclusion").text(says.view()).close('}').line();
}

}  // namespace mallard::report
