// SPDX-License-Identifier: Apache-2.0
// How versions of jemalloc lay out their page map: a tree of tables, indexed by bits of an address, that ends
// in one element for each page. Facts from include/jemalloc/internal/{rtree,extent_structs,edata,base}.h of
// versions 5.1.0 to 5.3.1. The widest address of the processor on which a jemalloc was built decides over the
// tables: up to 48 bits leave room for the size class beside a pointer, 57 do not.
#pragma once

#include <cstdint>

namespace mallard::heaps {

inline constexpr unsigned kJemallocMostClasses = 255;

struct BitField {
  std::uint8_t shift, width;
  constexpr std::uint64_t of(std::uint64_t word) const noexcept {
    return word >> shift & ((std::uint64_t{1} << width) - 1);
  }
};

struct JemallocTables {
  unsigned levels;
  BitField index[3];       ///< bits of an address, from the root's table to that of the elements
  unsigned element_words;  ///< the first holds the pointer to the extent, the last its size class
};

/// Fields of the first word of an extent.
struct JemallocExtentFields {
  BitField slab, state, size_class, free_regions;
};

struct JemallocLayout {
  JemallocTables tables;
  JemallocExtentFields extent;
  BitField element_slab, element_class;  ///< in the last word of an element
  bool counts_large_cached;              ///< its figure of what threads keep has the large blocks
};

/// The beginning of the structure that describes an extent.
struct JemallocExtent {
  std::uint64_t bits, address, size_and_serial;
};

/// The beginning of a block of jemalloc's own memory. Its extent tells what of it has not been used.
struct JemallocBaseBlock {
  std::uint64_t bytes, next;
  JemallocExtent unused;
};

inline constexpr std::uint64_t kJemallocActive = 0;  ///< state of an extent that is handed out
/// The pointer in an element; extents are aligned to cache lines.
inline constexpr std::uint64_t kJemallocExtentPointer = 0x0000'ffff'ffff'ffc0;
inline constexpr std::uint64_t kJemallocBaseBlockBytes = 2 << 20;  ///< or a multiple; aligned to it

/// Whether `block`, read at the address `at`, begins a block of jemalloc's own memory.
constexpr bool is_base_block(std::uintptr_t at, const JemallocBaseBlock& block) noexcept {
  return block.bytes != 0 && block.bytes % kJemallocBaseBlockBytes == 0 && block.unused.address > at &&
         block.unused.address + block.unused.size_and_serial == at + block.bytes;
}

inline constexpr JemallocTables kJemalloc48Bits{2, {{30, 18}, {12, 18}}, 1};
inline constexpr JemallocTables kJemalloc57Bits{3, {{42, 15}, {27, 15}, {12, 15}}, 2};
inline constexpr JemallocExtentFields kJemalloc52Extent{{12, 1}, {16, 2}, {18, 8}, {26, 10}};  ///< and 5.1
inline constexpr JemallocExtentFields kJemalloc53Extent{{12, 1}, {17, 3}, {20, 8}, {28, 10}};

inline constexpr JemallocLayout kJemallocLayouts[] = {
    {kJemalloc48Bits, kJemalloc53Extent, {0, 1}, {48, 16}, true},
    {kJemalloc57Bits, kJemalloc53Extent, {0, 1}, {5, 8}, true},
    {kJemalloc48Bits, kJemalloc52Extent, {0, 1}, {48, 16}, false},
    {kJemalloc57Bits, kJemalloc52Extent, {32, 1}, {0, 32}, false},
};

}  // namespace mallard::heaps
