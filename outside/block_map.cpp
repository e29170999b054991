// SPDX-License-Identifier: Apache-2.0
#include "outside/block_map.hpp"

#include <string.h>

#include <algorithm>

#include "base/os.hpp"

namespace mallard::outside {

template <class T>
bool BlockMap::List<T>::add(const T& value) noexcept {
  if (size_ == capacity_) {
    const std::size_t more = capacity_ ? capacity_ * 2 : kPageBytes / sizeof(T);
    auto* items = static_cast<T*>(os::map_sparse(more * sizeof(T)));
    if (!items) return false;
    if (items_) {
      memcpy(static_cast<void*>(items), items_, size_ * sizeof(T));
      os::unmap(items_, capacity_ * sizeof(T));
    }
    items_ = items;
    capacity_ = more;
  }
  items_[size_++] = value;
  return true;
}

BlockMap::BlockMap() noexcept {
  tables_ = arena_.array<Cell**>(kTables);
  out_of_memory_ = !tables_;
}

BlockMap::~BlockMap() = default;

BlockMap::Cell* BlockMap::make_cell(std::uintptr_t at) noexcept {
  if (Cell* known = cell_of(at)) return known;
  const std::uintptr_t table = at >> (kCellBits + kTableBits);
  if (table >= kTables || !tables_) return nullptr;
  if (!tables_[table]) tables_[table] = arena_.array<Cell*>(kTableCells);
  if (!tables_[table]) return nullptr;
  if (spare_count_ == 0) {
    constexpr std::size_t kAtOnce = 16;
    spare_ = arena_.array<Cell>(kAtOnce);
    if (!spare_) return nullptr;
    spare_count_ = kAtOnce;
  }
  Cell* cell = spare_++;
  --spare_count_;
  cell->base = at & ~(kCellBytes - 1);
  if (!cells_.add(cell)) return nullptr;
  tables_[table][at >> kCellBits & (kTableCells - 1)] = cell;
  return cell;
}

void BlockMap::begin_look() noexcept {
  for (Cell* cell : cells_.span()) {
    memset(cell->begins, 0, sizeof cell->begins);
    memset(cell->marks, 0, sizeof cell->marks);
  }
  large_.clear();
  count_ = bytes_ = 0;
  lowest_ = highest_ = ~std::uintptr_t{0};
}

bool BlockMap::add(std::uintptr_t begin, std::uint64_t bytes) noexcept {
  const std::uintptr_t end = begin + (bytes & ~(kWord - 1));
  if (begin % kWord != 0 || end <= begin || end >> kAddressBits != 0) return true;
  Cell *first = make_cell(begin), *last = make_cell(end);
  if (!first || !last || (end - begin > kLarge && !large_.add({begin, end - begin}))) {
    out_of_memory_ = true;
    return false;
  }
  // What is inside a large block has a cell, so that it is found there.
  if (end - begin > kCellBytes)
    for (std::uintptr_t at = begin + kCellBytes; at < end; at += kCellBytes)
      if (!make_cell(at)) return !(out_of_memory_ = true);
  set(first->begins, index_of(begin), true);
  set(first->marks, index_of(begin), false);
  if (!bit(last->begins, index_of(end))) set(last->marks, index_of(end), true);
  ++count_;
  bytes_ += end - begin;
  if (lowest_ > begin) lowest_ = begin;
  if (highest_ == ~std::uintptr_t{0} || highest_ < end) highest_ = end;
  return true;
}

std::uint64_t BlockMap::remove(std::uintptr_t begin) noexcept {
  Cell* cell = cell_of(begin);
  if (!cell || begin % kWord != 0 || !bit(cell->begins, index_of(begin))) return 0;
  const std::uint64_t bytes = bytes_at(begin);
  --count_;
  bytes_ -= bytes;
  set(cell->begins, index_of(begin), false);
  set(cell->marks, index_of(begin), true);
  return bytes;
}

void BlockMap::end_of_blocks() noexcept {
  std::sort(cells_.span().begin(), cells_.span().end(),
            [](const Cell* a, const Cell* b) { return a->base < b->base; });
  std::sort(large_.span().begin(), large_.span().end(),
            [](const Large& a, const Large& b) { return a.begin < b.begin; });
  own_bytes_ = cells_.span().size() * (sizeof(Cell::begins) + sizeof(Cell::marks) + sizeof(Cell::waiting)) +
               cells_.bytes() + large_.bytes();
}

const BlockMap::Large* BlockMap::large_before(std::uintptr_t at) const noexcept {
  const std::span<Large> all = large_.span();
  const auto next = std::upper_bound(all.begin(), all.end(), at,
                                     [](std::uintptr_t x, const Large& l) { return x < l.begin; });
  return next == all.begin() ? nullptr : &*(next - 1);
}

FoundBlock BlockMap::find_inside(std::uintptr_t at) const noexcept {
  const Cell* cell = cell_of(at);
  if (!cell) return {};
  std::size_t i = index_of(at), word = i / 64;
  std::uint64_t mask = ~std::uint64_t{0} >> (63 - i % 64);
  for (std::uint64_t searched = 0; searched <= kLarge; searched += 64 * kWord) {
    if (const std::uint64_t bits = (cell->begins[word] | cell->marks[word]) & mask) {
      const unsigned top = 63 - static_cast<unsigned>(__builtin_clzll(bits));
      if (!(cell->begins[word] >> top & 1)) return {};
      const std::uintptr_t begin = cell->base + (word * 64 + top) * kWord;
      return {begin, bytes_at(begin)};
    }
    mask = ~std::uint64_t{0};
    if (word-- > 0) continue;
    cell = cell_of(cell->base - 1);
    if (!cell) break;
    word = kWords - 1;
  }
  const Large* large = large_before(at);
  return large && at - large->begin < large->bytes && is_block(large->begin)
             ? FoundBlock{large->begin, large->bytes}
             : FoundBlock{};
}

bool BlockMap::is_block(std::uintptr_t begin) const noexcept {
  const Cell* cell = cell_of(begin);
  return cell && bit(cell->begins, index_of(begin));
}

/// Where the next block begins, or this one ends: at most kLarge away, or it is a large one.
std::uint64_t BlockMap::bytes_at(std::uintptr_t begin) const noexcept {
  const Cell* cell = cell_of(begin);
  std::size_t i = index_of(begin) + 1, word = i / 64;
  std::uint64_t mask = i % 64 == 0 ? ~std::uint64_t{0} : ~std::uint64_t{0} << i % 64;
  for (std::uint64_t searched = 0; cell && searched <= kLarge + 64 * kWord; searched += 64 * kWord) {
    if (word == kWords) {
      cell = cell_of(cell->base + kCellBytes);
      if (!cell) break;
      word = 0;
    }
    if (const std::uint64_t bits = (cell->begins[word] | cell->marks[word]) & mask) {
      const std::uint64_t bytes = cell->base + (word * 64 + lowest_bit(bits)) * kWord - begin;
      if (bytes <= kLarge) return bytes;
      break;
    }
    mask = ~std::uint64_t{0};
    ++word;
  }
  const Large* large = large_before(begin);
  return large && large->begin == begin ? large->bytes : 0;
}

bool BlockMap::mark(const FoundBlock& block) noexcept {
  Cell* cell = cell_of(block.begin);
  const std::size_t i = index_of(block.begin);
  if (!cell || bit(cell->marks, i)) return false;
  set(cell->marks, i, true);
  return true;
}

bool BlockMap::is_marked(const FoundBlock& block) const noexcept {
  const Cell* cell = cell_of(block.begin);
  return cell && bit(cell->marks, index_of(block.begin));
}

void BlockMap::unmark(const FoundBlock& block) noexcept {
  if (Cell* cell = cell_of(block.begin)) set(cell->marks, index_of(block.begin), false);
}

bool BlockMap::is_noted(std::uintptr_t begin) const noexcept {
  const Cell* cell = cell_of(begin);
  return cell && bit(cell->notes, index_of(begin));
}

void BlockMap::note(std::uintptr_t begin, bool value) noexcept {
  if (Cell* cell = cell_of(begin)) set(cell->notes, index_of(begin), value);
}

void BlockMap::wait(const FoundBlock& block) noexcept {
  Cell* cell = cell_of(block.begin);
  if (!cell) return;
  set(cell->waiting, index_of(block.begin), true);
  cell->has_waiting = true;
}

}  // namespace mallard::outside
