// SPDX-License-Identifier: Apache-2.0
#include "outside/look.hpp"

#include <algorithm>

#include "arch/registers.hpp"
#include "outside/glibc_arenas.hpp"

namespace mallard::outside {
namespace {

using report::Owner;
using report::Region;

constexpr const char* kNoMemory = "there was no memory for it";

}  // namespace

Reach::~Reach() {
  if (stack_) os::unmap(stack_, kMost * sizeof *stack_);
}

bool Reach::begin() noexcept {
  stack_ = static_cast<FoundBlock*>(os::map_sparse(kMost * sizeof *stack_));
  return stack_ != nullptr;
}

bool Look::refuse(const char* why) noexcept {
  out_.why_not = why;
  return false;
}

bool Look::run() noexcept {
  read_memory(arena_, process_, served_, &memory_);
  if (!memory_.known) return refuse(memory_.why_not);
  served_.claim_heaps(arena_, &memory_);
  if (!served_.backend->census)
    return refuse("the blocks of this process's allocator are not known one by one");
  out_.swapped_bytes = memory_.after.swapped;
  for (const report::ResidentRun& run : memory_.residency.runs()) {
    if (present_.size() > 0 && present_[present_.size() - 1].end == run.begin)
      present_[present_.size() - 1].end = run.end;
    else present_.add({run.begin, run.end});
  }
  pages_.emplace(process_, present_.all());
  reach_.emplace(blocks_, *pages_);
  if (present_.out_of_memory() || !pages_->has_memory() || !reach_->begin()) return refuse(kNoMemory);
  blocks_.begin_look();
  if (!find_blocks()) return false;
  // From here on the look must be quick: blocks that move on meanwhile are missed.
  threads_.each(
      threads_.self,
      [](const ThreadState& thread, void* self) { static_cast<Look*>(self)->visit_thread(thread); }, this,
      &out_);
  from_regions();
  if (unread_bytes_ > kPageBytes)  // the program's own, and it may lead to any block
    return refuse("memory that the program keeps from itself (PROT_NONE) may not be read here");
  for (const AddressRange& range : roots_.all()) reach_->from_memory(range.begin, range.end);
  for (const FoundBlock& block : unsure_.all()) reach_->from_block(block);
  reach_->finish();
  return true;
}

bool Look::find_blocks() noexcept {
  Growing<AddressRange> mapped(arena_), resident(arena_);
  for (const Region& r : memory_.regions.all) {
    if (r.owner != Owner::kHeap) continue;
    mapped.add({r.begin, r.end});
    for (std::uintptr_t at = r.begin; (at = pages_->next_present(at, r.end)) < r.end;) {
      resident.add({at, pages_->present_end(at, r.end)});
      at = resident[resident.size() - 1].end;
    }
  }
  if (mapped.out_of_memory() || resident.out_of_memory()) return refuse(kNoMemory);
  out_.unsure_bytes = 0;
  const heaps::CensusResult census =
      served_.backend->census({.process = process_,
                               .heap = mapped.all(),
                               .resident = resident.all(),
                               .sampled_blocks = {},
                               .budget_bytes = std::uint64_t{1} << 60,
                               .on_unit =
                                   [](const heaps::Unit& unit, void* self) {
                                     auto& look = *static_cast<Look*>(self);
                                     if (unit.kind == heaps::UnitKind::kBlocks)
                                       look.live_bytes_ += unit.live_bytes;
                                     if (unit.kind != heaps::UnitKind::kNotExamined) return;
                                     look.roots_.add({unit.begin, unit.end});
                                     look.out_.unsure_bytes += unit.end - unit.begin;
                                   },
                               .opaque = this,
                               .on_block =
                                   [](std::uintptr_t begin, std::uint64_t bytes, bool is_sure, void* self) {
                                     auto& look = *static_cast<Look*>(self);
                                     look.blocks_.add(begin, bytes);
                                     if (is_sure) return;
                                     look.unsure_.add({begin, bytes});
                                     look.out_.unsure_bytes += bytes;
                                   },
                               .on_cached =
                                   [](std::uintptr_t begin, void* self) {
                                     auto& look = *static_cast<Look*>(self);
                                     look.live_bytes_ -= std::min(look.live_bytes_, look.blocks_.remove(begin));
                                   }});
  if (!census.done) return refuse(census.why_not);
  if (blocks_.bytes() < live_bytes_ / 2)  // a census that counts blocks, and does not name them
    return refuse("the blocks of this process's allocator are not known one by one");
  take_out_free_blocks();
  blocks_.end_of_blocks();
  if (blocks_.out_of_memory() || roots_.out_of_memory() || unsure_.out_of_memory()) return refuse(kNoMemory);
  return true;
}

/// Of glibc: on lists whose heads are the arenas'.
void Look::take_out_free_blocks() noexcept {
  for (const Region& r : memory_.regions.all) {
    if (r.owner != Owner::kFile || !r.writable || !r.readable) continue;
    const std::uintptr_t arena = find_main_arena(process_, {r.begin, r.end});
    if (arena == 0) continue;
    left_out_ = description_of_arena(arena);
    for_each_fast_block(
        process_, arena, [](std::uintptr_t block, void* map) { static_cast<BlockMap*>(map)->remove(block); },
        &blocks_);
    return;
  }
}

void Look::visit_thread(const ThreadState& thread) noexcept {
  stack_pointers_.add(thread.stack_pointer);
  for (const std::uint64_t word : thread.registers) reach_->from_word(word);
  for (const std::uint64_t word : thread.stack) reach_->from_word(word);
  // What was reached waits: the next thread is asked first.
}

void Look::from_memory(std::uintptr_t begin, std::uintptr_t end) noexcept {
  if (left_out_.end <= begin || end <= left_out_.begin) return reach_->from_memory(begin, end);
  if (begin < left_out_.begin) reach_->from_memory(begin, left_out_.begin);
  if (left_out_.end < end) reach_->from_memory(left_out_.end, end);
}

/// What a thread's stack pointer has left behind is old. Of a stack without a thread, which glibc keeps for
/// the next one, only the thread's own data at its end are kept in order.
void Look::from_stack(const Region& region) noexcept {
  constexpr std::uintptr_t kThreadData = 16 << 10;
  std::uintptr_t from = region.end - std::min<std::uintptr_t>(kThreadData, region.end - region.begin);
  if (out_.registers_why) return from_memory(region.begin, region.end);
  for (const std::uintptr_t at : stack_pointers_.all())
    if (at >= region.begin && at < region.end) from = std::min(from, at);
  from_memory(from - std::min<std::uintptr_t>(arch::kRedZone, from - region.begin), region.end);
}

/// A program may keep memory from itself, addresses in it and all, and open it again later.
void Look::from_protected(const Region& region) noexcept {
  const std::uint64_t before = pages_->refused_bytes();
  pages_->read_protected(true);
  from_memory(region.begin, region.end);
  pages_->read_protected(false);
  unread_bytes_ += pages_->refused_bytes() - before;
}

void Look::from_regions() noexcept {
  for (const Region& r : memory_.regions.all) {
    // mallard's own tables have the address of every block that they know.
    if (r.owner == Owner::kHeap || r.owner == Owner::kKernel || r.owner == Owner::kOwn) continue;
    const bool in_no_file = r.private_anonymous || r.owner == Owner::kShared;
    if (!r.readable) {
      if (in_no_file) from_protected(r);
    } else if (r.owner == Owner::kStack) {
      from_stack(r);
    } else if (r.writable || in_no_file) {
      from_memory(r.begin, r.end);
    }
  }
}

}  // namespace mallard::outside
