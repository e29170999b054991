// SPDX-License-Identifier: Apache-2.0
// Where free memory lies in glibc's heap, and so what would give it back.
#include <initializer_list>

#include "heaps/glibc.hpp"

namespace mallard::heaps::glibc {

void FreePieces::on_arena_heap(const Piece& piece) noexcept {
  sum_.in_arenas += reader_.resident_bytes(piece.begin, piece.end);
}

void FreePieces::on_top(std::uint64_t resident_bytes) noexcept {
  constexpr std::uint64_t kKept = FreeMemory::kTrimThreshold;
  if (resident_bytes > kKept) sum_.top_excess += resident_bytes - kKept;
}

void FreePieces::on_end(const Chunk& chunk, std::uintptr_t end) noexcept {
  if (!is_main_) return;
  const std::uint64_t resident =
      reader_.resident_bytes(align_up(chunk.at + sizeof(ChunkHeader), kPageBytes), end);
  sum_.main_top += resident;
  on_top(resident);
}

/// What of it is whole pages, which malloc_trim gives back.
void FreePieces::on_free(const Chunk& chunk) noexcept {
  constexpr std::uint64_t kLinks = 48;
  if (chunk.size < FreeMemory::kTrimThreshold) return;
  sum_.large_free += reader_.resident_bytes(align_up(chunk.at + kLinks, kPageBytes),
                                            (chunk.at + chunk.size) & ~(kPageBytes - 1));
}

void FreePieces::leave_page() noexcept {
  if (cached_page_ != 0 && !cached_page_is_live_) sum_.cached_pages += kPageBytes;
  cached_page_ = 0;
}

void FreePieces::on_cached(const Chunk& chunk) noexcept {
  sum_.cached += chunk.size;
  for (std::uintptr_t page = chunk.at & ~(kPageBytes - 1); page < chunk.at + chunk.size; page += kPageBytes) {
    if (page <= cached_page_) continue;
    leave_page();
    cached_page_ = page;
    cached_page_is_live_ = live_end_ > page;
  }
}

void FreePieces::end_stretch() noexcept {
  leave_page();
  live_end_ = 0;
}

void FreePieces::scale_up(std::uint64_t one_in) noexcept {
  for (std::uint64_t* sum : {&sum_.large_free, &sum_.cached, &sum_.cached_pages, &live_in_arenas_})
    *sum *= one_in;
  sum_.in_arenas -= live_in_arenas_ < sum_.in_arenas ? live_in_arenas_ : sum_.in_arenas;
}

}  // namespace mallard::heaps::glibc
