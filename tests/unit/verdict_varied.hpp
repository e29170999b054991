// SPDX-License-Identifier: Apache-2.0
// What a verdict becomes where one figure of a process is another one: each figure is tried at several values, and what
// is found then goes into a table for a golden file. A bound that is off by one, or of another figure, has another table.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/unit/made_up_snapshot.hpp"

namespace verdict_varied {

using namespace mallard;
using namespace mallard::report;
using made_up::kMega;
using made_up::Process;

inline constexpr int kSteps = 4;
inline constexpr const char* kStepNames[kSteps] = {"none", "less", "more", "twice"};

/// Gives a figure another value. \return false if that is the one which it has
template <class Number>
bool vary(Number* figure, int step) {
  const Number before = *figure;
  constexpr double kFactors[kSteps] = {0, 0.9, 1.1, 2}, kInstead[kSteps] = {0, 1, 12 * kMega, 60 * kMega};
  if constexpr (std::is_same_v<Number, bool>) {
    if (step > 0) return false;
    *figure = !before;
  } else {
    const bool is_count = sizeof(Number) == 4;
    *figure = before != 0 ? static_cast<Number>(static_cast<double>(before) * kFactors[step] + (is_count && step == 2))
              : is_count  ? static_cast<Number>(step)
                          : static_cast<Number>(kInstead[step]);
  }
  return *figure != before;
}
inline bool vary(Estimate* figure, int step) {
  const double before = figure->value;
  if (!vary(&figure->value, step)) return false;
  const double factor = before != 0 ? figure->value / before : 1;
  figure->variance *= factor * factor;
  figure->low = before != 0 ? figure->low * factor : figure->value;
  figure->high = before != 0 ? figure->high * factor : figure->value;
  return true;
}

/// Calls `visit` for each figure that a verdict may look at, with its name.
template <class Visit>
void each_figure(Process& p, Visit visit) {
  Snapshot& s = p.s;
  Ledger& l = s.ledger;
  for (int i = 0; i < kCauseCount; ++i) {
    visit(std::string(kCauses[i].name), &l.lines[i].bytes);
    if (s.history.since_first.causes[i] != 0) visit(std::string(kCauses[i].name) + " grown", &s.history.since_first.causes[i]);
    if (l.huge_zeros.in_line[i] != 0) visit(std::string(kCauses[i].name) + " zeros", &l.huge_zeros.in_line[i]);
  }
#define FIGURE_OF(of, name) visit(#name, &of.name);
  FIGURE_OF(s, rss.total)
  FIGURE_OF(s, rss.peak)
  FIGURE_OF(s, rss.anonymous)
  FIGURE_OF(s, rss.file)
  FIGURE_OF(s, rss.shared_memory)
  FIGURE_OF(s, rss.known)
  FIGURE_OF(s, rss.walked)
  FIGURE_OF(s, process.threads)
  FIGURE_OF(s, others.resident_bytes)
  FIGURE_OF(s, before.resident_bytes)
  FIGURE_OF(s, recording.live_samples)
  FIGURE_OF(s, live_bytes)
  FIGURE_OF(s, before.live_bytes)
  FIGURE_OF(s, copied_since_fork)
  FIGURE_OF(s, inherited_live_bytes)
  FIGURE_OF(s, peak.bytes)
  FIGURE_OF(s, peak.ago_ns)
  FIGURE_OF(s, process.uptime_ns)
  FIGURE_OF(s, recording.sample_bytes)
  FIGURE_OF(s, recording.since_ns)
  FIGURE_OF(l, known)
  FIGURE_OF(l, rss_bytes)
  FIGURE_OF(l, rss_before_bytes)
  FIGURE_OF(l, rss_after_bytes)
  FIGURE_OF(l, pinned_bytes)
  FIGURE_OF(l, freed_samples)
  FIGURE_OF(l, uncovered_blocks)
  FIGURE_OF(l, allocated_meanwhile)
  FIGURE_OF(l, live_compared)
  FIGURE_OF(l, counted_live_bytes)
  FIGURE_OF(l, recorded_live_bytes)
  FIGURE_OF(l, heap_bytes)
  FIGURE_OF(l, huge_bytes)
  FIGURE_OF(l, thread_cached_bytes)
  FIGURE_OF(l, ownerless_bytes)
  FIGURE_OF(l, arena_top_bytes)
  FIGURE_OF(l, arenas)
  FIGURE_OF(l, threadless_arenas)
  FIGURE_OF(l, free_memory.main_top)
  FIGURE_OF(l, free_memory.top_excess)
  FIGURE_OF(l, free_memory.in_arenas)
  FIGURE_OF(l, free_memory.large_free)
  FIGURE_OF(l, free_memory.cached)
  FIGURE_OF(l, free_memory.cached_pages)
  FIGURE_OF(l, free_memory.kept_pages)
  FIGURE_OF(l, free_memory.uncollected)
  FIGURE_OF(l, pins.alone)
  FIGURE_OF(l, pins.alone_holes)
  FIGURE_OF(l, pins.joint)
  FIGURE_OF(l, pins.joint_holes)
  FIGURE_OF(l, pins.others)
  FIGURE_OF(l, pins.crowded)
  FIGURE_OF(l, huge_zeros.bytes)
  FIGURE_OF(l, huge_zeros.huge_bytes)
  FIGURE_OF(s, lost.bytes)
  FIGURE_OF(s, lost.resident_bytes)
  FIGURE_OF(s, lost.examined_bytes)
  FIGURE_OF(s, probe.given_back)
  FIGURE_OF(s, history.earlier_reports)
  FIGURE_OF(s, history.since_first.ago_ns)
  FIGURE_OF(s, history.since_first.live.bytes)
  FIGURE_OF(s, history.live.bytes)
  FIGURE_OF(s, history.live.error)
  FIGURE_OF(s, history.live.allocated)
  FIGURE_OF(s, history.live.ago_ns)
  FIGURE_OF(s, history.live.idle_ns)
  FIGURE_OF(s, history.live.stretches)
  FIGURE_OF(s, recording.on)
  FIGURE_OF(s, recording.exact.on)
  FIGURE_OF(s, recording.since_start)
  FIGURE_OF(s, recording.is_attached)
  FIGURE_OF(l, divided)
  FIGURE_OF(l, by_pages)
  FIGURE_OF(l, pins.known)
  FIGURE_OF(l, huge_zeros.known)
  FIGURE_OF(l, huge_zeros.everywhere)
  FIGURE_OF(s, inherited)
  FIGURE_OF(s, peak.known)
  FIGURE_OF(s, peak.is_judged)
  FIGURE_OF(s, probe.done)
  FIGURE_OF(s, lost.done)
  FIGURE_OF(s, can_be_controlled)
  FIGURE_OF(s, answers_no_signal)
  FIGURE_OF(s, allocator.takes_no_preload)
  FIGURE_OF(s, history.since_first.causes_known)
#undef FIGURE_OF
  for (int i = 0; i < s.allocator.statistic_count; ++i)
    visit("statistic " + std::to_string(i), &s.allocator.statistics[i].bytes);
  for (std::size_t i = 0; i < p.details.size(); ++i) visit("detail " + std::to_string(i), &p.details[i].bytes);
  for (std::size_t i = 0; i < p.rows.size() && i < 3; ++i) {
    const std::string row = "row " + std::to_string(i) + " ";
    visit(row + "resident", &p.rows[i].resident_bytes);
    visit(row + "live", &p.rows[i].live_bytes);
    visit(row + "blocks", &p.rows[i].live_count);
    visit(row + "allocated", &p.rows[i].allocated_bytes);
    visit(row + "holes", &p.rows[i].hole_bytes);
    visit(row + "alone", &p.rows[i].alone_bytes);
    visit(row + "alone holes", &p.rows[i].alone_hole_bytes);
    visit(row + "grown", &p.rows[i].history.in_trend.bytes);
    visit(row + "samples", &p.rows[i].live_samples);
  }
}

/// Findings and remedies with their figures; of the words their length, and what of them is about another one.
inline std::string told(Process& p) {
  judge(p.arena, &p.s);
  const Snapshot& s = p.s;
  std::ostringstream to;
  std::size_t words = s.growth_text.size() + s.peak_text.size();
  const auto megabytes = [](const Estimate& e) { return static_cast<long long>(e.value / kMega * 10); };
  for (const Finding& f : s.findings) {
    double evidence = 0;
    for (int i = 0; i < f.evidence_count; ++i) evidence += f.evidence[i].value / (i + 1);
    to << facts_of(f.cause).name << ' ' << megabytes(f.bytes) << ' ' << kConfidences[static_cast<int>(f.confidence)] << ' '
       << f.evidence_count << ':' << static_cast<long long>(evidence / 1000);
    for (int i = 0; i < f.site_count; ++i) to << " #" << f.sites[i];
    to << "; ";
    words += f.title.size() + f.text.size() + f.next_step.size();
  }
  for (const Remedy& r : s.remedies) {
    to << facts_of(r.kind).name << ' ' << megabytes(r.saving) << "; ";
    words += r.line.size() + r.why.size();
  }
  to << words << " letters";
  return to.str();
}

class Table {
 public:
  /// \param told  what becomes of a process, in words
  explicit Table(std::string (*told)(Process&)) : told_(told) {}

