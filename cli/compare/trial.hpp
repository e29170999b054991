// SPDX-License-Identifier: Apache-2.0
// One run of the program under one candidate, and what was measured.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/compare/plan.hpp"

namespace mallard::cli::compare {

/// Bytes by what holds them.
using Bytes = std::map<std::string, double>;

/// A report's ledger.
struct Ledger {
  bool known = false;
  double counts_bytes = 0;  ///< memory that counts
  Bytes lines;              ///< by cause, as JSON names it
  Bytes others;             ///< what allocators beside the one that serves have in memory: "mimalloc 2.2.4"
};

/// Resident memory at a moment of a run.
struct Moment {
  double seconds;  ///< since the program was started
  double bytes;
};

/// Operations of the allocator whose latency is compared, as reports name them.
inline constexpr std::string_view kTimedOperations[] = {"malloc", "free"};
inline constexpr std::size_t kTimedCount = std::size(kTimedOperations);
/// What is compared of each.
struct TimeFacts {
  std::string_view words, field;
};
inline constexpr TimeFacts kTimes[] = {
    {"p50", "p50_ns"}, {"p99", "p99_ns"}, {"p99.9", "p99_9_ns"}, {"max", "max_ns"}};
inline constexpr std::size_t kTimeCount = std::size(kTimes);

struct Trial {
  std::string failure;                       ///< a clause; empty: it went through
  std::string served;                        ///< name and version of the allocator that served
  double wall_seconds = 0, cpu_seconds = 0;  ///< of the load; of a batch: of all
  std::optional<double> metric;              ///< what the load printed
  double peak_bytes = 0;                     ///< resident
  double after_load_bytes = 0,
         after_idle_bytes = 0;  ///< resident, before the report at that point; 0 for a batch
  double faults = 0;            ///< page faults up to the end of the load
  std::vector<Moment> curve;    ///< some 20 a second
  double load_began_seconds = 0, load_ended_seconds = 0;  ///< as the curve counts; 0 for a batch
  Ledger after_load, after_idle;                          ///< of a batch: after_load is that of its end
  std::string inside;  ///< the allocator in the program that goes on serving: its calls are not timed
  std::uint64_t timed_every = 0;  ///< one call of so many was timed; 0 = none
  /// Nanoseconds by kTimedOperations and kTimes; nothing where too few calls were timed.
  std::optional<double> latency[kTimedCount][kTimeCount];
  /// What its last report predicts to help, as far as it is a variable to set: name of the remedy,
  /// "NAME=VALUE".
  std::vector<std::pair<std::string, std::string>> settings;
  std::string result;  ///< what --check printed; of a batch: its status and what it printed
};

/// Told what happens now: "load", "idle".
using Progress = std::function<void(const std::string& what)>;

/// Runs it once. \param round  for the names of files \throws Interrupted
Trial run_once(const Plan& plan, const Candidate& candidate, int round, const Progress& progress);

}  // namespace mallard::cli::compare
