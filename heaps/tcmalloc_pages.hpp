// SPDX-License-Identifier: Apache-2.0
// The page map of gperftools' tcmalloc: a tree that leads from each of its pages to the span that begins, ends
// or (spans of small blocks) lies there. Facts from src/{pagemap,span}.h of gperftools 2.0 to 2.18.
#pragma once

#include "heaps/tcmalloc.hpp"

namespace mallard::heaps {

inline constexpr unsigned kTcmallocAddressBits = 48;
inline constexpr unsigned kPageShifts[] = {13, 12, 14, 15, 16, 17, 18};  ///< that tcmalloc can be built with
inline constexpr unsigned kPageMapLevels[] = {2, 3};  ///< three: built to be small but slow

/// What is needed of the structure of a span.
struct TcmallocSpan {
  std::uint64_t first_page, pages, bits;
  std::uintptr_t free_list = 0;  ///< first free block, of a span of small ones

  std::uint64_t handed_out() const noexcept { return bits & 0xffff; }  ///< blocks, of a span of small ones
  unsigned size_class() const noexcept { return bits >> 16 & 0xff; }   ///< 0 = one large block
  bool in_use() const noexcept { return (bits >> 24 & 3) == 0; }
};
inline constexpr std::uintptr_t kFreeInSpan = 32, kBitsInSpan = 40;

class TcmallocPageMap {
 public:
  TcmallocPageMap(const ProcessMemory& process, const TcmallocMap& map) noexcept
      : process_(process), map_(map) {
    const unsigned bits = kTcmallocAddressBits - map.page_shift;
    const unsigned inner = map.levels == 2 ? bits / 2 : (bits + 2) / 3;
    unsigned shift = kTcmallocAddressBits;
    for (unsigned level = 0; level + 1 < map.levels; ++level) shift_[level] = shift -= inner;
    shift_[map.levels - 1] = map.page_shift;
  }

  std::uint64_t index(unsigned level, std::uintptr_t at) const noexcept {
    const unsigned above = level == 0 ? kTcmallocAddressBits : shift_[level - 1];
    return (at & ((std::uintptr_t{1} << above) - 1)) >> shift_[level];
  }

  /// The structure of the span at `at`; 0 if there is none. \param next  where there is more to see then
  std::uintptr_t span_at(std::uintptr_t at, std::uintptr_t* next) const noexcept {
    return find(at, next, [this](std::uintptr_t from) { return process_.word(from); });
  }
  /// Reads a span that may be none. The map has the first and the last page of each, whatever its state.
  /// \return false if it cannot be one that lies at `at`
  bool try_read(std::uintptr_t at, TcmallocSpan* span) const noexcept {
    return try_read(at, span, [this](std::uintptr_t from, std::uint64_t* to) { return process_.get(from, to); });
  }
  /// \param get  copies an aligned word; false if it cannot
  template <typename Get>
  bool try_read(std::uintptr_t at, TcmallocSpan* span, Get get) const noexcept {
    const std::uintptr_t structure = try_span_at(at, get);
    const std::uintptr_t page = at >> map_.page_shift;
    return structure != 0 && structure % 8 == 0 && get(structure, &span->first_page) &&
           get(structure + 8, &span->pages) && get(structure + kBitsInSpan, &span->bits) &&
           page >= span->first_page && page - span->first_page < span->pages &&
           span->pages <= (std::uint64_t{1} << (kTcmallocAddressBits - map_.page_shift)) - span->first_page &&
           try_span_at(span->first_page << map_.page_shift, get) == structure &&
           try_span_at((span->first_page + span->pages - 1) << map_.page_shift, get) == structure;
  }

 private:
  /// The structure of the span at `at`, where it may be no map at all.
  template <typename Get>
  std::uintptr_t try_span_at(std::uintptr_t at, Get get) const noexcept {
    std::uintptr_t next;
    return find(at, &next, [&get](std::uintptr_t from) {
      std::uint64_t word;
      return from % sizeof word == 0 && get(from, &word) ? word : 0;
    });
  }

  template <typename Word>
  std::uintptr_t find(std::uintptr_t at, std::uintptr_t* next, Word word) const noexcept {
    std::uintptr_t table = map_.root;
    for (unsigned level = 0; table != 0 && level < map_.levels; ++level) {
      *next = align_up(at + 1, std::uintptr_t{1} << shift_[level]);
      table = word(table + index(level, at) * sizeof table);
    }
    return table;
  }

  const ProcessMemory& process_;
  const TcmallocMap& map_;
  unsigned shift_[3];
};

}  // namespace mallard::heaps
