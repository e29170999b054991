// SPDX-License-Identifier: Apache-2.0
// Buckets of a histogram over many orders of magnitude: each power of two is divided into kParts equal ones.
// What is below 2 * kParts has a bucket of its own. A value is told by the middle of its bucket, which is off
// by 1 / (2 * kParts) of it at most: 1.6 %.
#pragma once

#include <bit>
#include <cstdint>

namespace mallard::record {

inline constexpr unsigned kPartBits = 5;
inline constexpr std::uint64_t kParts = 1u << kPartBits;
/// Larger values count in the last bucket: 2^42 ticks are 20 minutes and more.
inline constexpr unsigned kHistogramBits = 42;
inline constexpr std::uint32_t kBuckets = (kHistogramBits - kPartBits + 1) << kPartBits;

constexpr std::uint32_t bucket_of(std::uint64_t value) noexcept {
  if (value < 2 * kParts) return static_cast<std::uint32_t>(value);
  const auto bits = static_cast<unsigned>(std::bit_width(value));
  if (bits > kHistogramBits) return kBuckets - 1;
  const unsigned shift = bits - 1 - kPartBits;
  return static_cast<std::uint32_t>((std::uint64_t{shift} << kPartBits) + (value >> shift));
}

/// The least value of a bucket; of kBuckets the end of the last one.
constexpr std::uint64_t bucket_begin(std::uint32_t bucket) noexcept {
  if (bucket < 2 * kParts) return bucket;
  const unsigned shift = (bucket >> kPartBits) - 1;
  return (kParts + bucket % kParts) << shift;
}

/// The value that stands for all of a bucket.
constexpr double bucket_middle(std::uint32_t bucket) noexcept {
  const std::uint64_t first = bucket_begin(bucket), last = bucket_begin(bucket + 1) - 1;
  return static_cast<double>(first) + static_cast<double>(last - first) / 2;
}

static_assert(bucket_of(2 * kParts - 1) + 1 == bucket_of(2 * kParts));
static_assert(bucket_of(bucket_begin(kBuckets) - 1) == kBuckets - 1);

}  // namespace mallard::record
