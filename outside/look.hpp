// SPDX-License-Identifier: Apache-2.0
// One look at a process in search of lost blocks: its blocks, and which of them can be reached. Context:
// offline, one at a time.
#pragma once

#include <optional>

#include "base/growing.hpp"
#include "outside/block_map.hpp"
#include "outside/lost_blocks.hpp"
#include "outside/page_cache.hpp"
#include "outside/reach.hpp"
#include "report/facts/memory.hpp"

namespace mallard::outside {

class Look {
 public:
  Look(const ProcessMemory& process, const report::Served& served, BlockMap& blocks, const Threads& threads,
       report::LostBlocks* out) noexcept
      : process_(process), served_(served), blocks_(blocks), threads_(threads), out_(*out) {}

  /// Finds all blocks, and marks those that can be reached. \return false if it cannot be done (said in
  /// `out`)
  bool run() noexcept;

  // After run():
  PageCache& pages() noexcept { return *pages_; }
  Reach& reach() noexcept { return *reach_; }
  const elf::Modules& modules() const noexcept { return memory_.regions.modules; }

 private:
  bool refuse(const char* why) noexcept;
  bool find_blocks() noexcept;
  void take_out_free_blocks() noexcept;
  void visit_thread(const ThreadState& thread) noexcept;
  void from_regions() noexcept;
  void from_stack(const report::Region& region) noexcept;
  void from_protected(const report::Region& region) noexcept;
  void from_memory(std::uintptr_t begin, std::uintptr_t end) noexcept;

  const ProcessMemory& process_;
  const report::Served& served_;
  BlockMap& blocks_;
  const Threads& threads_;
  report::LostBlocks& out_;
  Arena arena_{std::size_t{4} << 30};
  report::Memory memory_;
  Growing<AddressRange> present_{arena_};
  Growing<AddressRange> roots_{arena_};  ///< parts of the heap in which blocks cannot be told
  Growing<FoundBlock> unsure_{arena_};   ///< blocks that may be free
  Growing<std::uintptr_t> stack_pointers_{arena_};
  std::uint64_t unread_bytes_ = 0;  ///< in memory, kept from the process itself, and not to be had
  std::uint64_t live_bytes_ = 0;    ///< as the census counts them
  AddressRange left_out_{};         ///< no root, though it lies in one
  std::optional<PageCache> pages_;
  std::optional<Reach> reach_;
};

}  // namespace mallard::outside
