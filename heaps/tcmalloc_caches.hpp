// SPDX-License-Identifier: Apache-2.0
// How gperftools' tcmalloc keeps free blocks for threads and between them. Facts from
// src/{thread_cache,central_freelist}.h of gperftools 2.8 to 2.18.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mallard::heaps {

inline constexpr std::size_t kTcmallocClasses = 128;

/// A ThreadCache begins with a FreeList for each class: its first block, its length, the size of its blocks.
inline constexpr std::size_t kListBytes = 32, kLengthInList = 8, kSizeInList = 24;
/// Behind them it has how many bytes they hold.
inline constexpr std::size_t kCacheTail = kTcmallocClasses * kListBytes;
inline constexpr std::uint32_t kMostCaches = 1 << 16;

/// The transfer cache of a class has slots, each with the first and the last block of a list; right behind them
/// it has how many are used.
inline constexpr std::uint64_t kTransferSlots = 64, kSlotBytes = 16;

}  // namespace mallard::heaps
