// SPDX-License-Identifier: Apache-2.0
// The heap in address order, in a bounded number of cells: what of each is in memory, live and holes, and the
// call site that pins most of it, as far as samples tell. It listens to a census on its way to whom it is
// for. Context: reporter.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "heaps/census.hpp"
#include "report/divide/sampled_blocks.hpp"
#include "report/model/heap_cells.hpp"

namespace mallard::report {

class HeapMap {
 public:
  static constexpr std::uint32_t kMostCells = 16384;

  /// Chooses the cells: those that hold something, of the smallest power of two of bytes, 4 KiB at least,
  /// that does not make too many. \param resident  the heap's memory, ascending; \param blocks  sampled,
  /// ascending; they must stay \return false if memory is out: there is no map then
  bool begin(Arena& arena, std::span<const AddressRange> resident,
             std::span<const SampledBlock> blocks) noexcept;

  /// Passes units on to `to`, whom the census is for.
  void pass_on(void (*to)(const heaps::Unit& unit, void* opaque), void* opaque) noexcept {
    next_ = to;
    next_opaque_ = opaque;
  }
  static void on_unit(const heaps::Unit& unit, void* self) noexcept {
    auto* map = static_cast<HeapMap*>(self);
    if (map->next_) map->next_(unit, map->next_opaque_);
    map->add(unit);
  }

  void add(const heaps::Unit& unit) noexcept;
  /// Notes a unit whose blocks were not looked at.
  void leave_out(std::uintptr_t begin, std::uintptr_t end) noexcept;
  /// Adds live bytes and holes of a unit, evenly over the memory of its cells that is resident.
  void count(std::uintptr_t begin, std::uintptr_t end, double live, double holes) noexcept;
  /// Notes that the block [begin, end) pins `bytes` for its site.
  void claim(std::uintptr_t begin, std::uintptr_t end, std::uint32_t site, double bytes) noexcept;
  /// Begins anew: a census that broke off does not count.
  void clear() noexcept;
  /// Ends the map after the last unit: nothing claims more than is in memory.
  void limit_to_resident() noexcept;

  std::uint64_t cell_bytes() const noexcept { return std::uint64_t{1} << shift_; }
  std::span<const HeapStretch> stretches() const noexcept { return stretches_; }
  std::span<const HeapCell> cells() const noexcept { return cells_; }
  /// True if units were met, so that live bytes and holes mean something.
  bool divided() const noexcept { return divided_; }
  HeapCells plain() const noexcept { return {cell_bytes(), stretches_, cells_, divided_}; }

 private:
  template <class Visit>
  void for_each_cell(std::uintptr_t begin, std::uintptr_t end, Visit visit) noexcept;
  std::size_t stretch_at(std::uint64_t key) noexcept;
  void claim_blocks(const heaps::Unit& unit) noexcept;

  int shift_ = 12;
  std::span<HeapStretch> stretches_;
  std::span<HeapCell> cells_;
  std::span<const SampledBlock> blocks_;
  BlockFinder finder_;
  std::size_t stretch_hint_ = 0;
  void (*next_)(const heaps::Unit& unit, void* opaque) = nullptr;
  void* next_opaque_ = nullptr;
  bool divided_ = false;
};

/// A map that lives as long as the arena; without cells where there is no memory for them. \return nullptr if
/// memory is out
HeapMap* begin_heap_map(Arena& arena, std::span<const AddressRange> resident,
                        std::span<const SampledBlock> blocks) noexcept;

}  // namespace mallard::report
