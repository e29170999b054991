// SPDX-License-Identifier: Apache-2.0
// What base/published.hpp describes, in this process. \context init, reporter
#pragma once

#include "base/growing.hpp"
#include "base/published.hpp"

extern "C" {
extern mallard::Published mallard_published __attribute__((visibility("hidden")));
}

namespace mallard::record {

template <typename T, std::size_t kCapacity, std::size_t kFirst>
Published::Rows published_rows(GrowingArray<T, kCapacity, kFirst>& array) noexcept {
  return {address_of(array.first()), address_of(array.data()), array.first_count(), sizeof(T)};
}

}  // namespace mallard::record
