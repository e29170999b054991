// SPDX-License-Identifier: Apache-2.0
// Adds up what was found lost: by size, with what the blocks are where their first word tells it, and which
// of them are lost by themselves, not with another one that led to them. Context: offline.
#pragma once

#include "outside/look.hpp"

namespace mallard::outside {

class LostGroups {
 public:
  /// \param blocks  the lost ones are noted, those that were reached are marked
  LostGroups(Arena& arena, BlockMap& blocks, Look& look) noexcept
      : arena_(arena), blocks_(blocks), look_(look) {}
  /// \return false if there is no memory
  bool run(report::LostBlocks* out) noexcept;

 private:
  struct Group {
    report::LostGroup sum;
    std::uint64_t word;  ///< the first word that most blocks may have
    std::uint64_t votes, holders;
  };
  static constexpr std::size_t kSizes = 4096, kShown = 20;

  template <class Visit>
  void each_lost(Visit visit) noexcept {
    blocks_.each_note([&](std::uintptr_t begin) {
      if (const FoundBlock block = blocks_.block_at(begin); block.begin != 0) visit(block);
    });
  }
  Group* group_of(std::uint64_t bytes) noexcept;
  void count() noexcept;
  void count_first(const FoundBlock& block) noexcept;
  void find_first() noexcept;
  std::uint64_t first_word(const FoundBlock& block) noexcept;
  std::string_view symbol_at(std::uintptr_t address) noexcept;
  bool write() noexcept;

  Arena& arena_;
  BlockMap& blocks_;
  Look& look_;
  report::LostBlocks* out_ = nullptr;
  Group* groups_ = nullptr;  ///< by size, open addressing
  std::size_t group_count_ = 0;
};

}  // namespace mallard::outside
