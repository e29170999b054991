// SPDX-License-Identifier: Apache-2.0
#include "outside/glibc_arenas.hpp"

#include <algorithm>

#include "heaps/glibc.hpp"

namespace mallard::outside {
namespace {

using heaps::glibc::ArenaState;
using heaps::glibc::layout;

constexpr std::size_t kFastbins = 10, kBins = 127;
constexpr std::size_t kMostWords = heaps::glibc::layout_of(heaps::glibc::kOldest).arena.bytes / 8;

/// A bin without chunks leads back to itself: to where it would begin if it were a chunk.
bool is_empty_bin(const std::uint64_t* words, std::uintptr_t at) noexcept {
  return words[0] == at - 16 && words[1] == at - 16;
}

/// Whether the list of all arenas leads from `at` back to it. That tells layouts apart: before 2.43 an arena looks like one
/// of 2.43 that begins 88 bytes later, but for where the others lead.
bool is_in_list(const ProcessMemory& process, std::uintptr_t at) noexcept {
  constexpr int kMostArenas = 1 << 16;
  std::uintptr_t arena = at;
  for (int i = 0; i < kMostArenas; ++i)
    if (!process.get(arena + layout().arena.next_at, &arena) || arena == 0) return false;
    else if (arena == at) return true;
  return false;
}

bool is_arena(const ProcessMemory& process, std::uintptr_t at) noexcept {
  constexpr std::size_t kMostlyEmpty = 64;
  std::uint64_t words[kMostWords];
  const ArenaState& state = layout().arena;
  if (!process.copy(words, at, state.bytes)) return false;
  std::size_t empty = 0;
  for (std::size_t i = 0; i < kBins; ++i) {
    const std::uint64_t* bin = words + state.bins_at / 8 + 2 * i;
    if (is_empty_bin(bin, at + state.bins_at + 16 * i)) ++empty;
    else if (bin[0] == 0 || bin[1] == 0 || bin[0] % 16 != 0 || bin[1] % 16 != 0) return false;
  }
  const std::uint64_t next = words[state.next_at / 8];
  const bool is_list =
      next == at ||
      (next != 0 && (next % heaps::glibc::kHeapAlignment == 32 || next % heaps::glibc::kHeapAlignment == 48));
  return empty >= kMostlyEmpty && is_list && words[state.top_at / 8] % 16 == 0 && is_in_list(process, at);
}

}  // namespace

std::uintptr_t find_main_arena(const ProcessMemory& process, AddressRange data) noexcept {
  constexpr std::size_t kAtOnce = 512;
  const std::size_t bins_at = layout().arena.bins_at;
  std::uint64_t words[kAtOnce];
  for (std::uintptr_t at = data.begin; at + sizeof words <= data.end; at += sizeof words - 8) {
    if (!process.get(at, &words)) continue;
    for (std::size_t i = 0; i + 1 < kAtOnce; ++i) {
      const std::uintptr_t here = at + i * 8;
      if (!is_empty_bin(words + i, here)) continue;
      for (std::size_t bin = 0; bin < kBins; ++bin)
        if (is_arena(process, here - 16 * bin - bins_at)) return here - 16 * bin - bins_at;
    }
  }
  return 0;
}

const char* version_by_arena(const ProcessMemory& process, const elf::Modules& modules) noexcept {
  constexpr const char *kWithFastbins = "2.41", *kWithout = "2.43";
  heaps::set_glibc_version(kWithout);
  for (const elf::Module& m : modules.all())
    if (m.kind == elf::ModuleKind::kElf && find_main_arena(process, {m.data_begin, m.span_end}) != 0) return kWithout;
  return kWithFastbins;
}

AddressRange description_of_arena(std::uintptr_t arena) noexcept {
  return {arena, arena + layout().arena.bytes};
}

void for_each_fast_block(const ProcessMemory& process, std::uintptr_t main_arena,
                         void (*visit)(std::uintptr_t block, void* opaque), void* opaque) noexcept {
  constexpr int kMostArenas = 1 << 16, kMostBlocks = 1 << 24;
  const bool mangled = heaps::glibc_minor() >= 32;
  const ArenaState& state = layout().arena;
  if (state.fastbins_at == 0) return;
  std::uintptr_t arena = main_arena;
  for (int i = 0; i < kMostArenas && arena != 0; ++i) {
    std::uint64_t heads[kFastbins];
    if (!process.get(arena + state.fastbins_at, &heads)) return;
    for (std::uintptr_t chunk : heads)
      for (int n = 0; n < kMostBlocks && chunk != 0 && chunk % heaps::glibc::kChunkAlignment == 0; ++n) {
        const std::uintptr_t block = chunk + 16;
        std::uint64_t link;
        if (!process.get(block, &link)) break;
        visit(block, opaque);
        chunk = mangled ? link ^ (block >> 12) : link;
      }
    if (!process.get(arena + state.next_at, &arena) || arena == main_arena) return;
  }
}

}  // namespace mallard::outside
