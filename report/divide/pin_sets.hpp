// SPDX-License-Identifier: Apache-2.0
// Sums over the units of the census by the set of call sites that pin them, in bounded memory: when the table
// is full, the smaller half of the sets becomes one sum. Context: reporter.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "report/model/record_copy.hpp"

namespace mallard::report {

/// The sites with live blocks on one unit.
class UnitSites {
 public:
  void add(std::uint32_t site) noexcept;
  /// A block that no call site is known of.
  void add_unknown() noexcept { unknown_ = true; }

  bool has_unknown() const noexcept { return unknown_; }
  bool is_crowded() const noexcept { return count_ > kMaxPinSites; }
  /// Ascending, each once; not where is_crowded().
  std::span<const std::uint32_t> all() const noexcept { return {sites_, static_cast<std::size_t>(count_)}; }

 private:
  std::uint32_t sites_[kMaxPinSites] = {};
  int count_ = 0;
  std::uint32_t last_ = UINT32_MAX;
  bool unknown_ = false;
};

class PinSets {
 public:
  explicit PinSets(Arena& arena) noexcept : arena_(arena) {}

  /// Adds a unit. What one site pins alone goes to its share, too.
  /// \param holes   free memory, of `bytes`
  /// \param shares  indexed by site
  void add(const UnitSites& by, double bytes, double holes, std::span<ExactShare> shares) noexcept;

  /// After the last unit. \return false if memory is out
  bool sum_up(std::span<const ExactShare> shares, Pins* out) noexcept;

 private:
  PinSet* find_or_add(std::span<const std::uint32_t> sites) noexcept;
  void drop_smaller_half() noexcept;

  Arena& arena_;
  PinSet* sets_ = nullptr;
  std::uint16_t* slots_ = nullptr;  ///< index of a set + 1; 0 = free
  std::uint32_t count_ = 0;
  Pins sums_;
  bool out_of_memory_ = false;
};

}  // namespace mallard::report
