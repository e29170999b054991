// SPDX-License-Identifier: Apache-2.0
#include "record/site_table.hpp"

#include <initializer_list>

#include "base/growing.hpp"
#include "base/os.hpp"
#include "record/published.hpp"

namespace mallard::record {
namespace {

constinit GrowingArray<Site, kMaxSites, 256> g_sites;
constinit GrowingArray<SiteSums, kMaxSampledSites, 64>
    g_sums;  // row 0: of all sites without samples, never written
constinit std::atomic<std::uint32_t> g_count{0}, g_sums_count{0};
constinit PeakWatch g_peak;
constinit std::atomic<std::int64_t> g_live_bytes{0};  // what all live samples stand for

MALLARD_PART(sites, g_sites);
MALLARD_PART(sums, g_sums);
MALLARD_PART(site_count, g_count);
MALLARD_PART(sums_count, g_sums_count);
MALLARD_PART(sampled_peak, g_peak);
MALLARD_PART(sampled_live, g_live_bytes);

/// Takes the next row of an array. \return 0 if there is none
template <typename Rows>
std::uint32_t take_row(Rows& rows, std::atomic<std::uint32_t>& count) noexcept {
  std::uint32_t row = count.load(std::memory_order_relaxed);
  do
    if (!rows.open(row + 1)) return 0;
  while (!count.compare_exchange_weak(row, row + 1, std::memory_order_release, std::memory_order_relaxed));
  return row;
}

void add(std::atomic<double>& sum, double value) noexcept {
  double old = sum.load(std::memory_order_relaxed);
  while (!sum.compare_exchange_weak(old, old + value, std::memory_order_relaxed)) {
  }
}

/// The sums of a site, made if it has none. \return nullptr if there is no room
SiteSums* sums_of(Site& s) noexcept {
  std::uint32_t row = s.sums.load(std::memory_order_relaxed);
  if (MALLARD_UNLIKELY(row == 0)) {
    const std::uint32_t made = take_row(g_sums, g_sums_count);
    if (made == 0) return nullptr;
    if (s.sums.compare_exchange_strong(row, made, std::memory_order_relaxed)) row = made;
  }
  return &g_sums[row];
}

void publish() noexcept {
  mallard_published.sites = {published_rows(g_sites), address_of(&g_count), offsetof(Site, node)};
  mallard_published.sums = {published_rows(g_sums),
                            address_of(&g_sums_count),
                            offsetof(Site, sums),
                            offsetof(SiteSums, allocated_bytes),
                            offsetof(SiteSums, allocated_bytes_variance),
                            offsetof(SiteSums, allocated_count)};
}

}  // namespace

bool sites_init(Expected expected) noexcept {
  if (!g_sites.init() || !g_sums.init() || !g_sites.open(1) || !g_sums.open(1) ||
      !context_tree_init(expected))
    return false;
  g_sums_count.store(1, std::memory_order_relaxed);
  g_count.store(1, std::memory_order_release);  // row 0: the overflow site, an empty stack
  if (!sums_of(g_sites[0])) return false;
  publish();
  return true;
}

void sites_release() noexcept {
  mallard_published.sites = {};
  mallard_published.sums = {};
  g_sites.release();
  g_sums.release();
  context_tree_release();
}

SiteId site_at(NodeId node, int depth) noexcept {
  if (MALLARD_UNLIKELY(node == kRoot)) return kOverflowSite;
  const std::uint32_t known = context_site(node);
  if (MALLARD_LIKELY(known != 0)) return SiteId{known};
  const std::uint32_t id = take_row(g_sites, g_count);
  if (id == 0) return kOverflowSite;
  Site& row = g_sites[id];
  row.depth.store(static_cast<std::uint32_t>(depth), std::memory_order_relaxed);
  row.node.store(node, std::memory_order_relaxed);
  const std::uint32_t winner = context_set_site(node, id);
  if (MALLARD_UNLIKELY(winner != id)) {  // another thread, or a handler, was faster: this row stays empty
    row.node.store(kRoot, std::memory_order_relaxed);
    row.depth.store(0, std::memory_order_relaxed);
  }
  return SiteId{winner};
}

SiteId intern_site(const std::uintptr_t* pcs, int depth) noexcept {
  NodeId node = kRoot;
  for (int i = depth - 1; i >= 0; --i) {
    const unwind::PcIndex index = unwind::pc_index(pcs[i]);
    if (MALLARD_UNLIKELY(index == unwind::kNoPc)) return kOverflowSite;
    node = context_child(node, index);
    if (MALLARD_UNLIKELY(node == kRoot)) return kOverflowSite;
  }
  return site_at(node, depth);
}

SiteId add_sample(SiteId id, std::uint64_t size, double weight) noexcept {
  SiteSums* s = sums_of(g_sites[static_cast<std::uint32_t>(id)]);
  if (MALLARD_UNLIKELY(!s)) {
    id = kOverflowSite;
    s = sums_of(g_sites[0]);  // made by sites_init
  }
  const auto bytes = static_cast<double>(size);
  add(s->allocated_bytes, weight * bytes);
  add(s->allocated_bytes_variance, weight * (weight - 1) * bytes * bytes);
  add(s->allocated_count, weight);
  add(s->allocated_count_variance, weight * (weight - 1));
  s->samples.fetch_add(1, std::memory_order_relaxed);
  std::uint64_t largest = s->largest_bytes.load(std::memory_order_relaxed);
  while (largest < size &&
         !s->largest_bytes.compare_exchange_weak(largest, size, std::memory_order_relaxed)) {
  }
  return id;
}

void change_live(SiteId id, std::int64_t bytes) noexcept {
  const std::uint32_t row = g_sites[static_cast<std::uint32_t>(id)].sums.load(std::memory_order_relaxed);
  if (MALLARD_UNLIKELY(row == 0)) return;
  SiteSums& s = g_sums[row];
  s.at_peak.keep(g_peak.number(), s.live_bytes.load(std::memory_order_relaxed));
  s.live_bytes.fetch_add(bytes, std::memory_order_relaxed);
  const std::int64_t all = g_live_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (bytes > 0 && g_peak.is_new(all)) g_peak.raise(all);
}

Peak sampled_peak() noexcept { return g_peak.read(); }

std::uint64_t sampled_at_peak(const Site& site) noexcept {
  const SiteSums& s = site_sums(site);
  return s.at_peak.read(g_peak.number(), s.live_bytes.load(std::memory_order_relaxed));
}

void sites_clear_sums() noexcept {
  g_peak.clear();
  g_live_bytes.store(0, std::memory_order_relaxed);
  const std::uint32_t count = g_sums_count.load(std::memory_order_acquire);
  for (std::uint32_t row = 1; row < count; ++row) {
    SiteSums& s = g_sums[row];
    for (std::atomic<double>* sum :
         {&s.allocated_bytes, &s.allocated_bytes_variance, &s.allocated_count, &s.allocated_count_variance})
      sum->store(0, std::memory_order_relaxed);
    s.samples.store(0, std::memory_order_relaxed);
    s.largest_bytes.store(0, std::memory_order_relaxed);
    s.live_bytes.store(0, std::memory_order_relaxed);
    s.at_peak.clear();
  }
}

bool sites_adopt_sums(const OtherParts& parts) noexcept {
  if (!parts.adopt(g_sums_count) || !parts.adopt(g_count)) return false;
  const std::uint32_t sums = g_sums_count.load(std::memory_order_relaxed);
  const std::uint32_t sites = g_count.load(std::memory_order_relaxed);
  if (sums > kMaxSampledSites || sites > kMaxSites) return false;
  if (!g_sites.adopt(parts, sites) || !g_sums.adopt(parts, sums)) return false;
  // A site may have got its sums since they were counted.
  for (std::uint32_t i = 0; i < sites && sums > 0; ++i)
    if (g_sites[i].sums.load(std::memory_order_relaxed) >= sums)
      g_sites[i].sums.store(0, std::memory_order_relaxed);
  return true;
}

bool sites_adopt(const OtherParts& parts) noexcept {
  return sites_adopt_sums(parts) && parts.adopt(g_peak) && parts.adopt(g_live_bytes) &&
         context_tree_adopt(parts);
}

std::uint32_t site_count() noexcept { return g_count.load(std::memory_order_acquire); }
const Site& site(SiteId id) noexcept { return g_sites[static_cast<std::uint32_t>(id)]; }
const SiteSums& site_sums(const Site& site) noexcept {
  return g_sums[site.sums.load(std::memory_order_relaxed)];
}

int copy_site_pcs(const Site& site, std::uintptr_t* to, int max) noexcept {
  int n = 0;
  for (NodeId node = site.node.load(std::memory_order_relaxed); node != kRoot && n < max;
       node = context_parent(node))
    to[n++] = unwind::pc_at(context_pc(node));
  return n;
}

bool is_generated_code(std::uintptr_t pc) noexcept { return unwind::is_generated_mapping(pc); }

std::uint64_t sites_own_bytes() noexcept {
  return g_sites.resident_bytes(site_count()) +
         g_sums.resident_bytes(g_sums_count.load(std::memory_order_relaxed)) + context_tree_own_bytes() +
         unwind::code_addresses_own_bytes();
}

}  // namespace mallard::record