  /// Judges what `prepare` makes with each figure changed.
  void add(const char* title, const std::function<void(Process&)>& prepare, double megabytes) {
    text_ << "== " << title << ": " << number_of(judged(prepare, megabytes, -1, -1)) << '\n';
    const std::string before = judged(prepare, megabytes, -1, -1);
    int count = 0;
    Process counted(megabytes);
    prepare(counted);
    std::vector<std::string> names;
    each_figure(counted, [&](const std::string& name, auto*) { names.push_back(name), ++count; });
    for (int figure = 0; figure < count; ++figure) {
      std::string line;
      for (int step = 0; step < kSteps; ++step) {
        const std::string now = judged(prepare, megabytes, figure, step);
        if (!now.empty() && now != before) line += std::string(" ") + kStepNames[step] + ":" + std::to_string(number_of(now));
      }
      if (!line.empty()) text_ << names[static_cast<std::size_t>(figure)] << line << '\n';
    }
  }

  /// The table, and what its numbers stand for; empties it.
  std::string take() {
    std::vector<const std::string*> results(numbers_.size());
    for (const auto& [result, number] : numbers_) results[number] = &result;
    for (std::size_t i = 0; i < results.size(); ++i) text_ << i << ": " << *results[i] << '\n';
    std::string to = text_.str();
    text_.str("");
    numbers_.clear();
    return to;
  }

 private:
  /// Empty if the figure has that value already.
  std::string judged(const std::function<void(Process&)>& prepare, double megabytes, int figure, int step) const {
    Process p(megabytes);
    prepare(p);
    int at = 0;
    bool is_other = figure < 0;
    each_figure(p, [&](const std::string&, auto* of) {
      if (at++ == figure) is_other = vary(of, step);
    });
    if (!is_other) return "";
    p.finish();
    return told_(p);
  }
  std::size_t number_of(const std::string& result) { return numbers_.emplace(result, numbers_.size()).first->second; }

  std::string (*told_)(Process&);
  std::ostringstream text_;
  std::map<std::string, std::size_t> numbers_;
};

inline Table g_varied{told};

}  // namespace verdict_varied
