// SPDX-License-Identifier: Apache-2.0
// The few largest of many, without memory for all of them.
#pragma once

#include <algorithm>
#include <span>

namespace mallard::report {

/// Keeps the `kMost` items with the largest keys, largest first; of equal keys the one that came first.
template <typename Item, int kMost>
class Largest {
 public:
  void add(double key, const Item& item) noexcept {
    int at = count_;
    while (at > 0 && keys_[at - 1] < key) --at;
    if (at == kMost) return;
    count_ = std::min(count_ + 1, kMost);
    std::copy_backward(keys_ + at, keys_ + count_ - 1, keys_ + count_);
    std::copy_backward(items_ + at, items_ + count_ - 1, items_ + count_);
    keys_[at] = key;
    items_[at] = item;
  }
  std::span<const Item> all() const noexcept { return {items_, static_cast<std::size_t>(count_)}; }

 private:
  double keys_[kMost] = {};
  Item items_[kMost] = {};
  int count_ = 0;
};

}  // namespace mallard::report
