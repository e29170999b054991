// SPDX-License-Identifier: Apache-2.0
// What the runs of all candidates say together: medians, what is noise, and which candidate is best.
#pragma once

#include <string>
#include <vector>

#include "cli/compare/trial.hpp"

namespace mallard::cli::compare {

/// A figure of several runs. No known value: no run went through.
struct Figure {
  bool known = false;
  double median = 0, least = 0, most = 0;
};

/// All runs of one candidate.
struct Row {
  Candidate candidate;
  std::vector<Trial> trials;
  Figure wall, cpu, metric, peak, after_load, after_idle, faults;
  Figure latency[kTimedCount][kTimeCount];  ///< nanoseconds
  std::string served, failure;  ///< of the first run that has one
  int failures = 0;
  bool same_result = true;  ///< as the first candidate's, in every run that went through

  bool went_through() const { return failure.empty() && !trials.empty(); }
};

enum class Difference { kEqual, kLess, kMore };

struct Summary {
  std::vector<Row> rows;  ///< in the order of the candidates
  bool is_server = false;
  std::size_t best = 0;  ///< the row with the least resident memory; 0 also where none is told from it
  std::string advice;    ///< plain sentences

  /// The figure that decides: resident after idling; of a batch the peak.
  const Figure& deciding(const Row& row) const { return is_server ? row.after_idle : row.peak; }
  /// The best one's deciding figure as a change of the first one's: -0.37. 0 where it is the first.
  double best_change() const;
};

Figure figure_of(std::vector<double> values);

/// A difference of medians counts where it is more than the ranges of both together, and from 2 % on: half of
/// that called two runs of one allocator different in wall time, where the machine was busy. One run tells no
/// scatter: 10 % then.
Difference difference(const Figure& from, const Figure& to);

Summary summarize(const Plan& plan, std::vector<Row> rows);

}  // namespace mallard::cli::compare
