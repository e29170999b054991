// SPDX-License-Identifier: Apache-2.0
// Shares of resident memory: each sampled block is charged resident(unit) * its usable bytes / live
// bytes of the unit, for every unit of the census that it lies in. Units are met once and not kept. Context:
// reporter.
#pragma once

#include <cstdint>
#include <span>

#include "heaps/census.hpp"
#include "report/divide/calibration.hpp"
#include "report/divide/sampled_blocks.hpp"
#include "report/divide/unit_pages.hpp"

namespace mallard::report {

/// What the heap as a whole consists of, in bytes that are in memory unless a field says otherwise.
struct HeapTotals {
  double pinned;                   ///< pages under live blocks
  double headers;                  ///< of pinned: headers between blocks, and metadata on the same pages
  double metadata;                 ///< units that are the allocator's own, on pages that nothing pins
  double retained;                 ///< the rest
  double live_usable;              ///< usable bytes of live blocks
  Estimate live, rounding, holes;  ///< of pinned: these, `past` and the headers make it up
  Estimate past;                   ///< usable bytes of live blocks that were allocated past mallard
  double counted_live;             ///< usable bytes of blocks that are live by the allocator's own marks
  bool is_compared = true;         ///< the two figures around mean something
  Estimate recorded_live;          ///< of recorded blocks, measured in the same way
  bool rounding_known;             ///< false: no sample tells requested from usable bytes; live is usable
  double older;                    ///< of live: blocks older than the samples; 0 where that may be chance
  double unattributed;             ///< of pinned: no sample says whose it is
  double examined;                 ///< part of the heap whose blocks were looked at, 0 to 1
  NotedFree noted;
  std::uint64_t units;
  std::uint64_t uncovered_blocks;  ///< samples that no unit held: freed meanwhile, or unknown to the census
};

class SampledDivision {
 public:
  /// \param older  blocks may be older than the samples (beyond_records.hpp)
  SampledDivision(Arena& arena, std::span<const ResidentRun> runs, bool older = false) noexcept
      : arena_(arena), older_(older), pages_(runs) {}

  void know_zeros(std::span<const AddressRange> zeros) noexcept { pages_.know_zeros(zeros); }

  /// `blocks` ascending by address; they must stay. \return false if memory is out
  bool begin(std::span<const SampledBlock> blocks) noexcept;

  void add(const heaps::Unit& unit) noexcept;
  static void on_unit(const heaps::Unit& unit, void* self) noexcept {
    static_cast<SampledDivision*>(self)->add(unit);
  }

  /// Sums up after the last unit. `sites` is indexed by site.
  /// \param heap_resident  bytes of the allocator's mappings that are in memory
  /// \return false if memory is out
  bool sum_up(std::uint64_t heap_resident, const BeyondEvidence& evidence, std::span<SiteShare> sites,
              HeapTotals* totals) noexcept;

 private:
  void charge_blocks(const heaps::Unit& unit) noexcept;
  void add_piece(std::size_t block, std::uint16_t stratum, const Piece& part) noexcept;
  void leave_out(std::size_t block) noexcept;
  void add_uncovered() noexcept;
  double scale_up(double heap, HeapTotals* totals) noexcept;
  bool compare_live(const BeyondEvidence& evidence, HeapTotals* totals) const noexcept;
  void scale_weights() noexcept;
  std::uint16_t stratum_of(const heaps::Unit& unit) noexcept;

  Arena& arena_;
  const bool older_;
  std::span<const SampledBlock> blocks_;
  std::uint32_t* pieces_of_ = nullptr;  ///< first piece of each block; 0 = none
  Piece* pieces_ = nullptr;
  std::uint32_t piece_count_ = 1, piece_room_ = 0;
  Stratum* strata_ = nullptr;
  std::uint16_t* stratum_table_ = nullptr;
  std::uint16_t stratum_count_ = 0;
  UnitPages pages_;
  BlockFinder finder_;
  double not_examined_ = 0;
  double scale_ = 1;  ///< of strata with several blocks to a unit: all of the heap to what was looked at
  std::uint64_t units_ = 0, uncovered_ = 0;
  bool out_of_memory_ = false;
};

}  // namespace mallard::report
