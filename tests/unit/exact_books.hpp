// SPDX-License-Identifier: Apache-2.0
// What tests of the exact books share: made-up blocks and call sites, and the books as they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "record/exact/exact.hpp"
#include "tests/unit/catch.hpp"

namespace mallard::record {

inline constexpr std::size_t kSites = 40;
inline unwind::Caller at(std::size_t site) { return {site, 0, 0}; }
inline const void* pointer(std::uintptr_t address) { return reinterpret_cast<const void*>(address); }

inline void begin() {
  REQUIRE(exact_prepare());
  exact_begin();
}

inline std::vector<ExactCounts> read(ExactCounts* all = nullptr) {
  std::vector<ExactCounts> sites(kSites);
  const ExactCounts sum = exact_read(sites);
  if (all) *all = sum;
  return sites;
}

struct Block {
  std::uintptr_t address;
  std::uint64_t bytes;
  std::size_t site;
};

inline std::vector<Block> live_blocks(std::uintptr_t from = 0, std::uintptr_t to = UINTPTR_MAX) {
  std::vector<Block> blocks;
  exact_for_each_live(
      from, to,
      [](const ExactLive& b, void* out) {
        static_cast<std::vector<Block>*>(out)->push_back(
            {b.begin, b.asked_bytes, static_cast<std::size_t>(b.site)});
      },
      &blocks);
  return blocks;
}

}  // namespace mallard::record
