// SPDX-License-Identifier: Apache-2.0
// Large blocks in the thread caches of jemalloc 5.1 and 5.2, which these leave out of their own figure: they
// look for them behind the end of the table. An arena has a ring of the caches of its threads; the arena lies
// at the beginning of its first block of jemalloc's own memory.
#pragma once

#include <span>

#include "heaps/heap_reader.hpp"

namespace mallard::heaps {

class JemallocCaches {
 public:
  /// \param class_bytes    of all size classes
  /// \param small_classes  how many of them are small
  /// \param cached         how many of them, small and large, threads keep blocks of
  JemallocCaches(const CensusRequest& request, std::span<const std::uint64_t> class_bytes,
                 unsigned small_classes, unsigned cached) noexcept
      : process_(request.process),
        heap_(request.heap),
        resident_(request.resident),
        class_bytes_(class_bytes),
        small_classes_(small_classes),
        cached_(cached) {}

  /// Bytes of large blocks that the threads of the arena keep; 0 if no arena begins in the block at `base`.
  std::uint64_t large_bytes(std::uintptr_t base) noexcept;

 private:
  struct Ring;
  bool is_in_heap(std::uintptr_t at) const noexcept;
  bool is_cache(std::uintptr_t at, Ring* to) noexcept;
  std::uint64_t large_bytes_in(std::uintptr_t bins) noexcept;

  const ProcessMemory& process_;
  std::span<const AddressRange> heap_;
  RangeCursor resident_;
  std::span<const std::uint64_t> class_bytes_;
  unsigned small_classes_, cached_;
};

}  // namespace mallard::heaps
