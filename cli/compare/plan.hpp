// SPDX-License-Identifier: Apache-2.0
// What `mallard compare` is asked to do: the candidates, and how each run of the program goes.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace mallard::cli::compare {

/// An allocator or a setting under which the program is run.
struct Candidate {
  std::string name;
  std::string backend;                                         ///< empty: the one that the program came with
  std::vector<std::pair<std::string, std::string>> variables;  ///< set beside it
};

struct Plan {
  std::vector<std::string> command;
  std::vector<Candidate> candidates;  ///< the first is the program as it was shipped
  int rounds = 3;
  std::string ready_pattern;  ///< a regular expression, looked for in what the program prints
  int ready_port = 0;         ///< 0 = not asked for
  double ready_seconds = 60;
  std::string load;  ///< for the shell; empty: the program is a batch that ends by itself
  double load_seconds = 3600;
  double idle_seconds = 15;
  int stop_signal = 15;
  std::string check;   ///< for the shell; what it prints must be the same everywhere
  std::string metric;  ///< a regular expression whose first group is a number in what the load prints
  bool times_calls = true;  ///< a share of malloc and free is timed
  bool tune = false;   ///< what the first reports advise to set become candidates, too
  std::string folder;  ///< for reports and what the program prints

  bool is_server() const { return !load.empty(); }
};

/// \param backends  "system,jemalloc,/usr/lib/x.so"
/// \param tries     each "NAME: VARIABLE=VALUE ..."; ALLOC_BACKEND among them chooses the backend
/// \throws Error (kUsage) that says which one is wrong and what is expected
std::vector<Candidate> parse_candidates(const std::string& backends, const std::vector<std::string>& tries);

/// Settings that --tune tries beside a candidate: what its first report advises, and no huge pages.
/// \param lines  "NAME=VALUE" by what the candidate is called for it
std::vector<Candidate> tuned(const Candidate& base, bool is_first,
                             const std::vector<std::pair<std::string, std::string>>& lines);

/// "SIGTERM", "TERM" or "15". \throws Error (kUsage)
int parse_stop_signal(const std::string& word);

/// \throws Error (kUsage) if the parts do not fit together
void check_plan(const Plan& plan);

}  // namespace mallard::cli::compare
