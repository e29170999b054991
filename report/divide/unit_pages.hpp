// SPDX-License-Identifier: Apache-2.0
// The pages in memory, and which of them units of the census keep there: each page counts once, for the first
// unit on it. Context: reporter.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "heaps/census.hpp"
#include "report/facts/huge_tails.hpp"
#include "report/facts/residency.hpp"

namespace mallard::report {

constexpr std::uintptr_t page_of(std::uintptr_t address) noexcept { return address & ~(kPageBytes - 1); }
constexpr std::uintptr_t page_end_of(std::uintptr_t address) noexcept {
  return align_up(address, kPageBytes);
}

/// What of the heap's holes and live blocks is worth knowing besides, in bytes.
struct NotedFree {
  double ownerless_holes = 0;             ///< on pages of mimalloc that no thread owns
  double live_zeros = 0, hole_zeros = 0;  ///< zeros on huge pages, as far as these were looked at
};

class UnitPages {
 public:
  explicit UnitPages(std::span<const ResidentRun> runs) noexcept : runs_(runs) {}
  /// \return false if memory is out
  bool begin(Arena& arena) noexcept;

  /// Bytes of [begin, end) that are in memory.
  std::uint64_t resident(std::uintptr_t begin, std::uintptr_t end) noexcept;
  /// Resident bytes of the pages that a unit touches and no unit before it.
  std::uint64_t pin(std::uintptr_t begin, std::uintptr_t end) noexcept;
  /// Notes metadata, which counts by bytes. Whether it lies on a page with blocks is found out at the end.
  void note_metadata(std::uintptr_t begin, std::uintptr_t end) noexcept;

  /// Parts of huge pages that hold only zeros (huge_tails.hpp); they must stay.
  void know_zeros(std::span<const AddressRange> zeros) noexcept { zeros_ = zeros; }
  /// Notes what is known of the free memory of a unit, and its zeros: they are first what is free.
  void note_free(const heaps::Unit& unit, double free_bytes) noexcept;
  const NotedFree& noted() const noexcept { return noted_; }

  double metadata() const noexcept { return metadata_; }  ///< noted and in memory
  /// Resident bytes of the metadata that lie on pages with at least one block: such pages are pinned as a
  /// whole.
  double pinned_metadata() const noexcept;

 private:
  struct Page {
    bool pinned;
    std::uint16_t metadata_bytes;
  };

  std::uint64_t all_bytes() const noexcept {
    return runs_.empty() ? 0 : runs_.back().before + (runs_.back().end - runs_.back().begin);
  }
  std::size_t run_at(std::uintptr_t address) noexcept;
  Page* page_at(std::uintptr_t address) noexcept;
  std::uint64_t pin_shared(std::uintptr_t page) noexcept;

  std::span<const ResidentRun> runs_;
  Page* pages_ = nullptr;  ///< those in memory, in order; only those that units share are written
  std::size_t run_hint_ = 0;
  double metadata_ = 0;
  std::span<const AddressRange> zeros_;
  NotedFree noted_;
};

}  // namespace mallard::report
