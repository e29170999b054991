// SPDX-License-Identifier: Apache-2.0
// What a stretch of glibc's memory is, told from its first words.
#include "heaps/glibc.hpp"

namespace mallard::heaps::glibc {
namespace {

/// A block with a mapping of its own: {0, size | kMapped}. An aligned one begins later and keeps the distance
/// in the word before its size; only its own header is then up to date: realloc may have left the other one
/// with a size that is too large or too small.
Piece mapped_block(Reader& reader, std::uintptr_t at, std::uintptr_t end,
                   const std::uint64_t* words) noexcept {
  const auto ends_well = [at, end](std::uintptr_t stop) {
    return stop % kPageBytes == 0 && stop > at && stop <= end;
  };
  Piece piece{Piece::kUnknown, at, end, at};
  if (words[0] != 0 || (words[1] & kFlags) != kMapped || words[1] % kPageBytes != kMapped) return piece;
  if (const std::uintptr_t stop = at + (words[1] & ~kFlags); ends_well(stop)) {
    piece.kind = Piece::kMappedBlock;
    piece.end = stop;
  }
  for (std::uintptr_t alignment = 32; alignment < end - at; alignment *= 2) {
    std::uintptr_t chunk = align_up(at + 16, alignment) - 16;
    if (chunk - at < kSmallestChunk) chunk += alignment;
    std::uint64_t head[2];
    if (chunk + sizeof head > end || !reader.copy(chunk, head, sizeof head)) continue;
    const std::uintptr_t stop = chunk + (head[1] & ~kFlags);
    if (head[0] != chunk - at || (head[1] & kFlags) != kMapped || !ends_well(stop)) continue;
    piece = {Piece::kMappedBlock, at, stop, chunk};
    break;
  }
  return piece;
}

/// heap_info {arena, previous heap, size, size that is accessible}; the first heap of an arena goes on with
/// the arena's malloc_state.
Piece arena_heap(int minor, std::uintptr_t at, std::uintptr_t end, const std::uint64_t* words) noexcept {
  Piece piece{Piece::kUnknown, at, end, 0};
  const std::uintptr_t arena = words[0], previous = words[1], size = words[2], accessible = words[3];
  const std::uintptr_t info = minor >= 35 ? 48 : 32;
  if (at % kHeapAlignment != 0 || arena % kHeapAlignment != info || previous % kHeapAlignment != 0 ||
      size == 0 || size % kPageBytes != 0 || accessible % kPageBytes != 0 || accessible < size)
    return piece;
  piece.kind = Piece::kArenaHeap;
  if (size < end - at) piece.end = at + size;  // it may have grown since the list was made
  piece.first = align_up(at + info + (arena == at + info ? kArenaStateBytes : 0), 16);
  return piece;
}

}  // namespace

Piece piece_at(Reader& reader, int minor, std::uintptr_t at, std::uintptr_t end) noexcept {
  const std::uint64_t* words = reader.words(at, 64);
  if (!words) return {Piece::kUnknown, at, end, 0};
  Piece piece = arena_heap(minor, at, end, words);
  if (piece.kind == Piece::kUnknown) piece = mapped_block(reader, at, end, words);
  if (piece.kind == Piece::kUnknown) piece = {Piece::kMainHeap, at, end, at};
  return piece;
}

}  // namespace mallard::heaps::glibc
