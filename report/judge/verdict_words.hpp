// SPDX-License-Identifier: Apache-2.0
// What the sentences of a verdict are made with; shared by verdict_words.cpp and verdict_causes.cpp.
#pragma once

#include "base/numbers.hpp"
#include "report/judge/verdict.hpp"

namespace mallard::report::words {

inline constexpr double kWorthSaying = 16 << 20;  ///< smaller changes are not mentioned

/// Sentences under construction.
class Words : public FixedText<3072> {
 public:
  Words& say(std::string_view text) noexcept { return add(text), *this; }
  Words& bytes(double value) noexcept { return add_bytes(*this, value), *this; }
  Words& count(double value) noexcept { return add_count(*this, value), *this; }
  Words& time(std::uint64_t ns) noexcept { return add_duration(*this, ns), *this; }
  Words& percent(double part, double whole) noexcept {
    add_decimal(*this, whole > 0 ? 100 * part / whole : 0, 0);
    return say(" %");
  }
};

struct Judged {
  const Snapshot& s;
  const Facts& f;
  Words text, next;
  Verdict* verdict;

  void evidence(std::string_view name, double value) noexcept {
    if (verdict->evidence_count < kMaxEvidence) verdict->evidence[verdict->evidence_count++] = {name, value};
  }
  void look_at(const SiteRow& row) noexcept {
    if (verdict->site_count < kMaxVerdictSites) verdict->sites[verdict->site_count++] = row.id;
  }
};

/// "keep_record, called by handle and main (site 7)": the program's functions that lead there.
void add_site(Words& to, const SiteRow& row) noexcept;
/// What is surely free in a heap whose causes cannot be told apart; 0 if that cannot be said.
double free_in_undivided_heap(const Snapshot& s) noexcept;
/// The site with most of a figure; nullptr if none has any.
const SiteRow* largest(const Snapshot& s, const Estimate SiteRow::*figure) noexcept;
/// Replaces "PID" by the process's id: commands can be copied from the report.
void say_next(Judged& j, std::string_view text) noexcept;
/// Names the sites with most of a figure as those to look at.
void look_at_largest(Judged& j, const Estimate SiteRow::*figure) noexcept;
/// "60.0 MiB of the 100.0 MiB (60 %; ...) "
void say_part(Judged& j, double part) noexcept;

/// When a verdict holds, and what is said of it.
struct Rule {
  VerdictCause cause;
  double (*bytes)(const Facts&) noexcept;  ///< how much memory it answers for; 0 = it does not hold
  double least_share;                      ///< of Facts::memory, beside kLeastCauseBytes
  void (*explain)(Judged&) noexcept;
};
/// Indexed by VerdictCause; verdict_causes.cpp.
std::span<const Rule> rules() noexcept;

void explain_leak(Judged& j) noexcept;
void explain_none(Judged& j) noexcept;

}  // namespace mallard::report::words
