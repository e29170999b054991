// SPDX-License-Identifier: Apache-2.0
// The blocks of a heap as bits, so that a search through millions of them takes a twentieth of the heap: two
// bits for each word of it say where a block begins, whether it was reached, and where it ends. A third holds
// what earlier looks found. Context: offline, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "base/os.hpp"

namespace mallard::outside {

struct FoundBlock {
  std::uintptr_t begin = 0;  ///< 0 = none
  std::uint64_t bytes = 0;
};

class BlockMap {
 public:
  BlockMap() noexcept;
  ~BlockMap();
  BlockMap(const BlockMap&) = delete;
  BlockMap& operator=(const BlockMap&) = delete;

  static constexpr std::uintptr_t kWord = 8;  ///< blocks begin and end at multiples of it

  /// Forgets all blocks, not what was noted of them.
  void begin_look() noexcept;
  /// Blocks do not overlap. \return false if there is no memory for it
  bool add(std::uintptr_t begin, std::uint64_t bytes) noexcept;
  /// Takes a block out; what points there points to nothing. \return how large it was; 0 = there was none
  std::uint64_t remove(std::uintptr_t begin) noexcept;
  /// No block is added after this.
  void end_of_blocks() noexcept;

  /// The block that has the address inside.
  FoundBlock find(std::uintptr_t at) const noexcept {
    return at - lowest_ < highest_ - lowest_ ? find_inside(at) : FoundBlock{};
  }
  bool may_have(std::uintptr_t at) const noexcept { return at - lowest_ < highest_ - lowest_; }
  /// \return true the first time since it was added or unmarked
  bool mark(const FoundBlock& block) noexcept;
  bool is_marked(const FoundBlock& block) const noexcept;
  void unmark(const FoundBlock& block) noexcept;
  /// The block that begins there.
  FoundBlock block_at(std::uintptr_t begin) const noexcept {
    return is_block(begin) ? FoundBlock{begin, bytes_at(begin)} : FoundBlock{};
  }

  /// A note that outlives begin_look(): that a block began there.
  bool is_noted(std::uintptr_t begin) const noexcept;
  void note(std::uintptr_t begin, bool value) noexcept;

  /// Remembers a marked block whose contents are still to be looked at; take_waiting() gives them all back in
  /// ascending order, but for those that came behind it meanwhile, and says whether there were any.
  void wait(const FoundBlock& block) noexcept;
  template <class Visit>
  bool take_waiting(Visit visit) noexcept;
  /// Calls visit(begin) for each place that was noted, in ascending order.
  template <class Visit>
  void each_note(Visit visit) const noexcept {
    for (const Cell* cell : cells_.span())
      for (std::size_t w = 0; w < kWords; ++w)
        for (std::uint64_t bits = cell->notes[w]; bits != 0; bits &= bits - 1)
          visit(cell->base + (w * 64 + lowest_bit(bits)) * kWord);
  }

  /// Calls visit(block) for each block, in ascending order.
  template <class Visit>
  void each(Visit visit) const noexcept {
    for (const Cell* cell : cells_.span()) {
      for (std::size_t w = 0; w < kWords; ++w)
        for (std::uint64_t bits = cell->begins[w]; bits != 0; bits &= bits - 1) {
          const std::uintptr_t at = cell->base + (w * 64 + lowest_bit(bits)) * kWord;
          visit(FoundBlock{at, bytes_at(at)});
        }
    }
  }

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  /// Memory of the map itself, that of notes aside.
  std::uint64_t own_bytes() const noexcept { return own_bytes_; }
  /// Memory that notes take.
  std::uint64_t note_bytes() const noexcept { return cells_.span().size() * sizeof(Cell::notes); }
  bool out_of_memory() const noexcept { return out_of_memory_; }

