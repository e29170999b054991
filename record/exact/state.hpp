// SPDX-License-Identifier: Apache-2.0
// What the writing and the reading half of the exact books share.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>

namespace mallard::record {

/// What happens rarely is counted here, by all threads.
struct ExactOdd {
  std::atomic<std::uint64_t> unknown_frees, missed_frees, unbooked;

  void clear() noexcept {
    for (auto* count : {&unknown_frees, &missed_frees, &unbooked}) count->store(0, std::memory_order_relaxed);
  }
};
extern ExactOdd g_exact_odd;

}  // namespace mallard::record
