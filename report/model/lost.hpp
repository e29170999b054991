// SPDX-License-Identifier: Apache-2.0
// Blocks that nothing in the process leads to, as plain data.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "report/model/estimate.hpp"

namespace mallard::report {

/// Blocks of one size.
struct LostGroup {
  std::uint64_t block_bytes;  ///< each, usable
  std::uint64_t blocks, bytes;
  std::uint64_t first;  ///< of them: no other lost block leads to them either
  /// What most of them have in their first word, where that is an address in a loaded object: "vtable for
  /// Session"; or empty.
  std::string_view kind;
};

/// Lost blocks of one call site.
struct LostSite {
  std::uint32_t id;
  Estimate bytes, blocks;  ///< usable bytes; counted in exact mode
  std::uint64_t aged;      ///< of them: samples, whose age is known
  std::uint64_t youngest_ns, oldest_ns;
};

struct LostBlocks {
  bool asked;           ///< by --leaks
  bool done;            ///< else `why_not` says why
  const char* why_not;  ///< a clause
  std::uint64_t blocks, bytes, resident_bytes;
  std::uint64_t first, first_bytes;  ///< of them: no other lost block leads to them either
  std::uint64_t examined_blocks, examined_bytes;
  std::uint64_t unsure_bytes;   ///< of the heap: where a block begins or whether it is free was not told
  std::uint64_t swapped_bytes;  ///< of the process: not read, and what only they lead to would look lost
  std::uint64_t between_ns;     ///< from the first look to the last
  std::uint64_t duration_ns;    ///< of all looks, without the waits
  std::uint64_t own_bytes;      ///< memory that the search took
  int looks;
  int threads;                ///< that the process had at the last look
  int threads_read;           ///< of them: their registers were read
  const char* registers_why;  ///< a clause, where not those of all threads were; else nullptr
  std::uint64_t longest_stop_ns;
  std::span<const LostGroup> groups;  ///< the largest first
  std::uint32_t other_groups;         ///< sizes without a group of their own
  std::string_view runtime;           ///< a language's runtime whose heap is not looked into; or empty
  bool by_site;                       ///< the process is recorded: `sites` tells who made them
  bool by_samples;                    ///< of the sampled ones: an estimate
  std::span<const LostSite> sites;    ///< most bytes first
  std::uint32_t other_sites;          ///< that have lost blocks, too
  std::uint64_t unbooked_blocks, unbooked_bytes;  ///< exact mode: of no call site
};

}  // namespace mallard::report
