// SPDX-License-Identifier: Apache-2.0
#include "backends/boot.hpp"

#include <errno.h>

#include <atomic>

#include "base/os.hpp"
#include "base/say.hpp"

namespace mallard::backends {

constinit std::uintptr_t boot_begin = std::uintptr_t{0} - kBootBytes;

namespace {
constinit std::atomic<std::uintptr_t> g_cursor{0};
constinit std::atomic<std::uint64_t> g_blocks{0};
}  // namespace

void* boot_allocate(std::size_t alignment, std::size_t bytes) noexcept {
  if (g_cursor.load() == 0) {  // init is single-threaded
    void* arena = os::map_sparse(kBootBytes);
    if (!arena) {
      say::out_of_boot_memory();
      errno = ENOMEM;
      return nullptr;
    }
    boot_begin = address_of(arena);
    g_cursor.store(boot_begin);
  }
  if (alignment < 16) alignment = 16;
  std::uintptr_t old = g_cursor.load(), at, end;
  do {
    at = align_up(old + sizeof(std::size_t), alignment);
    end = at + align_up(bytes ? bytes : 1, 16);
    if (bytes >= kBootBytes || alignment >= kBootBytes || end > boot_begin + kBootBytes) {
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

}  // namespace mallard::backends
