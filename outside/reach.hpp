// SPDX-License-Identifier: Apache-2.0
// Which blocks of a heap can be reached: a conservative search from all memory of a process that is no heap,
// and from the registers of its threads, through the blocks themselves. Whatever could be an address inside a
// block counts as one: a lost block may be taken for reachable, the other way round it takes a pointer that
// is hidden (docs/limits.md). Context: offline, one thread.
#pragma once

#include <cstdint>
#include <span>

#include "outside/block_map.hpp"
#include "outside/page_cache.hpp"

namespace mallard::outside {

/// Addresses of programs have 47 bits; above them, and in the last bits, programs keep tags. What tags leave
/// in the last bits still leads into the block.
constexpr std::uintptr_t without_tag(std::uint64_t word) noexcept {
  return static_cast<std::uintptr_t>(word & ((std::uint64_t{1} << 47) - 1));
}

class Reach {
 public:
  Reach(BlockMap& blocks, PageCache& pages) noexcept : blocks_(blocks), pages_(pages) {}
  ~Reach();
  Reach(const Reach&) = delete;
  Reach& operator=(const Reach&) = delete;
  /// \return false if there is no memory
  bool begin() noexcept;

  /// Reaches what the word leads to.
  void from_word(std::uint64_t word) noexcept {
    const std::uintptr_t at = without_tag(word);
    if (MALLARD_LIKELY(!blocks_.may_have(at))) return;
    reach(blocks_.find(at));
  }
  /// Reaches what words in memory lead to.
  void from_memory(std::uintptr_t begin, std::uintptr_t end) noexcept {
    for (std::uintptr_t at = begin; (at = pages_.next_present(at, end)) < end;) {
      const std::uintptr_t stop = pages_.present_end(at, end);
      pages_.each_word(at, stop, [this](std::uint64_t word) { from_word(word); });
      at = stop;
    }
  }
  /// Reaches a block.
  void from_block(const FoundBlock& block) noexcept { reach(block); }
  /// Looks through the words of a block, without going on from there.
  template <class Visit>
  void each_word(const FoundBlock& block, Visit visit) noexcept {
    pages_.each_word(block.begin, block.begin + block.bytes, visit);
  }
  /// Goes on from all that was reached, or waits, to what is reached from there. Where many blocks are to be
  /// looked at they are, in the order of their addresses; few are followed from one to the next.
  void finish() noexcept {
    constexpr std::uint64_t kMany = 20'000;
    for (;;) {
      std::uint64_t looked_at = 0;
      goes_along_ = false;
      const bool any = blocks_.take_waiting([&](const FoundBlock& block) {
        blocks_.mark(block);  // unless it was
        scan(block);
        ++looked_at;
      });
      if (!any) return;
      if (looked_at >= kMany) continue;
      goes_along_ = true;
      followed_ = 0;
      blocks_.take_waiting([this](const FoundBlock& block) {
        scan(block);
        follow();
      });
    }
  }

 private:
  static constexpr std::size_t kMost = 1 << 12;
  static constexpr std::uint64_t kMostFollowed = 100'000;  ///< before the others have their turn

  void reach(const FoundBlock& block) noexcept {
    if (block.begin == 0 || !blocks_.mark(block)) return;
    if (goes_along_ && count_ < kMost && followed_ < kMostFollowed) stack_[count_++] = block;
    else blocks_.wait(block);
  }
  void scan(const FoundBlock& block) noexcept {
    pages_.each_word(block.begin, block.begin + block.bytes, [this](std::uint64_t word) { from_word(word); });
  }
  void follow() noexcept {
    while (count_ > 0) {
      std::size_t pieces = 0;
      while (count_ > 0 && pieces < os::kMaxPieces) {
        const FoundBlock block = stack_[--count_];
        ++followed_;
        if (!pages_.is_piece(block.begin, block.bytes)) {
          scan(block);
          continue;
        }
        begins_[pieces] = block.begin;
        bytes_[pieces++] = block.bytes;
      }
      pages_.copy_pieces(begins_, pieces, room_, [this](std::size_t i, const unsigned char* words) {
        for (std::uint64_t at = 0; at + 8 <= bytes_[i]; at += 8) {
          std::uint64_t word;
          __builtin_memcpy(&word, words + at, sizeof word);
          from_word(word);
        }
      });
    }
  }

  BlockMap& blocks_;
  PageCache& pages_;
  FoundBlock* stack_ = nullptr;
  std::size_t count_ = 0;
  bool goes_along_ = false;  ///< what is reached is looked at next; else it waits
  std::uint64_t followed_ = 0;
  std::uintptr_t begins_[os::kMaxPieces];
  std::uint64_t bytes_[os::kMaxPieces];
  unsigned char room_[os::kMaxPieces * PageCache::kPieceBytes];
};

}  // namespace mallard::outside
