// SPDX-License-Identifier: Apache-2.0
// The live samples by address, for what goes through the heap. Context: reporter.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

namespace mallard::report {

struct SampledBlock {
  std::uintptr_t begin;
  std::uint64_t asked_bytes, usable_bytes;
  double weight;
  std::uint32_t site;
};

/// Finds blocks by address, quickly where addresses mostly ascend: it looks near the last one first.
class BlockFinder {
 public:
  BlockFinder() = default;
  /// \param blocks  ascending; they must stay
  explicit BlockFinder(std::span<const SampledBlock> blocks) noexcept : blocks_(blocks) {}

  /// The first block that ends behind `address`.
  std::size_t first_behind(std::uintptr_t address) noexcept {
    const auto end_of = [this](std::size_t i) { return blocks_[i].begin + blocks_[i].usable_bytes; };
    std::size_t i = hint_;
    if (i > 0 && end_of(i - 1) > address) i = blocks_.size();
    for (int step = 0; step < 4 && i < blocks_.size() && end_of(i) <= address; ++step) ++i;
    if (i >= blocks_.size() || end_of(i) <= address) {
      i = static_cast<std::size_t>(
          std::upper_bound(blocks_.begin(), blocks_.end(), address,
                           [](std::uintptr_t a, const SampledBlock& b) { return a < b.begin; }) -
          blocks_.begin());
      if (i > 0 && end_of(i - 1) > address) --i;
    }
    hint_ = i;
    return i;
  }

 private:
  std::span<const SampledBlock> blocks_;
  std::size_t hint_ = 0;
};

}  // namespace mallard::report
