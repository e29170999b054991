// SPDX-License-Identifier: Apache-2.0
// Where the books lie, for readers outside of the process: `mallard top` copies them through /proc/PID/mem,
// which costs the process nothing. Lies in the writable data of libmallard.so; each part is filled in by the
// file that owns the table, when it reserves it. Offsets are into one row; addresses are the process's, 0 =
// not there.
#pragma once

#include <cstdint>

#include "base/growing.hpp"

namespace mallard {

struct Published {
  char mark[24];
  std::uint64_t bytes;  ///< of this structure: another value is another build

  char version[24];                     ///< of mallard
  std::uint64_t parts_at, parts_count;  ///< what can be adopted: see base/parts.hpp
  std::uint64_t
      why_off_at;         ///< of a const char*, a clause where the mode is off; 0 or nullptr: there is none
  std::uint64_t mode_at;  ///< of a Mode: the one in force
  std::uint64_t sample_bytes, bias_bytes;  ///< sample_bytes 0: nothing is recorded; p of a sample of size s =
                                           ///< 1 - exp(-(s + bias_bytes) / sample_bytes)

  /// Rows of `stride` bytes: the first ones at `first`, number i of the others at rest + i * stride.
  struct Rows {
    std::uint64_t first, rest;
    std::uint32_t first_count, stride;
  };

  struct Sites {
    Rows rows;
    std::uint64_t count_at;  ///< of a std::uint32_t
    std::uint32_t at_node;   ///< std::uint32_t: where its stack ends in the tree
  } sites;

  /// Sums over the samples of a site, doubles; see record/site_table.hpp.
  struct Sums {
    Rows rows;
    std::uint64_t count_at;  ///< of a std::uint32_t
    std::uint32_t at_row;    ///< in the site: std::uint32_t, number of its row; 0 = it has no samples
    std::uint32_t at_bytes, at_bytes_variance, at_count;
  } sums;

  /// Sampled blocks that are live; rows without an address are free.
  struct Live {
    Rows rows;
    std::uint64_t used_at;                                            ///< of a std::uint32_t; row 0 is none
    std::uint32_t at_address, at_asked, at_weight, at_born, at_site;  ///< site: std::uint32_t, weight: double
  } live;

  /// The tree of all stacks; see record/context_tree.cpp. A node is a word, found by its number: the upper
  /// bits are a level, the lower ones a slot of it. It holds its parent's number and that of a return
  /// address.
  struct Tree {
    std::uint64_t level_at[8];  ///< its slot 0
    std::uint32_t slot_bits, parent_shift, parent_bits, code_shift, code_bits;
    /// Number -> return address: up to `rules` its row holds the address less 1, beyond it stands in
    /// `others`.
    std::uint64_t rule_rows, others;
    std::uint32_t rules, rule_stride;
  } tree;

  /// Counts of exact mode by call site and size range; see record/exact/counts.hpp. Row 0 is none.
  struct CountRows {
    std::uint64_t rows, count_at;  ///< count_at: of a std::uint32_t
    std::uint32_t stride;
    std::uint32_t at_site;  ///< std::uint32_t
    /// kCounts of std::uint64_t: allocated bytes, allocated blocks, freed bytes, freed blocks.
    std::uint32_t at_counts;
  } count_rows;
  static constexpr int kCounts = 4;

  /// What threads have not yet added to the rows: entries, of which each has one row's counts. See
  /// record/exact/thread_record.hpp.
  struct Threads {
    std::uint64_t rows, count_at;  ///< count_at: of a std::uint32_t
    std::uint64_t epoch_at;        ///< of a std::uint32_t: even = exact mode is off
    std::uint32_t stride;
    std::uint32_t at_epoch;  ///< std::uint32_t; rows of another epoch count nothing
    std::uint32_t at_entries, entries, entry_stride;
    std::uint32_t at_version;  ///< in the entry: std::uint32_t, odd while its counts move to the row
    std::uint32_t at_row;      ///< std::uint32_t; 0 = empty
    std::uint32_t at_counts;   ///< as in the row
  } threads;
};
inline constexpr char kPublishedMark[24] = "mallard's books: 1";

}  // namespace mallard

extern "C" {
/// The structure of this process. \context init, reporter
extern mallard::Published mallard_published __attribute__((visibility("hidden")));
}

namespace mallard::record {

template <typename T, std::size_t kCapacity, std::size_t kFirst>
Published::Rows published_rows(GrowingArray<T, kCapacity, kFirst>& array) noexcept {
  return {address_of(array.first()), address_of(array.data()), array.first_count(), sizeof(T)};
}

}  // namespace mallard::record
