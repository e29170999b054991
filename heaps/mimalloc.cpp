// SPDX-License-Identifier: Apache-2.0
#include "heaps/mimalloc.hpp"

namespace mallard::heaps {
namespace {
constinit PageCopies g_copies;
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
    const std::uintptr_t distance = at > page.thread_free ? at - page.thread_free : page.thread_free - at;
    ++result.reads;
    if (at / kPageBytes != os_page && ++copies == kSmallCopies && may_copy_all)
      g_copies.copy_window(page.begin);
    os_page = at / kPageBytes;
    if (at < page.begin || at + sizeof at > page.end || distance % page.block_bytes != 0 ||
        !g_copies.get(at, &at)) {
      ++result.raced;
      break;
    }
    ++n;
  }
  return n;
}

void MimallocPages::report(const MimallocPage& page, std::uint64_t freed) noexcept {
  ++result.reads;
  if (page.used == 0) return;
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
  freed += thread_free_length(page);
  if (freed >= page.used) return;
  request_.report(
      {page.begin, page.end, UnitKind::kBlocks, page.block_bytes, (page.used - freed) * page.block_bytes, 0});
}

}  // namespace mallard::heaps
