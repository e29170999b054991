// SPDX-License-Identifier: Apache-2.0
// The screens of mallard top as lines of text, for a terminal and for batch mode alike.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/top/model.hpp"
#include "cli/top/screen_parts.hpp"

namespace mallard::cli {

/// Everything that a screen shows besides the model's figures.
struct TopView {
  int pid = 0;
  std::string name, backend, clock;  ///< clock: "12:34:56"
  std::string ledger;                ///< what the last ledger says, or how to get one
  std::string message;               ///< of the moment, or empty
  TopSort sort = TopSort::kLive;
  std::size_t selected = 0, first = 0;  ///< rows
  bool selects = false;                 ///< batch mode selects nothing
  /// The function that names a site, and those who called it.
  std::function<std::vector<std::string>(std::uint32_t site)> names;
  /// The lines of its whole stack, as a report has them.
  std::function<std::vector<std::string>(std::uint32_t site)> stack;
};

inline constexpr std::size_t kTopHeaderLines = 8;

/// `height` 0: as many lines as there are rows. \param rows  sorted
std::vector<Line> main_screen(const TopView& view, const TopModel& model, const std::vector<TopRow>& rows,
                              std::size_t width, std::size_t height);
std::vector<Line> stack_screen(const TopView& view, const TopRow& row, std::size_t width, std::size_t height);
std::vector<Line> help_screen(std::size_t width);

}  // namespace mallard::cli
