// SPDX-License-Identifier: Apache-2.0
// What findings are made with: a case collects sentences and evidence, and is added to the findings.
#pragma once

#include <cstdint>

#include "base/numbers.hpp"
#include "report/judge/verdict.hpp"
#include "report/model/naming.hpp"

namespace mallard::report::words {

inline constexpr double kWorthSaying = 16 << 20;  ///< smaller changes are not mentioned

/// Sentences under construction.
class Words : public FixedText<3072> {
 public:
  Words& say(std::string_view text) noexcept { return add(text), *this; }
  Words& bytes(double value) noexcept { return add_bytes(*this, value), *this; }
  Words& count(double value) noexcept { return add_count(*this, value), *this; }
  Words& number(std::int64_t value) noexcept { return add_signed(value), *this; }
  Words& time(std::uint64_t ns) noexcept { return add_duration(*this, ns), *this; }
  Words& percent(double part, double whole) noexcept {
    add_decimal(*this, whole > 0 ? 100 * part / whole : 0, 0);
    return say(" %");
  }
};

/// A finding under construction.
struct Case {
  const Snapshot& s;
  const Facts& f;
  Finding finding{};
  Words text{}, next{};

  Case(const Snapshot& snapshot, const Facts& facts, VerdictCause cause, const Estimate& bytes,
       Confidence confidence) noexcept
      : s(snapshot), f(facts) {
    finding.cause = cause;
    finding.bytes = bytes;
    finding.confidence = confidence;
    finding.title = facts_of(cause).words;
  }
  void evidence(std::string_view name, double value) noexcept {
    for (const Evidence& e : std::span(finding.evidence, static_cast<std::size_t>(finding.evidence_count)))
      if (e.name == name) return;
    if (finding.evidence_count < kMaxEvidence) finding.evidence[finding.evidence_count++] = {name, value};
  }
  void look_at(const SiteRow& row) noexcept {
    if (finding.site_count < kMaxVerdictSites) finding.sites[finding.site_count++] = row.id;
  }
};

/// The findings of one report.
class Findings {
 public:
  Findings(Arena& arena, const Snapshot& snapshot, const Facts& facts) noexcept
      : s(snapshot), f(facts), arena_(arena), found_(arena) {
    for (int i = 0; i < kCauseCount; ++i) lines_[i] = s.ledger.lines[i].bytes;
  }

  Case open(VerdictCause cause, const Estimate& bytes,
            Confidence confidence = Confidence::kCounted) const noexcept {
    return {s, f, cause, bytes, confidence};
  }
  /// The bytes of a line of the ledger that no finding has taken.
  const Estimate& line(Cause cause) const noexcept { return lines_[static_cast<int>(cause)]; }
  /// A finding of its own has these bytes of a line: they are in no other.
  void take(Cause cause, double bytes) noexcept;
  /// What the findings of a cause have so far.
  double found(VerdictCause cause) noexcept;
  void add(const Case& made) noexcept;
  /// Sorts them: what counts before what is harmless, the largest first. Where the process ends, nothing is
  /// left to be done about its heap: only a leak keeps its next step.
  std::span<const Finding> in_order(bool is_alive) noexcept;
  Arena& arena() noexcept { return arena_; }

  const Snapshot& s;
  const Facts& f;

 private:
  Arena& arena_;
  Growing<Finding> found_;
  Estimate lines_[kCauseCount];
};

/// The low end of an interval: what it surely is.
double surely(const Estimate& e) noexcept;
/// True if it surely reaches the least size and the share of the whole.
bool reaches(const Estimate& e, double share, double whole) noexcept;
/// True if a part of the heap is worth naming.
bool reaches_in_heap(const Estimate& e, double share, const Facts& f) noexcept;
Confidence how_known(const Estimate& e) noexcept;

/// A copy in the arena.
std::string_view kept(Arena& arena, const TextBuffer& text) noexcept;
/// A name, cut to what fits into a sentence.
void add_function(Words& to, std::string_view function) noexcept;
/// "keep_record, called by handle and main (site 7)": the function that names the site, and its callers.
void add_site(Words& to, const SiteRow& row) noexcept;
/// The site with most of a figure; nullptr if none has any.
const SiteRow* largest(const Snapshot& s, const Estimate SiteRow::*figure) noexcept;
/// The site of that number; nullptr if it is not among those of the report.
const SiteRow* row_of(const Snapshot& s, std::uint32_t id) noexcept;
/// What a next step asks of the program.
enum class Needs : std::uint8_t {
  kNothing,
  kRecording,         ///< that mallard is preloaded, to see call sites
  kAnotherAllocator,  ///< that another allocator is preloaded
};

/// Replaces "PID" by the process's id: commands can be copied from the report. A step that needs a preload is
/// not said of a program that takes none; in the place of another allocator stands a build with one, once.
void say_next(Case& c, std::string_view text, Needs needs = Needs::kNothing) noexcept;
/// That another allocator can be tried, and by what: as the only step or as one more.
void say_try_another(Case& c) noexcept;
/// "Most is", where the part is more than half of the whole, or "The largest part is".
std::string_view most_or_largest(double part, double whole) noexcept;
/// Names the sites with most of a figure as those to look at.
void look_at_largest(Case& c, const Estimate SiteRow::*figure) noexcept;
/// "60.0 MiB of the program's 100.0 MiB (60 %) ", which also go into the evidence.
void say_part(Case& c, std::string_view evidence) noexcept;
/// How the line has changed since the first report, where it did by much.
void say_changed(Case& c, Cause cause) noexcept;
/// True if the process can still be asked.
bool is_alive(const Snapshot& s) noexcept;
/// True if the program was started with mallard, so that its variables reach it.
bool is_under_mallard(const Snapshot& s) noexcept;
/// Whether it is known which memory the allocator that serves malloc has mapped: else it may be any that is anonymous.
bool is_heap_known(const Snapshot& s) noexcept;
/// True if mallard is in the process, so that it can be told to purge.
bool can_be_purged(const Snapshot& s) noexcept;

/// Retained memory that lies in the tops of glibc's arenas beside the main one, and whether it is a finding
/// of its own, which the others then leave out.
Estimate in_arena_tops(const Findings& all) noexcept;
bool has_arena_tops(const Findings& all) noexcept;

// The rules: a function for each cause.
#define VERDICT(enumerator, name, words, needs, weight, find) void find(Findings& all) noexcept;
#include "report/model/verdicts.def"
#undef VERDICT

/// Says what there is where nothing was found.
void say_nothing_found(Case& none) noexcept;
/// What the reports so far tell of growth; nothing where none is recorded.
void say_growth(const Snapshot& s, Words& to) noexcept;
/// That another allocator is judged than the one that the program came with, and what that means.
void say_judged(const Snapshot& s, Words& to) noexcept;
/// Whether the report tells of the moment when most was live: the process ends, or has come down from it.
bool judges_peak(const Snapshot& s) noexcept;
/// When most was live, and who held it; nothing where that is not judged.
void say_peak(const Snapshot& s, Words& to) noexcept;
/// The free memory of a heap that cannot be divided; 0 if that cannot be said.
double free_in_undivided_heap(const Snapshot& s) noexcept;

}  // namespace mallard::report::words
