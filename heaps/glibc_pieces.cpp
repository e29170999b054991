// SPDX-License-Identifier: Apache-2.0
// What a stretch of glibc's memory is, told from its first words.
#include "heaps/glibc.hpp"

namespace mallard::heaps::glibc {

Piece piece_at(Reader& reader, std::uintptr_t at, std::uintptr_t end) noexcept {
  const std::uint64_t* words = reader.words(at, 64);
  if (!words) return {Piece::kUnknown, at, end, 0};
  if (const HeapInfo heap{words[0], words[1], words[2], words[3]}; heap.is_at(at)) {
    // It may have grown since the list of ranges was made.
    const std::uintptr_t heap_end = heap.bytes < end - at ? at + heap.bytes : end;
    return {Piece::kArenaHeap, at, heap_end, heap.first_chunk(at, layout().arena)};
  }
  const MappedBlock block = find_mapped_block(
      [&reader](std::uintptr_t from, ChunkHeader* to) { return reader.copy(from, to, sizeof *to); }, at, end);
  if (block.end != 0) return {Piece::kMappedBlock, at, block.end, block.chunk, block.usable};
  return {Piece::kMainHeap, at, end, at};
}

}  // namespace mallard::heaps::glibc
