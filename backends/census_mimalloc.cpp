// SPDX-License-Identifier: Apache-2.0
#include "backends/mimalloc_census.hpp"

namespace mallard::backends {

std::uint64_t thread_free_length(PageCopies& copies, const MimallocPage& page,
                                 CensusResult& result) noexcept {
  std::uint64_t n = 0;
  std::uintptr_t at = page.thread_free;
  if (at) copies.clear();
  while (at != 0 && n < page.used) {
    ++result.reads;
    if (at < page.begin || at + sizeof at > page.end ||
        (at > page.thread_free ? at - page.thread_free : page.thread_free - at) % page.block_bytes != 0 ||
        !copies.get(at, &at)) {
      ++result.raced;
      break;
    }
    ++n;
  }
  return n;
}

void take_mimalloc_page(PageCopies& copies, const MimallocPage& page, std::uint64_t freed,
                        const CensusRequest& request, CensusResult& result) noexcept {
  ++result.reads;
  if (page.used == 0) return;
  if (page.used > page.reserved || page.block_bytes == 0 ||
      page.block_bytes > (page.end - page.begin) / page.reserved) {
    ++result.raced;
    return;
  }
  freed += thread_free_length(copies, page, result);
  if (freed >= page.used) return;
  request.take(
      {page.begin, page.end, UnitKind::kBlocks, page.block_bytes, (page.used - freed) * page.block_bytes, 0},
      request.opaque);
}

}  // namespace mallard::backends
