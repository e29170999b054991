// SPDX-License-Identifier: Apache-2.0
// What only the thread that keeps it can give back: mimalloc's pages belong to threads, and a collection by
// another one does not reach them. After a purge each thread collects for itself, the next time that one of
// its allocations is sampled.
#pragma once

#include <atomic>
#include <cstdint>

namespace mallard::backends {

struct Collection {
  /// Gives back what the calling thread keeps; nullptr: a purge reaches the memory of all threads. Outside of
  /// the allocator only.
  void (*own)() = nullptr;
  std::atomic<std::uint32_t> asked{0};  ///< purges so far
  std::atomic<std::uint32_t> came{0};   ///< threads that have collected since the last one
};

extern constinit Collection collection __attribute__((visibility("hidden")));

}  // namespace mallard::backends