 private:
  static constexpr unsigned kCellBits = 20;
  static constexpr std::uintptr_t kCellBytes = std::uintptr_t{1} << kCellBits;
  static constexpr std::size_t kWords = kCellBytes / kWord / 64;
  static constexpr unsigned kAddressBits = 47, kTableBits = 14;
  static constexpr std::size_t kTables = std::size_t{1} << (kAddressBits - kCellBits - kTableBits);
  static constexpr std::size_t kTableCells = std::size_t{1} << kTableBits;
  /// Smaller blocks are found by a search of the bits before an address.
  static constexpr std::uint64_t kLarge = 8 << 10;

  struct Cell {
    std::uint64_t begins[kWords];  ///< a block begins
    std::uint64_t marks[kWords];   ///< it was reached; where none begins: one ends
    std::uint64_t notes[kWords];
    std::uint64_t waiting[kWords];
    std::uintptr_t base;
    bool has_waiting;
  };
  struct Large {
    std::uintptr_t begin;
    std::uint64_t bytes;
  };
  /// A growing array in memory of its own, which goes back when it grows.
  template <class T>
  class List {
   public:
    ~List() {
      if (items_) os::unmap(items_, capacity_ * sizeof(T));
    }
    bool add(const T& value) noexcept;
    void clear() noexcept { size_ = 0; }
    std::span<T> span() const noexcept { return {items_, size_}; }
    std::uint64_t bytes() const noexcept { return capacity_ * sizeof(T); }

   private:
    T* items_ = nullptr;
    std::size_t size_ = 0, capacity_ = 0;
  };

  static unsigned lowest_bit(std::uint64_t bits) noexcept {
    return static_cast<unsigned>(__builtin_ctzll(bits));
  }
  Cell* cell_of(std::uintptr_t at) const noexcept {
    const std::uintptr_t table = at >> (kCellBits + kTableBits);
    if (table >= kTables || !tables_ || !tables_[table]) return nullptr;
    return tables_[table][at >> kCellBits & (kTableCells - 1)];
  }
  static std::size_t index_of(std::uintptr_t at) noexcept { return at % kCellBytes / kWord; }
  static bool bit(const std::uint64_t* words, std::size_t i) noexcept { return words[i / 64] >> i % 64 & 1; }
  static void set(std::uint64_t* words, std::size_t i, bool value) noexcept {
    const std::uint64_t mask = std::uint64_t{1} << i % 64;
    words[i / 64] = value ? words[i / 64] | mask : words[i / 64] & ~mask;
  }
  Cell* make_cell(std::uintptr_t at) noexcept;
  FoundBlock find_inside(std::uintptr_t at) const noexcept;
  bool is_block(std::uintptr_t begin) const noexcept;
  std::uint64_t bytes_at(std::uintptr_t begin) const noexcept;
  const Large* large_before(std::uintptr_t at) const noexcept;

  Cell*** tables_ = nullptr;
  List<Cell*> cells_;
  List<Large> large_;
  Cell* spare_ = nullptr;
  std::size_t spare_count_ = 0;
  Arena arena_{std::size_t{1} << 40};  ///< of tables and cells
  std::uintptr_t lowest_ = ~std::uintptr_t{0}, highest_ = ~std::uintptr_t{0};
  std::uint64_t count_ = 0, bytes_ = 0, own_bytes_ = 0;
  bool out_of_memory_ = false;
};

template <class Visit>
bool BlockMap::take_waiting(Visit visit) noexcept {
  bool any = false;
  for (Cell* cell : cells_.span()) {
    if (!cell->has_waiting) continue;
    cell->has_waiting = false;
    for (std::size_t w = 0; w < kWords; ++w)
      while (cell->waiting[w] != 0) {
        const unsigned bit_there = lowest_bit(cell->waiting[w]);
        cell->waiting[w] &= cell->waiting[w] - 1;
        const std::uintptr_t at = cell->base + (w * 64 + bit_there) * kWord;
        any = true;
        visit(FoundBlock{at, bytes_at(at)});
      }
  }
  return any;
}

}  // namespace mallard::outside
