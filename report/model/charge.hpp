// SPDX-License-Identifier: Apache-2.0
// What the process costs whoever pays for its memory, from the kernel's own figures.
#pragma once

#include <algorithm>

#include "report/model/model.hpp"

namespace mallard::report {

/// Memory that counts: what a container is charged for and cannot shed without swap.
constexpr std::uint64_t memory_that_counts(const Rss& rss, std::uint64_t locked_files) noexcept {
  return rss.anonymous - std::min(rss.anonymous, rss.lazily_freed) + rss.shared_memory +
         std::min(locked_files, rss.file);
}

/// Makes the figures that follow from the kernel's own; those that need a look at single pages are left at
/// "not known".
inline Charge charge_of(const Rss& rss) noexcept {
  Charge charge{};
  charge.proportional_why_not = charge.sharing_why_not = "/proc is not readable";
  if (!rss.known) return charge;
  charge.known = true;
  charge.lazily_freed_known = rss.lazily_freed_known;
  charge.locked_files_known = rss.locked == 0;
  charge.counts = memory_that_counts(rss, 0);
  charge.proportional = rss.proportional;
  charge.proportional_why_not =
      rss.walked ? nullptr : "adding it up would keep the process from mapping memory";
  charge.sharing_why_not = "the kernel was not asked";
  return charge;
}

}  // namespace mallard::report
