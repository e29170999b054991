// SPDX-License-Identifier: Apache-2.0
#include "heaps/mimalloc.hpp"

#include <string.h>

#include <initializer_list>

#include "heaps/mimalloc_pages.hpp"

namespace mallard::heaps {
namespace {

constinit PageCopies g_copies;

/// What a link of an encoded free list means.
std::uintptr_t decoded(std::uintptr_t link, const MimallocPage& page) noexcept {
  const unsigned turn = page.keys[0] % 64;
  const std::uint64_t turned = link - page.keys[0];
  const std::uint64_t back = turn == 0 ? turned : turned >> turn | turned << (64 - turn);
  const std::uintptr_t at = back ^ page.keys[1];
  return at == page.structure ? 0 : at;
}

}  // namespace

CensusResult mimalloc_census(MimallocAccess& access, const CensusRequest& request) noexcept {
  MimallocLayout& layout = access.layout;
  if (!layout.shape && access.malloc) layout = find_mimalloc_segments(access, request.process);
  if (!layout.shape && access.malloc) layout = find_mimalloc_page_map(access, request.process);
  if (!layout.shape) {
    CensusResult refused{.unit_name = "page of mimalloc"};
    refused.why_not = "the page structures of this mimalloc are laid out as in no version that is known";
    return refused;
  }
  return layout.shape->family == MimallocFamily::kSegments ? census_of_mimalloc_segments(layout, request)
                                                           : census_of_mimalloc_page_map(layout, request);
}

MimallocLayout find_mimalloc_layout(const ProcessMemory& process, AddressRange data,
                                    std::span<const std::uintptr_t> pages) noexcept {
  const MimallocLayout segments = find_mimalloc_segments(process, pages);
  return segments.shape ? segments : find_mimalloc_page_map(process, data, pages);
}

bool is_mimallocs(const ProcessMemory& process, const MimallocLayout& layout, std::uintptr_t page) noexcept {
  return layout.shape->family == MimallocFamily::kSegments ? is_in_mimalloc_segment(process, layout, page)
                                                           : is_in_mimalloc_page(process, layout, page);
}

bool MimallocProbes::next() noexcept {
  if (count_ == kCount) return false;
  constexpr int kOfOneSize = 8;
  const std::size_t bytes =
      count_ < kOfOneSize ? kMimallocSlice / 64 : std::size_t{700} << (count_ - kOfOneSize);
  void* block = access_.malloc(bytes);
  if (!block) return false;
  blocks_[count_++] = block;
  return true;
}

void MimallocCandidate::add(const MimallocStructure* s) noexcept {
  if (!s) {
    fits_ = false;
    return;
  }
  if (s->at == page_ && s->used == used_ + 1) ++counted_;
  page_ = s->at;
  used_ = s->used;
}

bool MimallocPages::is_link(const MimallocPage& page, std::uintptr_t at) const noexcept {
  const std::uintptr_t distance = at > page.thread_free ? at - page.thread_free : page.thread_free - at;
  return at >= page.begin && at + sizeof at <= page.end && distance % page.block_bytes == 0;
}

/// Every link has to stay inside the page and on a block boundary, so that a list which its owner takes over
/// meanwhile ends the walk.
std::uint64_t MimallocPages::thread_free_length(const MimallocPage& page) noexcept {
  std::uint64_t n = 0;
  std::uintptr_t at = page.thread_free;
  if (at == 0) return 0;
  g_copies.begin(request_.process);
  constexpr int kSmallCopies = 3;  // most lists are short; a long one is cheaper to copy with its whole page
  const bool may_copy_all =
      page.end - page.begin == PageCopies::kWindow && resident_.covers(page.begin, page.end);
  int copies = 0;
  std::uintptr_t os_page = 0;
  while (at != 0 && n < page.used) {
    ++result.reads;
    if (at / kPageBytes != os_page && ++copies == kSmallCopies && may_copy_all)
      g_copies.copy_window(page.begin);
    os_page = at / kPageBytes;
    std::uintptr_t next;
    if (!is_link(page, at) || !g_copies.get(at, &next)) {
      ++result.raced;
      break;
    }
    const bool encoded = (page.keys[0] | page.keys[1]) != 0 && next != 0 && !is_link(page, next);
    at = encoded ? decoded(next, page) : next;
    ++n;
  }
  return n;
}

/// Blocks lie one after the other, up to as many as there are in use and free: those that no list has are
/// live. Where the lists do not add up, nothing is told.
void MimallocPages::report_blocks(const MimallocPage& page) noexcept {
  constexpr std::uint64_t kMostBlocks = 1 << 16;
  static constinit std::uint64_t free[kMostBlocks / 64]{};
  std::uint64_t on_lists = 0, of_threads = 0;
  const auto unsure = [&] { request_.report_block(page.begin, page.end - page.begin, false); };
  if (page.first_block == 0 || page.reserved > kMostBlocks || page.block_bytes % 8 != 0) return unsure();
  memset(free, 0, (page.reserved + 63) / 64 * 8);
  g_copies.begin(request_.process);
  for (const std::uintptr_t head : {page.free_lists[0], page.free_lists[1], page.thread_free}) {
    const bool is_threads = head == page.thread_free && head != 0;
    for (std::uintptr_t at = head, next; at != 0; at = next) {
      const std::uint64_t i = (at - page.first_block) / page.block_bytes;
      if (at < page.first_block || i >= page.reserved || (at - page.first_block) % page.block_bytes != 0 ||
          (free[i / 64] >> i % 64 & 1) != 0 || !g_copies.get(at, &next))
        return unsure();
      free[i / 64] |= std::uint64_t{1} << i % 64;
      ++(is_threads ? of_threads : on_lists);
      if ((page.keys[0] | page.keys[1]) != 0 && next != 0) next = decoded(next, page);
    }
  }
  const std::uint64_t made = page.used + on_lists;
  if (made > page.reserved || of_threads > page.used) return unsure();
  for (std::uint64_t i = 0; i < made; ++i)
    if ((free[i / 64] >> i % 64 & 1) == 0)
      request_.report_block(page.first_block + i * page.block_bytes, page.block_bytes);
}

void MimallocPages::report(const MimallocPage& page, std::uint64_t freed) noexcept {
  ++result.reads;
  if (page.used == 0) return keep(page.begin, page.end);
  if (page.used > page.reserved || page.block_bytes == 0 ||
      page.block_bytes > (page.end - page.begin) / page.reserved) {
    ++result.raced;
    return;
  }
  if (counting_) {
    if (page.thread_free) list_bytes_ += page.end - page.begin;
    return;
  }
  constexpr std::uint64_t kGolden = 0x9e37'79b9'7f4a'7c15;
  if (one_in_ > 1 && page.reserved > 1 && (page.begin / kMimallocSlice * kGolden >> 32) % one_in_ != 0) {
    request_.report({page.begin, page.end, UnitKind::kNotExamined, page.block_bytes, 0, 0});
    return;
  }
  if (request_.on_block) report_blocks(page);
  freed += thread_free_length(page);
  result.free_memory.uncollected += (freed < page.used ? freed : page.used) * page.block_bytes;
  if (freed >= page.used) return keep(page.begin, page.end);
  request_.report({page.begin, page.end, UnitKind::kBlocks, page.block_bytes,
                   (page.used - freed) * page.block_bytes, 0, page.ownerless});
}

}  // namespace mallard::heaps
