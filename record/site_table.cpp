// SPDX-License-Identifier: Apache-2.0
#include "record/site_table.hpp"

#include <string.h>

#include "base/growing.hpp"
#include "base/lock.hpp"
#include "base/os.hpp"

namespace mallard::record {
namespace {

constexpr std::uint32_t kSlots = kMaxSites * 2;

constinit GrowingArray<Site, kMaxSites> g_sites;
constinit GrowingArray<std::uintptr_t, kMaxSitePcs> g_pcs;
constinit std::atomic<std::uint32_t>* g_slots =
    nullptr;  // site id, 0 = empty (the overflow site needs no slot)
constinit std::atomic<std::uint32_t> g_count{0};
constinit std::uint32_t g_pcs_used = 0;
MALLARD_FORK_DATA constinit Lock g_insert_lock;

std::uint64_t hash_of(const std::uintptr_t* pcs, int depth) noexcept {
  std::uint64_t h = 0x9e3779b97f4a7c15u ^ static_cast<std::uint64_t>(depth);
  for (int i = 0; i < depth; ++i) {
    h = (h ^ pcs[i]) * 0xd6e8feb86659fd93u;
    h ^= h >> 32;
  }
  return h;
}

/// Walks the probe sequence. \return the site, or 0 with *free_slot at the first empty slot
std::uint32_t find(std::uint64_t hash, const std::uintptr_t* pcs, int depth,
                   std::uint32_t* free_slot) noexcept {
  for (std::uint32_t i = 0, at = static_cast<std::uint32_t>(hash); i < kSlots; ++i, ++at) {
    const std::uint32_t slot = at & (kSlots - 1);
    // Pairs with the release in intern_site: the row behind an id is complete.
    const std::uint32_t id = g_slots[slot].load(std::memory_order_acquire);
    if (id == 0) {
      *free_slot = slot;
      return 0;
    }
    const Site& s = g_sites[id];
    if (s.hash == hash && s.depth == static_cast<std::uint32_t>(depth) &&
        memcmp(&g_pcs[s.first_pc], pcs, static_cast<std::size_t>(depth) * sizeof *pcs) == 0)
      return id;
  }
  *free_slot = kSlots;
  return 0;
}

void add(std::atomic<double>& sum, double value) noexcept {
  double old = sum.load(std::memory_order_relaxed);
  while (!sum.compare_exchange_weak(old, old + value, std::memory_order_relaxed)) {
  }
}

}  // namespace

bool sites_init() noexcept {
  g_slots = static_cast<std::atomic<std::uint32_t>*>(os::map_sparse(kSlots * sizeof *g_slots));
  if (!g_slots || !g_pcs.init() || !g_sites.init() || !g_sites.open(1)) return false;
  g_count.store(1, std::memory_order_release);  // row 0: the overflow site, an empty stack
  return true;
}

void sites_release() noexcept {
  if (g_slots) os::unmap(g_slots, kSlots * sizeof *g_slots);
  g_slots = nullptr;
  g_pcs.release();
  g_sites.release();
}

SiteId intern_site(const std::uintptr_t* pcs, int depth) noexcept {
  const std::uint64_t hash = hash_of(pcs, depth);
  std::uint32_t slot;
  if (std::uint32_t id = find(hash, pcs, depth, &slot)) return SiteId{id};
  LockGuard guard(g_insert_lock);
  if (std::uint32_t id = find(hash, pcs, depth, &slot)) return SiteId{id};
  const std::uint32_t id = g_count.load(std::memory_order_relaxed);
  const auto pcs_needed = static_cast<std::uint32_t>(depth);
  if (slot >= kSlots || !g_sites.open(id + 1) || !g_pcs.open(g_pcs_used + pcs_needed)) return kOverflowSite;
  Site& s = g_sites[id];
  s.hash = hash;
  s.first_pc = g_pcs_used;
  s.depth = pcs_needed;
  memcpy(&g_pcs[g_pcs_used], pcs, pcs_needed * sizeof *pcs);
  g_pcs_used += pcs_needed;
  g_count.store(id + 1, std::memory_order_release);
  g_slots[slot].store(id, std::memory_order_release);
  return SiteId{id};
}

void add_sample(SiteId id, std::uint64_t size, double weight) noexcept {
  Site& s = g_sites[static_cast<std::uint32_t>(id)];
  const auto bytes = static_cast<double>(size);
  add(s.allocated_bytes, weight * bytes);
  add(s.allocated_bytes_variance, weight * (weight - 1) * bytes * bytes);
  add(s.allocated_count, weight);
  add(s.allocated_count_variance, weight * (weight - 1));
  s.samples.fetch_add(1, std::memory_order_relaxed);
  std::uint64_t largest = s.largest_bytes.load(std::memory_order_relaxed);
  while (largest < size && !s.largest_bytes.compare_exchange_weak(largest, size, std::memory_order_relaxed)) {
  }
}

void sites_clear_sums() noexcept {
  const std::uint32_t count = site_count();
  for (std::uint32_t id = 0; id < count; ++id) {
    Site& s = g_sites[id];
    for (std::atomic<double>* sum :
         {&s.allocated_bytes, &s.allocated_bytes_variance, &s.allocated_count, &s.allocated_count_variance})
      sum->store(0, std::memory_order_relaxed);
    s.samples.store(0, std::memory_order_relaxed);
    s.largest_bytes.store(0, std::memory_order_relaxed);
  }
}

std::uint32_t site_count() noexcept { return g_count.load(std::memory_order_acquire); }
const Site& site(SiteId id) noexcept { return g_sites[static_cast<std::uint32_t>(id)]; }
const std::uintptr_t* site_pcs(const Site& site) noexcept { return &g_pcs[site.first_pc]; }

std::uint64_t sites_own_bytes() noexcept {
  return os::resident_bytes(g_sites.data(), site_count() * sizeof(Site)) +
         os::resident_bytes(g_pcs.data(), g_pcs_used * sizeof(std::uintptr_t)) +
         os::resident_bytes(g_slots, kSlots * sizeof *g_slots);
}

// The arrays grow under this lock only, so theirs are free then.
void sites_before_fork() noexcept { g_insert_lock.lock(); }
void sites_after_fork() noexcept { g_insert_lock.unlock(); }

}  // namespace mallard::record
