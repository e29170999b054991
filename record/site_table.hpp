// SPDX-License-Identifier: Apache-2.0
// Call sites: one row per distinct stack, which stands in the tree of contexts, and what was sampled there
// since the start. Append-only, bounded, without locks. What does not fit is booked on the overflow site.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/parts.hpp"
#include "record/context_tree.hpp"
#include "record/peak.hpp"
#include "unwind/stacks.hpp"

namespace mallard::record {

enum class SiteId : std::uint32_t {};
inline constexpr SiteId kOverflowSite{0};  ///< stacks that found the tables full

inline constexpr std::uint32_t kMaxSites = 1u << 19;
inline constexpr std::uint32_t kMaxSampledSites = 1u << 16;
static_assert(kMaxSites <= 1u << kNodeSiteBits);

struct Site {
  std::atomic<NodeId> node;          ///< where its stack ends in the tree
  std::atomic<std::uint32_t> depth;  ///< number of return addresses
  std::atomic<std::uint32_t> sums;   ///< row of its sums; 0 = nothing was sampled here
};

/// Sums over the samples of a site; each sample of size x and weight w stands for w allocations.
/// variance = sum of w (w - 1) x^2, the unbiased estimate for Poisson sampling (Horvitz-Thompson).
struct SiteSums {
  std::atomic<double> allocated_bytes, allocated_bytes_variance;
  std::atomic<double> allocated_count, allocated_count_variance;
  std::atomic<std::uint64_t> samples;
  std::atomic<std::uint64_t> largest_bytes;  ///< largest sampled request
  std::atomic<std::int64_t> live_bytes;      ///< what its live samples stand for
  AtPeak at_peak;
};

/// Reserves the tables. \return false if the kernel gave no address space \context init
bool sites_init(Expected expected) noexcept;
void sites_release() noexcept;  ///< gives back what sites_init() took \context init

/// Finds or makes the site of a stack. \context hot: any thread, signal handlers
SiteId intern_site(const std::uintptr_t* pcs, int depth) noexcept;
/// Finds or makes the site of a stack that stands in the tree already. `node` kRoot: the overflow site
SiteId site_at(NodeId node, int depth) noexcept;

/// Books one sampled allocation on the site.
/// \return where it was booked: on the overflow site if there is no room for more sums
/// \context hot: any thread, signal handlers
SiteId add_sample(SiteId site, std::uint64_t size, double weight) noexcept;

/// A sampled block that stands for so many bytes became live (or, below 0, is so no longer) at a site that
/// add_sample() returned. \context hot: any thread, signal handlers
void change_live(SiteId site, std::int64_t bytes) noexcept;
/// When the samples that were live stood for most. \context reporter
Peak sampled_peak() noexcept;
/// What the site's live samples stood for then. \context reporter
std::uint64_t sampled_at_peak(const Site& site) noexcept;

/// The sums begin at 0 again; the sites stay. \context reporter
void sites_clear_sums() noexcept;

/// Become copies of another process's. \context offline
bool sites_adopt(const OtherParts& parts) noexcept;
bool sites_adopt_sums(const OtherParts& parts) noexcept;

std::uint32_t site_count() noexcept;  ///< sites in use; ids run from 0
const Site& site(SiteId id) noexcept;
const SiteSums& site_sums(const Site& site) noexcept;  ///< all 0 if nothing was sampled there
/// Writes its stack, leaf first: return addresses. \return how many were written: site.depth or, if less,
/// `max`
int copy_site_pcs(const Site& site, std::uintptr_t* to, int max) noexcept;
/// Whether an address that copy_site_pcs() gave stands for all code of a mapping that no object is loaded in.
/// \context reporter
bool is_generated_code(std::uintptr_t pc) noexcept;
std::uint64_t sites_own_bytes() noexcept;  ///< what is in memory of it \context reporter

}  // namespace mallard::record
