// SPDX-License-Identifier: Apache-2.0
#include "heaps/mimalloc_shapes.hpp"

#include <string.h>

#include <initializer_list>

namespace mallard::heaps {
namespace {

std::uint64_t number(const unsigned char* from, std::size_t at, std::size_t bytes) noexcept {
  std::uint64_t value = 0;
  memcpy(&value, from + at, bytes);
  return value;
}

/// Version 2 takes the heap of a page away when its thread ends; 3 keeps it, and has the thread's number in
/// front, with flags in its last bits.
bool is_ownerless(const MimallocShape& shape, const unsigned char* from) noexcept {
  constexpr std::uint64_t kFlags = 7;
  switch (shape.family) {
    case MimallocFamily::kSegments:
      break;
    case MimallocFamily::kPageMap:
      return (number(from, 0, 8) & ~kFlags) == 0;
    case MimallocFamily::kSlots:
      return (number(from, 8, 8) & ~kFlags) == 0;
  }
  return number(from, shape.owner, 8) == 0;
}

}  // namespace

MimallocStructure read_mimalloc_structure(const MimallocShape& shape, const unsigned char* from,
                                          std::uintptr_t at) noexcept {
  MimallocStructure s{};
  s.at = at;
  s.free = number(from, shape.free, 8);
  s.local_free = number(from, shape.local_free, 8);
  s.thread_free = number(from, shape.thread_free, 8);
  s.owner = number(from, shape.owner, 8);
  s.used = number(from, shape.used, shape.used_bytes);
  s.reserved = number(from, shape.reserved, 2);
  s.capacity = shape.capacity ? number(from, shape.capacity, 2) : s.reserved;
  s.block_bytes = number(from, shape.block, shape.block_bytes);
  switch (shape.start_is) {
    case MimallocStart::kNotTold:
      break;
    case MimallocStart::kAddress:
      s.first_block = number(from, shape.start, 8);
      break;
    case MimallocStart::kWordsOn:
      s.first_block = at + number(from, shape.start, 4) * 8;
      break;
    case MimallocStart::kBytesOn:
      s.first_block = at + number(from, shape.start, 8);
      break;
  }
  s.ownerless = is_ownerless(shape, from);
  if (shape.keys) memcpy(s.keys, from + shape.keys, sizeof s.keys);
  if (shape.memory) {
    s.source = number(from, shape.memory, 8);
    s.extent = number(from, shape.memory + 8, 8);
    s.slice_index = static_cast<std::uint32_t>(s.extent);
    s.slices = static_cast<std::uint32_t>(s.extent >> 32);
    s.of_arena = from[shape.memory + 16] == shape.kind_of_arena;
  }
  return s;
}

bool describes_mimalloc_block(const MimallocStructure& s, std::uintptr_t block, std::uint64_t usable,
                              std::uintptr_t begin, std::uintptr_t end) noexcept {
  // Rounding up takes an eighth at most, padding two words.
  if (s.block_bytes < usable || s.block_bytes > usable + usable / 4 + 64) return false;
  if (s.used == 0 || !describes_mimalloc_page(s, begin, end)) return false;
  if (s.first_block == 0) return true;
  return block >= s.first_block && (block - s.first_block) % s.block_bytes == 0 &&
         (block - s.first_block) / s.block_bytes < s.capacity;
}

bool describes_mimalloc_page(const MimallocStructure& s, std::uintptr_t begin, std::uintptr_t end) noexcept {
  if (s.block_bytes < sizeof(void*) || s.used > s.capacity || s.capacity > s.reserved || s.reserved == 0 ||
      end <= begin || s.reserved > (end - begin) / s.block_bytes)
    return false;
  for (const std::uintptr_t head : {s.free, s.local_free})
    if (head != 0 && (head < begin || head >= end || head % 8 != 0)) return false;
  return s.first_block == 0 || (s.first_block >= begin && s.first_block + s.reserved * s.block_bytes <= end);
}

}  // namespace mallard::heaps
