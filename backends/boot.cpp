// SPDX-License-Identifier: Apache-2.0
#include "backends/boot.hpp"

#include <errno.h>

#include <atomic>

#include "base/os.hpp"
#include "base/say.hpp"

namespace mallard::backends {

constinit BootArena boot_arena{0, 0};

namespace {
/// Committed on touch, and given back but for what blocks have taken.
constexpr std::size_t kMostBytes = 64u << 20, kLeastBytes = 1u << 20;
constinit std::atomic<std::uintptr_t> g_cursor{0};
constinit std::atomic<std::uint64_t> g_blocks{0};
}  // namespace

void* boot_allocate(std::size_t alignment, std::size_t bytes) noexcept {
  if (g_cursor.load() == 0) {  // init is single-threaded
    std::size_t all = os::within_address_limit(kMostBytes);
    if (all < kLeastBytes) all = kLeastBytes;
    void* arena = os::map_sparse(all);
    if (!arena) {
      say::out_of_boot_memory();
      errno = ENOMEM;
      return nullptr;
    }
    boot_arena = {address_of(arena), all};
    g_cursor.store(boot_arena.begin);
  }
  if (alignment < 16) alignment = 16;
  std::uintptr_t old = g_cursor.load(), at, end;
  do {
    at = align_up(old + sizeof(std::size_t), alignment);
    end = at + align_up(bytes ? bytes : 1, 16);
    if (bytes >= kMostBytes || alignment >= kMostBytes || end > boot_arena.begin + boot_arena.bytes) {
      errno = ENOMEM;
      return nullptr;
    }
  } while (!g_cursor.compare_exchange_weak(old, end));
  reinterpret_cast<std::size_t*>(at)[-1] = bytes;
  g_blocks.fetch_add(1);
  return reinterpret_cast<void*>(at);
}

std::size_t boot_usable_size(const void* p) noexcept { return static_cast<const std::size_t*>(p)[-1]; }
void boot_free(void*) noexcept {}
std::uint64_t boot_blocks() noexcept { return g_blocks.load(); }

void boot_end() noexcept {
  const std::uintptr_t begin = boot_arena.begin, all = boot_arena.bytes;
  if (all == 0) return;
  const std::size_t kept = align_up(g_cursor.exchange(begin + all) - begin, kPageBytes);
  if (kept >= all) return;
  boot_arena.bytes = kept;
  os::unmap_end(reinterpret_cast<void*>(begin), kept, all - kept);
}

}  // namespace mallard::backends
