// SPDX-License-Identifier: Apache-2.0
// Facts from src/{span.h,thread_cache.h,central_freelist.{h,cc},linked_list.h} of gperftools 2.8 to 2.18: a free
// block begins with the address of the next one.
#include "heaps/tcmalloc_blocks.hpp"

#include <string.h>

#include "heaps/tcmalloc_caches.hpp"

namespace mallard::heaps {
namespace {

/// A list that changes while it is followed is tried so often.
constexpr int kTries = 4;
constexpr std::uint64_t kLongestList = 8 << 10;  ///< as tcmalloc lets it grow

constinit PageCopies g_copies{};
constinit std::uintptr_t g_list[kLongestList]{};

}  // namespace

TcmallocBlocks::TcmallocBlocks(const TcmallocFound& found, const CensusRequest& request) noexcept
    : found_(found), request_(request), process_(request.process), resident_(request.resident) {
  g_copies.begin(process_);
}

/// Notes which blocks are on the span's own list. \return false if it is not as long as the span says
bool TcmallocBlocks::find_free(const TcmallocSpan& span, std::uintptr_t begin, std::uint64_t blocks,
                               std::uint64_t each) noexcept {
  if (blocks > kMostBlocks) return false;
  memset(free_, 0, (blocks + 63) / 64 * sizeof *free_);
  std::uintptr_t at = span.free_list;
  for (std::uint64_t n = blocks - span.handed_out(); n > 0; --n) {
    const std::uint64_t i = (at - begin) / each;
    if (at < begin || i >= blocks || begin + i * each != at || (free_[i / 64] >> i % 64 & 1) != 0) return false;
    free_[i / 64] |= std::uint64_t{1} << i % 64;
    if (!g_copies.get(at, &at)) return false;
  }
  return at == 0;
}

void TcmallocBlocks::report_span(const TcmallocSpan& span) noexcept {
  const std::uintptr_t begin = span.first_page << found_.map.page_shift;
  const std::uint64_t bytes = span.pages << found_.map.page_shift;
  // Blocks in caches that are not found would look live, and nothing leads to them.
  const bool are_caches_known = found_.first_cache != 0 && found_.first_transfer != 0;
  if (span.size_class() == 0) return request_.report_block(begin, bytes);
  const std::uint64_t each = found_.class_bytes[span.size_class()], blocks = bytes / each;
  if (!are_caches_known || !resident_.covers(begin, begin + bytes) || !find_free(span, begin, blocks, each))
    return request_.report_block(begin, bytes, false);
  for (std::uint64_t i = 0; i < blocks; ++i)
    if ((free_[i / 64] >> i % 64 & 1) == 0) request_.report_block(begin + i * each, each);
}

/// Notes the blocks of a list. \return false if it has another length
bool TcmallocBlocks::follow(std::uintptr_t head_at, std::uint64_t length) noexcept {
  std::uintptr_t at = 0;
  if (!process_.get(head_at, &at)) return false;
  for (std::uint64_t n = 0; n < length; ++n) {
    g_list[n] = at;
    if (at % sizeof at != 0 || at < kPageBytes || !process_.get(at, &at)) return false;
  }
  return at == 0;
}

void TcmallocBlocks::take_out_list(std::uintptr_t head_at, std::uint64_t length) noexcept {
  if (length == 0) return;
  for (int i = 0; i < kTries && length <= kLongestList; ++i) {
    if (!follow(head_at, length)) continue;
    for (std::uint64_t n = 0; n < length; ++n) request_.on_cached(g_list[n], request_.opaque);
    return;
  }
  // What it leads to counts as reachable instead.
  request_.report({head_at, head_at + sizeof head_at, UnitKind::kNotExamined, 0, 0, 0});
}

void TcmallocBlocks::take_out_of_threads() noexcept {
  std::uintptr_t cache = found_.first_cache;
  for (std::uint32_t n = 0; cache != 0 && n < kMostCaches; ++n) {
    for (std::size_t i = 1; i < kTcmallocClasses && found_.class_bytes[i] != 0; ++i) {
      std::uint32_t length = 0;
      const std::uintptr_t list = cache + i * kListBytes;
      if (process_.get(list + kLengthInList, &length)) take_out_list(list, length);
    }
    if (found_.next_in_cache == 0 || !process_.get(cache + found_.next_in_cache, &cache)) break;
  }
}

void TcmallocBlocks::take_out_between() noexcept {
  for (std::size_t i = 1; i < kTcmallocClasses && found_.class_bytes[i] != 0; ++i) {
    const std::uintptr_t counts = found_.first_transfer + (i - 1) * found_.transfer_stride;
    std::int32_t used = 0;
    if (!process_.get(counts, &used) || used <= 0 || found_.moved[i] <= 0) continue;
    for (std::uint64_t slot = 0; slot < static_cast<std::uint64_t>(used) && slot < kTransferSlots; ++slot)
      take_out_list(counts - (kTransferSlots - slot) * kSlotBytes, static_cast<std::uint64_t>(found_.moved[i]));
  }
}

void TcmallocBlocks::take_out_cached() noexcept {
  if (!request_.on_cached) return;
  if (found_.first_cache != 0) take_out_of_threads();
  if (found_.first_transfer != 0) take_out_between();
}

}  // namespace mallard::heaps
