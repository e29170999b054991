// SPDX-License-Identifier: Apache-2.0
// What the screens of mallard top have in common: lines of text of a width, and the kernel's figures in words.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cli/top/vitals.hpp"

namespace mallard::cli {

enum class LineStyle { kPlain, kHeading, kSelected, kGrowing, kShrinking };

struct Line {
  std::string text;  ///< no wider than the screen
  LineStyle style = LineStyle::kPlain;
};

/// Cut after so many columns.
std::string cut(std::string text, std::size_t columns);
/// At the right of so many columns.
std::string right(const std::string& text, std::size_t columns);
/// "left ... right" over the whole width, if both fit.
std::string spread(const std::string& left, const std::string& end, std::size_t width);

/// The lines above a list, the last of which names the columns.
std::vector<Line> head_lines(std::span<const std::string> head, std::size_t width);
/// A list below its head. `height` 0: as many lines as there are rows.
/// \param view  has `first`, `selected` and `selects` \param line_of  a row's
template <typename View, typename Row, typename LineOf>
std::vector<Line> list_screen(std::span<const std::string> head, const View& view, const std::vector<Row>& rows,
                              std::size_t width, std::size_t height, LineOf line_of) {
  std::vector<Line> lines = head_lines(head, width);
  const std::size_t room = height == 0 ? rows.size() : height > lines.size() ? height - lines.size() : 0;
  for (std::size_t i = view.first; i < rows.size() && i < view.first + room; ++i) {
    Line line = line_of(rows[i]);
    line.text = cut(line.text, width);
    if (view.selects && i == view.selected) line = {spread(line.text, "", width), LineStyle::kSelected};
    lines.push_back(line);
  }
  return lines;
}
/// Appends the lines of a text from `first` on, as far as they fit, and what leads back. \param fitted  one to the width
void add_scrolled(const std::vector<std::string>& text, std::size_t first, std::size_t width, std::size_t height,
                  const std::function<std::string(const std::string&)>& fitted, std::vector<Line>* lines);

/// The first line. \param what  is recorded, and of what
std::string title_text(const Vitals& vitals, int pid, const std::string& what, const std::string& clock,
                       std::size_t width);
std::string resident_text(const Vitals& vitals);
/// \param rates  nullptr after the first reading
std::string process_text(const Vitals& vitals, const VitalRates* rates);
/// "1.50 MiB/s"
std::string rate_text(double bytes);

}  // namespace mallard::cli
