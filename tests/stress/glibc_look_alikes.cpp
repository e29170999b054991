// SPDX-License-Identifier: Apache-2.0
// Live blocks of glibc beside free ones that they resemble: the census has to take the free ones alone for
// free.
#include <stdio.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "base/os.hpp"
#include "heaps/glibc.hpp"

using namespace mallard;
using namespace mallard::heaps;

/// Thousands of links of a fastbin that hold, then live blocks that point to themselves as the head of an
/// empty list does: on one page in 16 that reads as a link, and where the arenas lie far apart it leads into
/// them.
int main() {
  constexpr std::uintptr_t kBegin = 0x1000'0000'0000, kEnd = 0x1010'0000'0000;
  constexpr std::size_t kBytes = 64u << 20, kFree = 4000, kLive = 1000;
  void* memory = mmap(reinterpret_cast<void*>(kBegin), kBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (address_of(memory) != kBegin) return puts("the addresses are taken"), 1;
  const AddressRange resident{kBegin, kBegin + kBytes};
  glibc::Reader reader(own_process(), {&resident, 1});
  if (!reader.start()) return puts("no memory"), 1;
  glibc::FreeLists lists(reader, 36);
  lists.set_bounds(kBegin, kEnd);
  constexpr std::uint64_t kSize = 128, kOther = 0x2b2b2b2b2b2b2b2b;
  const auto at_free = [](std::size_t i) { return kBegin + i % kFree * 16384 + 64; };
  const auto make = [](std::uintptr_t at, std::uint64_t first) {
    auto* words = reinterpret_cast<std::uint64_t*>(at);
    words[1] = kSize | 5, words[2] = first, words[3] = kOther;
    return glibc::Chunk{at, kSize, first, kOther};
  };
  static glibc::Chunk free_ones[kFree], live_ones[kLive];
  for (std::size_t i = 0; i < kFree; ++i)
    free_ones[i] = make(at_free(i), (at_free(i) + 16) >> 12 ^ at_free(i + 1777));
  for (std::size_t i = 0; i < kLive; ++i) {
    const std::uintptr_t at = kBegin + i * 65536 + 2048;
    live_ones[i] = make(at, at + 16);
  }
  std::size_t free_held = 0, live_held = 0;
  for (const glibc::Chunk& chunk : free_ones) free_held += lists.holds(chunk);
  for (const glibc::Chunk& chunk : live_ones) live_held += lists.holds(chunk);
  printf("taken for free: %zu of %zu free blocks, %zu of %zu live ones\n", free_held, kFree, live_held,
         kLive);
  return free_held == kFree && live_held == 0 ? 0 : 1;
}
