// SPDX-License-Identifier: Apache-2.0
// What a redirected call has to do. The word lies on a page that the kernel gives to a forked child as zeros
// (MADV_WIPEONFORK): in a child every call is handed on from its first instruction on, and none meets a lock
// that a thread of the parent's held.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/attributes.hpp"
#include "record/duties.hpp"

namespace mallard::attach {

using record::kCounts, record::kBooksExactly, record::kUnbooksExactly;

struct alignas(kPageBytes) WipedByFork {
  std::atomic<std::uint32_t> duties;
  char rest[kPageBytes - sizeof(std::atomic<std::uint32_t>)];
};
/// Code of the architecture knows its word by that name.
extern WipedByFork wiped_by_fork __asm__("mallard_duties") __attribute__((visibility("hidden")));

/// \context hot
inline std::uint32_t duties() noexcept { return wiped_by_fork.duties.load(std::memory_order_relaxed); }

}  // namespace mallard::attach
