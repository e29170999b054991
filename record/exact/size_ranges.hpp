// SPDX-License-Identifier: Apache-2.0
// The size ranges of exact mode's histograms: sizes up to 32 each for itself, above four ranges for each
// doubling, (32, 40] (40, 48] (48, 56] (56, 64] (64, 80] ...: most allocators' size classes end where these
// do.
#pragma once

#include <bit>
#include <cstdint>

namespace mallard::record {

using RangeId = std::uint32_t;
inline constexpr std::uint32_t kExactSizes = 33;  ///< 0 to 32
inline constexpr std::uint32_t kRanges = kExactSizes + (63 - 5 + 1) * 4;

/// A size as its range and how far it is into it.
struct SizePlace {
  RangeId range;
  std::uint64_t remainder;
};

constexpr SizePlace place_of_size(std::uint64_t bytes) noexcept {
  if (bytes < kExactSizes) return {static_cast<RangeId>(bytes), 0};
  const std::uint64_t last = bytes - 1;
  const int bits = 61 - std::countl_zero(last);  // of the remainder; at least 3
  return {static_cast<RangeId>(kExactSizes - 4 - 12 + 4 * bits) + static_cast<RangeId>(last >> bits),
          last & ((std::uint64_t{1} << bits) - 1)};
}

/// How many bits a remainder in this range has.
constexpr unsigned remainder_bits(RangeId range) noexcept {
  return range < kExactSizes ? 0 : (range - kExactSizes) / 4 + 3;
}

/// Whether it has more than `bits`, of which there are at least 3.
constexpr bool has_remainder_above(RangeId range, unsigned bits) noexcept {
  return range >= kExactSizes + 4 * (bits - 2);
}

/// The smallest size of the range.
constexpr std::uint64_t range_begin(RangeId range) noexcept {
  if (range < kExactSizes) return range;
  return (std::uint64_t{4 + (range - kExactSizes) % 4} << remainder_bits(range)) + 1;
}

/// The largest size of the range.
constexpr std::uint64_t range_end(RangeId range) noexcept {
  return range_begin(range) + ((std::uint64_t{1} << remainder_bits(range)) - 1);
}

static_assert(place_of_size(33).range == 33 && place_of_size(40).range == 33 &&
              place_of_size(41).range == 34);
static_assert(place_of_size(64).range == 36 && place_of_size(65).range == 37 && range_end(36) == 64);
static_assert(!has_remainder_above(kExactSizes + 19, 7) && remainder_bits(kExactSizes + 19) == 7 &&
              has_remainder_above(kExactSizes + 20, 7) && remainder_bits(kExactSizes + 20) == 8);
static_assert(place_of_size(~std::uint64_t{0}).range == kRanges - 1);

}  // namespace mallard::record
