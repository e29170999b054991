// SPDX-License-Identifier: Apache-2.0
// --fail-on: what a report, or the change between two, must not show. Parsed strictly, judged within the
// error.
//
//   conditions  condition{,condition}      met if one of them is
//   condition   any | VERDICT | inconsistent | FIGURE>BOUND
//   FIGURE      rss | counts | unexplained | lost | a cause of the ledger | site.NAME, a figure of the site that has most of
//   it BOUND       a size (500K, 10M, 2G) or a percentage of RSS (5%); for figures that count blocks a
//   number.
//               With a + before it: growth between two reports, the percentage being of the earlier figure.
#pragma once

#include <string>
#include <vector>

#include "cli/diff/changes.hpp"
#include "cli/error.hpp"
#include "cli/report/report_file.hpp"

namespace CLI {
class App;
}

namespace mallard::cli {

struct Condition {
  enum class Kind { kAnyVerdict, kVerdict, kInconsistent, kRss, kCounts, kUnexplained, kLost, kLine, kSite };
  std::string text;  ///< as it was given
  Kind kind;
  std::string subject;  ///< the verdict, the cause of the ledger, or the figure of sites
  const report::FigureFacts* figure = nullptr;  ///< of sites; for kSite alone

  bool is_count() const { return figure && !figure->is_bytes(); }
  double bound = 0;  ///< bytes, blocks or per cent
  bool is_percentage = false, is_growth = false;
};

struct Judgement {
  enum class State { kNotMet, kMet, kUnknown };
  State state = State::kNotMet;
  std::string why;  ///< with figures; empty for kNotMet
};

/// \param text  empty = no conditions \param of_two  whether growth can be asked for
/// \throws Error (kUsage) that names the condition and what is expected
std::vector<Condition> parse_conditions(const std::string& text, bool of_two);

/// Adds --fail-on to a subcommand. \param when  behind "End with status 1 if"
void add_fail_on(CLI::App* command, std::string* conditions, const std::string& when);

/// A figure that is an estimate counts with the low end of its 95 % interval.
Judgement judge(const Condition& condition, const ReportFile& report);
/// Growth must also be more than chance alone would show; what asks for no growth is asked of `after`.
Judgement judge(const Condition& condition, const ReportFile& before, const ReportFile& after,
                const Changes& changes);

/// Says each condition that is met, in one line on standard error.
/// \return kFinding if there is one \throws Error (kUnreadable) if none is, and some cannot be judged
ExitStatus announce(const std::vector<Condition>& conditions, const std::vector<Judgement>& judgements);

/// All of the above for one report; kDone where there are no conditions.
ExitStatus fail_on(const std::vector<Condition>& conditions, const ReportFile& report);

/// Met where a check fails that the report makes of its own figures.
inline constexpr const char* kInconsistentWord = "inconsistent";

/// What --help says of the grammar.
std::string conditions_help();

}  // namespace mallard::cli
