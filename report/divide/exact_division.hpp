// SPDX-License-Identifier: Apache-2.0
// Shares of resident memory where every block is on the books: each is charged resident(unit) * its
// usable bytes / live bytes of the unit. Nothing is estimated. Blocks are read from the books unit by unit
// and not kept. Without a census, pages of 4 KiB are the units. Context: reporter.
#pragma once

#include <cstdint>
#include <span>

#include "heaps/census.hpp"
#include "record/exact/exact.hpp"
#include "report/divide/pin_sets.hpp"
#include "report/divide/sampled_division.hpp"
#include "report/divide/unit_pages.hpp"
#include "report/model/record_copy.hpp"

namespace mallard::report {

class HeapMap;

/// Where live blocks are read from; a parameter, so that tests can bring their own.
struct LiveBlocks {
  using Visit = void (*)(const record::ExactLive&, void* opaque);
  void (*for_each)(std::uintptr_t begin, std::uintptr_t end, Visit visit, void* opaque);
  /// What a block is that is not booked and that the allocator holds to be live. By chance: free, on a list
  /// that the census does not know, because the books are complete.
  Beyond beyond;
};

/// What a block of `asked` bytes can use, and its header, where no census tells.
struct BlockSize {
  std::uint64_t (*usable)(std::uint64_t asked);  ///< nullptr: as asked
  std::uint64_t header_bytes;
};
/// The sizes of glibc's blocks: chunks are multiples of 16 bytes, 32 at least, of which 8 are the header.
BlockSize glibc_block_size() noexcept;

class ExactDivision {
 public:
  ExactDivision(Arena& arena, std::span<const ResidentRun> runs, const LiveBlocks& live,
                const BlockSize& size) noexcept
      : arena_(arena), pages_(runs), pins_(arena), live_(live), size_(size) {}

  /// \param sites  indexed by site \return false if memory is out
  bool begin(std::span<ExactShare> sites) noexcept;

  /// Has units and blocks drawn into a map, too.
  void draw(HeapMap* map) noexcept { map_ = map; }

  void know_zeros(std::span<const AddressRange> zeros) noexcept { pages_.know_zeros(zeros); }

  /// What the census calls.
  static void on_unit(const heaps::Unit& unit, void* self) noexcept {
    static_cast<ExactDivision*>(self)->add(unit);
  }
  static const heaps::ExactBlocks* exact_blocks() noexcept;
  void add(const heaps::Unit& unit) noexcept;
  heaps::Booked look_up(std::uintptr_t block) noexcept;
  void add_block(std::uintptr_t block, std::uint64_t usable_bytes) noexcept;

  /// Divides without a census, by which live blocks lie on which pages.
  void divide_by_pages(std::span<const AddressRange> heap) noexcept;

  /// Sums up after the last unit.
  /// \param heap_resident        bytes of the allocator's mappings that are in memory
  /// \param thread_cached_bytes  free blocks that the census took for live
  /// \return false if memory is out
  bool sum_up(std::uint64_t heap_resident, std::uint64_t thread_cached_bytes, HeapTotals* totals) noexcept;

  /// Who pins what. \return false if memory is out
  bool sum_up_pins(Pins* out) noexcept { return pins_.sum_up(sites_, out); }

  const ExactShare& unbooked() const noexcept { return unbooked_; }  ///< blocks that `beyond` tells of
  /// Usable bytes that the allocator holds to be live and the books to be free: where they overrule it.
  double disputed_bytes() const noexcept { return disputed_; }
  std::uint64_t met_blocks() const noexcept { return met_; }     ///< blocks met in memory
  std::uint64_t raced_units() const noexcept { return raced_; }  ///< held fewer blocks than the books said

 private:
  struct Held {
    std::uintptr_t begin;
    std::uint64_t asked_bytes, usable_bytes;
    std::uint32_t site;
  };
  struct Part {
    std::uint64_t bytes;   ///< usable bytes within the unit
    double usable, asked;  ///< of them: in memory, and in memory and asked for
  };

  void add_held(const Held& held) noexcept;
  void gather(const heaps::Unit& unit) noexcept;
  /// The part of a block that lies within the unit.
  Part part_in(const heaps::Unit& unit, const Held& block, bool all_in_memory) noexcept;
  void charge(const heaps::Unit& unit, std::span<const Held> blocks) noexcept;
  void add_unbooked(const ExactShare& share) noexcept;
  void charge_unit(const heaps::Unit& unit) noexcept;
  void walk_pages(std::uintptr_t begin, std::uintptr_t end) noexcept;
  void add_on_page(const record::ExactLive& block) noexcept;
  void go_to_page(std::uintptr_t next) noexcept;
  void charge_pages(std::uintptr_t begin, std::uintptr_t end) noexcept;

  Arena& arena_;
  UnitPages pages_;
  PinSets pins_;
  LiveBlocks live_;
  BlockSize size_;
  std::span<ExactShare> sites_;
  ExactShare unbooked_{};
  Held* held_ = nullptr;  ///< of the unit at hand; block by block: those not yet in a unit
  std::uint32_t held_count_ = 0, held_room_ = 0;
  std::uint64_t usable_bytes_ = 0;  ///< of the blocks that are being gathered
  bool by_block_ = false;           ///< the census tells of each block
  Held* looked_ = nullptr;          ///< of looked_page_, ascending
  std::uint32_t looked_count_ = 0, looked_next_ = 0;
  std::uintptr_t looked_page_ = 0;
  Held* on_page_ = nullptr;  ///< of page_, where pages are the units
  std::uint32_t on_page_count_ = 0;
  std::uintptr_t page_ = 0;
  HeapMap* map_ = nullptr;
  Held found_{};  ///< of the last look_up()
  double pinned_ = 0, headers_ = 0, usable_ = 0, asked_ = 0, unattributed_ = 0, not_examined_ = 0;
  double disputed_ = 0;
  std::uint64_t units_ = 0, met_ = 0, raced_ = 0;
  bool out_of_memory_ = false;
};

}  // namespace mallard::report
