// SPDX-License-Identifier: Apache-2.0
// The report for people: written by the library, and by the command from the JSON report.
#pragma once

#include "report/model/model.hpp"
#include "report/write/sink.hpp"

namespace mallard::report {

/// Tables of call sites go by the figure that orders them.
using Table = SiteFigure;

/// A brief report has at most so many lines.
inline constexpr std::size_t kBriefLines = 120;
/// Conclusions never take more than one screen; what does not fit comes later, in full.
inline constexpr std::size_t kConclusionLines = 24;

/// What is shown. The library's report is what stands here.
struct TextLayout {
  bool in_short = true;         ///< ends with the verdict; the command shows it last on terminals by itself
  bool brief = false;          ///< conclusions, the ledger and the leading call sites, in kBriefLines
  bool only_one = false;       ///< one table instead of all
  Table table = Table::kLive;  ///< which
  int sites = 0;               ///< of each table; 0 = 20, and 10 of what only exact mode counts
  int frames = 16;             ///< of each stack
};

void write_text(const Snapshot& snapshot, const TextLayout& layout, Sink& to) noexcept;

}  // namespace mallard::report
