// SPDX-License-Identifier: Apache-2.0
// Globals of mallard by name, so that the `mallard` command can adopt those of a process that it looks at: it
// has the same code, copies their values into its own globals, and then reads them as the library does. A
// file that owns a global which is to be adopted names it by MALLARD_PART, and has a function that adopts
// what a plain copy does not give (tables behind pointers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/process_memory.hpp"

namespace mallard {

struct Part {
  char name[24];
  const void* at;
  std::uint64_t bytes;
};

/// Names a global; at namespace scope, where it can be seen. The table costs no instruction at start.
#define MALLARD_PART(identifier, global)                                                                    \
  __attribute__((section("mallard_parts"), used,                                                            \
                 aligned(alignof(::mallard::Part)))) constinit const ::mallard::Part part_of_##identifier { \
#identifier, &(global), sizeof(global)                                                                  \
  }

/// The parts of this program.
struct OwnParts {
  const Part *begin, *end;
};
OwnParts own_parts() noexcept;

/// The parts of another process, which runs the same build. Context: offline.
class OtherParts {
 public:
  /// \param at, count  its table
  OtherParts(const ProcessMemory& process, std::uintptr_t at, std::uint64_t count) noexcept;

  /// Each part of ours is there and as large: what is read means what it means here.
  bool are_ours() const noexcept;
  const ProcessMemory& process() const noexcept { return process_; }

  /// Copies a part that this program has not. \return false where there is none of that size
  template <class T>
  bool get(std::string_view name, T* to) const noexcept {
    const std::uintptr_t at = find(name, sizeof *to);
    return at != 0 && process_.copy(to, at, sizeof *to);
  }

  /// Copies the other's value over ours.
  template <class T>
  bool adopt(T& ours) const noexcept {
    return copy_of(ours, &ours);
  }
  /// Copies it to another place. \param to  sizeof(ours) bytes
  template <class T>
  bool copy_of(const T& ours, void* to) const noexcept {
    const std::uintptr_t at = find(&ours);
    return at != 0 && process_.copy(to, at, sizeof ours);
  }
  /// Copies only its pages that are in memory: for large arrays of zeros.
  template <class T>
  bool adopt_sparse(T& ours) const noexcept {
    const std::uintptr_t at = find(&ours);
    return at != 0 && copy_in_memory(&ours, at, sizeof ours);
  }
  /// Copies what is in memory, or may be in swap, of [from, from + bytes); the rest of `to` stays as it is.
  bool copy_in_memory(void* to, std::uintptr_t from, std::size_t bytes) const noexcept;
  bool may_be_swapped() const noexcept { return has_swapped_; }
  /// Bytes of whole pages that are in memory.
  std::uint64_t resident_bytes(std::uintptr_t from, std::size_t bytes) const noexcept;

 private:
  static constexpr std::size_t kMost = 96;

  /// \return where the other process has it; 0 = nowhere, or it is of another size
  std::uintptr_t find(const void* ours) const noexcept;
  std::uintptr_t find(std::string_view name, std::size_t bytes) const noexcept;

  const ProcessMemory& process_;
  Part parts_[kMost];
  std::size_t count_ = 0;
  bool has_swapped_ = true;
};

}  // namespace mallard
