// SPDX-License-Identifier: Apache-2.0
// The heap of musl's malloc (mallocng, in musl 1.2.1 and newer), found by its form in another process.
//
// Blocks of one size class lie in a group: a header and up to 32 slots. A group is a mapping of its own, or
// lies in a slot of a larger group. What describes it (which slots are free) is kept apart, in tables of 4
// KiB with 101 entries; the group points back to its entry, and a table begins with a secret that all tables
// share. Facts from musl's sources (src/malloc/mallocng/meta.h). Context: offline.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include <bit>

#include "heaps/census.hpp"

namespace mallard::outside {

struct MuslGroup {
  std::uintptr_t begin, end;
  std::uint64_t slot_bytes;
  std::uint32_t live_mask;  ///< slots that hold a live block, and no group
  std::uint32_t outermost;  ///< index of the group around all others that this one lies in, or its own
  bool is_mapped;           ///< a mapping of its own

  std::uint32_t live() const noexcept { return static_cast<std::uint32_t>(std::popcount(live_mask)); }
};

class MuslHeap {
 public:
  /// Looks for tables in pages that are in memory. \param resident  ascending; memory of nobody else
  /// \return true if there are any
  bool find(Arena& arena, const ProcessMemory& process, std::span<const AddressRange> resident) noexcept;

  /// What musl has mapped for blocks and tables: ascending, page-aligned, joined.
  std::span<const AddressRange> memory() const noexcept { return memory_; }

  /// The groups that are mappings, with the blocks of all groups in them: musl gives such a one back as a
  /// whole only. Live bytes are those of slots without their 4 bytes of header, so that rounding is included.
  heaps::CensusResult census(const heaps::CensusRequest& request) const noexcept;

 private:
  struct Table;
  bool read_table(const ProcessMemory& process, std::uintptr_t at, Growing<MuslGroup>& groups) noexcept;
  void nest() noexcept;
  void collect_memory(Arena& arena) noexcept;

  std::uint64_t secret_ = 0;  ///< 0 = no table was found yet
  std::uint64_t reads_ = 0, raced_ = 0;
  std::span<MuslGroup> groups_;  ///< by address, outer ones first
  std::span<std::uintptr_t> tables_;
  std::span<const AddressRange> memory_;
};

}  // namespace mallard::outside
