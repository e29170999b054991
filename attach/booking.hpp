// SPDX-License-Identifier: Apache-2.0
// What a call that was redirected or watched does to the books. \context hot (slow path)
#pragma once

#include <cstddef>
#include <cstdint>

#include "arch/caller.hpp"
#include "attach/duties.hpp"
#include "record/exact/exact.hpp"
#include "record/record.hpp"

namespace mallard::attach {

/// What no allocator serves: such a request may have wrapped the countdown.
inline constexpr std::size_t kMaxRequestBytes = PTRDIFF_MAX;

/// \param usable_size  the allocator's; may be nullptr
inline void book(void* p, std::size_t bytes, bool sampled, const arch::Caller& caller,
                 std::size_t (*usable_size)(void*)) noexcept {
  if (p == nullptr) return;
  if (duties() & kBooksExactly) record::exact_alloc(p, bytes, caller);
  if (sampled) record::on_alloc(p, bytes, usable_size ? usable_size(p) : bytes, caller);
}

/// Whether a request of `bytes` is a sample. \param counted  the countdown has been charged, and ran out
inline bool is_drawn(std::size_t bytes, bool counted) noexcept {
  if (!(duties() & kCounts)) return false;
  if (MALLARD_UNLIKELY(bytes > kMaxRequestBytes)) {
    record::restart_countdown();
    return false;
  }
  return (counted || record::count(bytes)) && record::decide(bytes);
}

inline void forget(void* p) noexcept {
  if (record::may_be_tracked(p)) record::on_free(p);
  if (p && (duties() & kUnbooksExactly)) record::exact_release(p);
}

inline bool unbooks_exactly() noexcept { return duties() & kUnbooksExactly; }

}  // namespace mallard::attach
