// SPDX-License-Identifier: Apache-2.0
// Sorted, disjoint address intervals in leaves of bounded size, so that an insertion moves a few KiB at most.
// Not synchronised. Memory comes from a reservation that opens step by step.
#pragma once

#include <cstdint>

#include "base/growing.hpp"
#include "record/mappings.hpp"

namespace mallard::record {

class IntervalList {
 public:
  constexpr IntervalList() noexcept = default;

  /// Makes the interval's addresses the caller's; what overlaps is cut. \return false if there is no room
  bool insert(const MappedInterval& interval) noexcept;
  /// Cuts [begin, end) out. \return false if a split found no room: the part behind is forgotten
  bool erase(std::uintptr_t begin, std::uintptr_t end, RemovedMappings* removed) noexcept;
  /// Copies intervals that end behind `from`, ascending. \return how many
  std::uint32_t copy(std::uintptr_t from, MappedInterval* to, std::uint32_t room) noexcept;

  /// Becomes a copy of another process's list, which may change meanwhile: what overlaps then is cut.
  /// \return false if it cannot be read \context offline
  bool adopt(const OtherParts& parts) noexcept;

  std::uint64_t own_bytes() noexcept;

 private:
  static constexpr std::uint32_t kItems = 128, kFew = 96, kLeaves = 3 * kMaxMappings / kItems;
  struct Leaf {
    MappedInterval items[kItems];
  };
  struct Place {
    std::uint16_t leaf, count;
  };
  struct Position {
    std::uint32_t place, item;
  };

  Leaf& leaf(std::uint32_t place) noexcept { return leaves_[order_[place].leaf]; }
  MappedInterval& at(Position p) noexcept { return leaf(p.place).items[p.item]; }
  bool at_end(Position p) const noexcept { return p.place >= used_; }
  Position next(Position p) const noexcept;
  /// The first interval that ends behind `address`.
  Position find(std::uintptr_t address) noexcept;
  bool insert_before(Position p, const MappedInterval& interval) noexcept;
  Position remove(Position p) noexcept;
  bool new_leaf(std::uint32_t place) noexcept;
  void drop_leaf(std::uint32_t place) noexcept;
  bool split_leaf(std::uint32_t place) noexcept;
  void join_with_next(std::uint32_t place) noexcept;

  GrowingArray<Leaf, kLeaves, 2> leaves_;
  Place order_[kLeaves] = {};          ///< leaves in use, by address; behind them those that are free again
  std::uint32_t used_ = 0, made_ = 0;  ///< leaves in use; leaves ever used
};

}  // namespace mallard::record
