// SPDX-License-Identifier: Apache-2.0
// The calls of an allocator inside the executable that goes on serving (ALLOC_EMBEDDED=observe): what stands
// behind each of its entry points.
#pragma once

#include <cstddef>

#include "base/text.hpp"
#include "base/process_memory.hpp"
#include "inside/block_calls.hpp"
#include "inside/entry_points.hpp"

namespace mallard::inside {

using UsableSize = std::size_t(void*);

/// An entry point. Read-only once the entries lead to the watcher.
struct Observed {
  const void* original;  ///< does what the entry did; first member: the watcher's code jumps there
  UsableSize* usable_size;  ///< nullptr: the allocator does not say how large blocks are
  BlockCall call;
};

/// The allocator that is observed: how it is called past the watchers. Functions that it lacks are nullptr.
struct ObservedAllocator {
  EmbeddedKind kind;
  AddressRange code;  ///< its functions; empty = nothing is observed
  std::string_view prefix;  ///< of its functions' names
  void* (*malloc)(std::size_t);
  void (*free)(void*);
  UsableSize* usable_size;
  int (*mallctl)(const char*, void*, std::size_t*, void*, std::size_t);
};

/// \context any, after init
const ObservedAllocator& observed_allocator() noexcept;
/// Adds its version, if its code or texts tell it. \context reporter: reads the executable's file
void find_observed_version(TextBuffer& to) noexcept;
/// What does the work of a function: itself, unless that is an entry that is observed. \context any, after init
void* past_watcher(void* function) noexcept;

}  // namespace mallard::inside
