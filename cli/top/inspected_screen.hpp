// SPDX-License-Identifier: Apache-2.0
// What mallard top shows of a process without mallard, as lines of text: plain data in, text out.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/top/ledger_rows.hpp"
#include "cli/top/screen_parts.hpp"
#include "cli/top/vitals.hpp"

namespace mallard::cli {

/// Everything that a screen shows besides the rows.
struct InspectedView {
  int pid = 0;
  std::string clock;      ///< "12:34:56"
  std::string allocator;  ///< whose heap it is, with its version, or why the heap is not divided
  std::string ledger;     ///< how old it is, and its verdict
  std::string message;    ///< of the moment, or why there are no call sites
  Vitals vitals;
  VitalRates rates;
  bool has_rates = false;
  bool by_change = false;               ///< the order of the rows
  bool selects = false;                 ///< batch mode selects nothing
  std::size_t selected = 0, first = 0;  ///< rows; or lines of the inspection
};

/// `height` 0: as many lines as there are rows. \param rows  sorted
std::vector<Line> inspected_screen(const InspectedView& view, const LedgerRows& ledger,
                                   const std::vector<CauseRow>& rows, std::size_t width, std::size_t height);
/// The lines of an inspection as 'mallard inspect' prints it, from view.first on.
std::vector<Line> inspection_screen(const InspectedView& view, const std::vector<std::string>& text,
                                    std::size_t width, std::size_t height);
std::vector<Line> inspected_help(std::size_t width);

}  // namespace mallard::cli
