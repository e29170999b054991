// SPDX-License-Identifier: Apache-2.0
// What the screens of mallard top have in common: lines of text of a width, and the kernel's figures in words.
#pragma once

#include <cstddef>
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

/// The first line. \param what  is recorded, and of what
std::string title_text(const Vitals& vitals, int pid, const std::string& what, const std::string& clock,
                       std::size_t width);
std::string resident_text(const Vitals& vitals);
/// \param rates  nullptr after the first reading
std::string process_text(const Vitals& vitals, const VitalRates* rates);
/// "1.50 MiB/s"
std::string rate_text(double bytes);

}  // namespace mallard::cli
