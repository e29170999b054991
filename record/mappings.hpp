// SPDX-License-Identifier: Apache-2.0
// Who mapped which private anonymous memory: a list of address ranges, each with the address of the code that
// called mmap. Bounded. An event that cannot be noted is dropped and counted; nobody waits for long.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/parts.hpp"

namespace mallard::record {

/// Memory that one caller mapped. Neighbours with the same caller are one interval.
struct MappedInterval {
  std::uintptr_t begin, end;
  std::uintptr_t caller;  ///< return address of the call of mmap
};

inline constexpr std::uint32_t kMaxMappings = 1u << 16;

/// What an event took out of the log, so that it can be put back if the system call fails.
struct RemovedMappings {
  static constexpr std::uint32_t kMost = 8;
  MappedInterval intervals[kMost];
  std::uint32_t count;  ///< may exceed kMost: then only the first are here
};

/// [begin, begin + bytes) is anonymous memory of `caller` now, whatever was noted of it before.
/// \context hot; keeps errno
void on_map(std::uintptr_t begin, std::size_t bytes, std::uintptr_t caller) noexcept;

/// Forgets [begin, begin + bytes). Comes before the system call, because the kernel may give the addresses to
/// another thread at once. \param removed what was there; may be nullptr \context hot; keeps errno
void on_unmap(std::uintptr_t begin, std::size_t bytes, RemovedMappings* removed) noexcept;

/// Puts back what on_unmap() took: the system call failed.
void on_unmap_failed(const RemovedMappings& removed) noexcept;

/// Copies intervals that end behind `from`, ascending. \return how many were copied, at most `room`
/// \context reporter
std::uint32_t copy_mappings(std::uintptr_t from, MappedInterval* to, std::uint32_t room) noexcept;

/// The program gave back `bytes` by MADV_FREE. \context hot
void on_lazy_free(std::size_t bytes) noexcept;
std::uint64_t lazy_free_bytes() noexcept;  ///< of all such calls so far \context reporter

/// Events that could not be noted: the log was busy or full. \context reporter
std::uint64_t unlogged_mappings() noexcept;
/// Becomes a copy of another process's log. \context offline
bool mappings_adopt(const OtherParts& parts) noexcept;
std::uint64_t mappings_own_bytes() noexcept;  ///< what is in memory of the log \context reporter

/// Hold the log around a fork, whoever calls it: a handler that interrupted the log leaves its lock alone.
void mappings_before_fork() noexcept;
void mappings_after_fork_in_parent() noexcept;
void mappings_after_fork_in_child() noexcept;

}  // namespace mallard::record
