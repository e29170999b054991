// SPDX-License-Identifier: Apache-2.0
#include "base/reservation.hpp"

#include <sys/mman.h>

#include "base/attributes.hpp"
#include "base/lock.hpp"

namespace mallard {
namespace {

/// All reservations that have address space; one that finds no room here keeps what it has.
constexpr std::size_t kMost = 16;
constinit std::atomic<Reservation*> g_all[kMost]{};
/// Held while something is given back, so that release() does not do the same meanwhile. A handler may have
/// interrupted the thread that holds it: who gives back waits for a while only.
MALLARD_FORK_DATA constinit Lock g_lock;
constinit std::atomic<std::uint64_t> g_given_back{0};
MALLARD_PART(given_back, g_given_back);

std::size_t unopened_bytes_of_all() noexcept {
  std::size_t bytes = 0;
  for (const auto& slot : g_all)
    if (const Reservation* r = slot.load(std::memory_order_acquire)) bytes += r->unopened_bytes();
  return bytes;
}

bool is_limited() noexcept { return os::address_limit() != ~std::uint64_t{0}; }

bool can_be_mapped(std::size_t bytes) noexcept {
  void* p = os::reserve(bytes);
  if (p) os::unmap(p, bytes);
  return p != nullptr;
}

}  // namespace

bool Reservation::init(std::size_t bytes) noexcept {
  data_ = static_cast<char*>(os::reserve(bytes));
  if (!data_) return false;
  extent_.store(extent(0, bytes / kPageBytes), std::memory_order_relaxed);
  for (auto& slot : g_all) {
    Reservation* none = nullptr;
    if (slot.compare_exchange_strong(none, this, std::memory_order_release)) break;
  }
  return true;
}

void Reservation::release() noexcept {
  LockGuard guard(g_lock);
  for (auto& slot : g_all) {
    Reservation* mine = this;
    if (slot.compare_exchange_strong(mine, nullptr, std::memory_order_relaxed)) break;
  }
  const std::size_t pages = end_of(extent_.exchange(0, std::memory_order_relaxed));
  if (pages != 0) os::unmap(data_, pages * kPageBytes);
  data_ = nullptr;
}

bool Reservation::open(std::size_t bytes) noexcept {
  const std::size_t pages = bytes / kPageBytes;
  Extent now = extent_.load(std::memory_order_relaxed);
  do
    if (pages > end_of(now)) return false;
  while (pages > claimed_of(now) &&
         !extent_.compare_exchange_weak(now, extent(pages, end_of(now)), std::memory_order_relaxed));
  return os::protect(data_, bytes, PROT_READ | PROT_WRITE);
}

std::size_t Reservation::unopened_bytes() const noexcept {
  const Extent now = extent_.load(std::memory_order_relaxed);
  return (end_of(now) - claimed_of(now)) * kPageBytes;
}

std::size_t Reservation::give_back() noexcept {
  Extent now = extent_.load(std::memory_order_relaxed);
  do
    if (claimed_of(now) == end_of(now)) return 0;
  while (!extent_.compare_exchange_weak(now, extent(claimed_of(now), claimed_of(now)), std::memory_order_relaxed));
  const std::size_t kept = claimed_of(now) * kPageBytes, bytes = end_of(now) * kPageBytes - kept;
  return os::unmap_end(data_, kept, bytes) ? bytes : 0;
}

bool give_back_reservations(std::size_t bytes) noexcept {
  if (!g_lock.try_lock()) {  // somebody gives back at this moment
    constexpr std::uint64_t kWaitNs = 100'000'000;
    if (!g_lock.try_lock_for(kWaitNs)) return false;
    g_lock.unlock();
    return true;
  }
  const std::size_t unopened = unopened_bytes_of_all();
  const bool helps = unopened > 0 && is_limited() && (bytes <= unopened || can_be_mapped(bytes - unopened));
  std::size_t given = 0;
  if (helps)
    for (auto& slot : g_all)
      if (Reservation* r = slot.load(std::memory_order_acquire)) given += r->give_back();
  g_given_back.fetch_add(given, std::memory_order_relaxed);
  g_lock.unlock();
  return given > 0;
}

bool give_back_for_mapping(std::size_t bytes) noexcept {
  return bytes != 0 && is_limited() && !can_be_mapped(bytes) && give_back_reservations(bytes);
}

std::uint64_t given_back_bytes() noexcept { return g_given_back.load(std::memory_order_relaxed); }
bool given_back_adopt(const OtherParts& parts) noexcept { return parts.adopt(g_given_back); }

}  // namespace mallard
