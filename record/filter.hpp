// SPDX-License-Identifier: Apache-2.0
// How free tells a sampled block from the other 99.9 %: one byte per granule of address space, folded,
// that counts the samples starting there. No lock, no false negatives; a false positive costs a look into
// the live table. A granule is larger than most blocks on purpose: the filter stays small, and frees of
// neighbours read the same cache line of it.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/attributes.hpp"
#include "arch/hot_exports.h"

extern "C" __attribute__((visibility("hidden"))) std::uint8_t mallard_filter[MALLARD_FILTER_SLOTS];

namespace mallard::record {

inline std::uint32_t filter_slot(std::uintptr_t address) noexcept {
  return static_cast<std::uint32_t>(address * MALLARD_FILTER_SCALE) >>
         (MALLARD_FILTER_SHIFT + MALLARD_FILTER_SCALE_BITS);
}

/// \return false if no sample starts at `p` \context hot
inline bool may_be_tracked(const void* p) noexcept {
  return MALLARD_UNLIKELY(__atomic_load_n(&mallard_filter[filter_slot(address_of(p))], __ATOMIC_RELAXED) !=
                          0);
}

inline constexpr std::uint8_t kStuck = 255;  ///< the count was lost; stays set for good

/// Callers hold the lock of the slot's shard in the live table, so that plain stores do.
inline void filter_add(std::uint32_t slot) noexcept {
  const std::uint8_t now = __atomic_load_n(&mallard_filter[slot], __ATOMIC_RELAXED);
  if (now != kStuck)
    __atomic_store_n(&mallard_filter[slot], static_cast<std::uint8_t>(now + 1), __ATOMIC_RELAXED);
}
inline void filter_remove(std::uint32_t slot) noexcept {
  const std::uint8_t now = __atomic_load_n(&mallard_filter[slot], __ATOMIC_RELAXED);
  if (now != kStuck)
    __atomic_store_n(&mallard_filter[slot], static_cast<std::uint8_t>(now - 1), __ATOMIC_RELAXED);
}
/// Marks `p` for good: the boot arena's blocks, which every free must recognise. \context init
inline void filter_stick(const void* p) noexcept {
  __atomic_store_n(&mallard_filter[filter_slot(address_of(p))], kStuck, __ATOMIC_RELAXED);
}

}  // namespace mallard::record
