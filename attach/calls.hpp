// SPDX-License-Identifier: Apache-2.0
// The functions that stand in the place of the process's own: each records what the duties ask for, and calls
// the very function that it stands for, with the same arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mallard::attach {

/// The object whose function a name means.
enum class Whose : std::uint8_t {
  kAllocator,     ///< that of the object that has malloc, which must have it
  kAllocatorToo,  ///< that of the same object, where it has one
  /// That of the same object, unless it is libc: what others call so reaches malloc by slots of their own.
  kOwnAllocator,
  kLoader,  ///< the first one, which is the loader's
};

struct Redirection {
  const char* name;
  void* to;     ///< what stands in its place
  void** real;  ///< where that finds the process's own
  Whose whose;
};

/// All functions that are redirected.
std::span<const Redirection> redirections() noexcept;

/// The process's own malloc_usable_size; may be nullptr. \context init
void set_usable_size(std::size_t (*function)(void*)) noexcept;

}  // namespace mallard::attach
