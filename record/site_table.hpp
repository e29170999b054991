// SPDX-License-Identifier: Apache-2.0
// Call sites: one row per distinct stack, with what was allocated there since the start. Append-only and
// bounded; found without a lock, inserted under one. What does not fit is booked on the overflow site.
#pragma once

#include <atomic>
#include <cstdint>

#include "record/stacks.hpp"

namespace mallard::record {

enum class SiteId : std::uint32_t {};
inline constexpr SiteId kOverflowSite{0};  ///< stacks that found the table full

inline constexpr std::uint32_t kMaxSites = 1u << 16;
inline constexpr std::uint32_t kMaxSitePcs = 4u << 20;  ///< return addresses of all stacks together

/// Sums over the samples of a site; each sample of size x and weight w stands for w allocations.
/// variance = sum of w (w - 1) x^2, the unbiased estimate for Poisson sampling (Horvitz-Thompson).
struct Site {
  std::uint64_t hash;
  std::uint32_t first_pc;  ///< index into the table's array of return addresses
  std::uint32_t depth;     ///< number of return addresses, leaf first
  std::atomic<double> allocated_bytes, allocated_bytes_variance;
  std::atomic<double> allocated_count, allocated_count_variance;
  std::atomic<std::uint64_t> samples;
  std::atomic<std::uint64_t> largest_bytes;  ///< largest sampled request
};

/// Reserves the tables. \return false if the kernel gave no address space \context init
bool sites_init() noexcept;
void sites_release() noexcept;  ///< gives back what sites_init() took \context init

/// Finds or makes the site of a stack. \context hot (slow path)
SiteId intern_site(const std::uintptr_t* pcs, int depth) noexcept;

/// Books one sampled allocation on the site. \context hot (slow path)
void add_sample(SiteId site, std::uint64_t size, double weight) noexcept;

/// The sums begin at 0 again; the sites stay. \context reporter
void sites_clear_sums() noexcept;

std::uint32_t site_count() noexcept;  ///< sites in use; ids run from 0
const Site& site(SiteId id) noexcept;
const std::uintptr_t* site_pcs(const Site& site) noexcept;
std::uint64_t sites_own_bytes() noexcept;  ///< what is in memory of it \context reporter

void sites_before_fork() noexcept;
void sites_after_fork() noexcept;

}  // namespace mallard::record
