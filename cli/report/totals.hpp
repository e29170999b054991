// SPDX-License-Identifier: Apache-2.0
// What functions and modules hold together, over all call sites.
#pragma once

#include <string>
#include <vector>

#include "cli/report/profile.hpp"

namespace mallard::cli {

/// A site counts once for each function and module of its stack, however often that stands in it.
struct Total {
  std::string name, module;  ///< module is empty for a module's own total
  std::size_t sites = 0;
  report::SiteFigures<double> inclusive;  ///< of sites with it anywhere in their stacks
  report::SiteFigures<double> self;  ///< of sites that it called malloc for itself: innermost of their stacks
};

/// Most of the profile's measure first. Peaks of several sites do not add up: they are left at 0.
std::vector<Total> totals_by_function(const Profile& profile);
std::vector<Total> totals_by_module(const Profile& profile);

/// The sections of the text.
/// \param most  rows of each; 0 = 20 functions, 10 modules
std::string totals_text(const Profile& profile, std::size_t most);
/// A list of totals for JSON.
nlohmann::ordered_json totals_json(const Profile& profile, const std::vector<Total>& totals);

}  // namespace mallard::cli
