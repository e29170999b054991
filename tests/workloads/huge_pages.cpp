// SPDX-License-Identifier: Apache-2.0
// huge_pages MEGABYTES SEED: buffers on transparent huge pages: one byte written brings two megabytes.
#include "live_heap.hpp"

using namespace workload;

SITE_FUNCTION(site_huge, aligned_alloc(2 * kMega, size))
SITE_FUNCTION(site_ordinary, malloc(size))

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 200) * kMega;
  List<Block> blocks(1 << 16);
  for (std::uint64_t done = 0; done < bytes; done += 8 * kMega) {
    char* buffer = static_cast<char*>(site_huge(8 * kMega));
    madvise(buffer, 8 * kMega, MADV_HUGEPAGE);
    buffer[0] = buffer[4 * kMega] = 1;
    blocks.push({reinterpret_cast<std::uintptr_t>(buffer), 8 * kMega, 0});
  }
  for (std::uint64_t done = 0; done < bytes / 10; done += 1000) {
    void* block = site_ordinary(1000);
    touch(block, 1000);
    blocks.push({reinterpret_cast<std::uintptr_t>(block), 1000, 1});
  }
  const HeapTruth heap = divide_heap(blocks);
  Truth truth;
  truth.site("site_huge", heap.sites[0].live_bytes, static_cast<std::uint64_t>(heap.sites[0].resident_bytes));
  truth.site("site_ordinary", heap.sites[1].live_bytes,
             static_cast<std::uint64_t>(heap.sites[1].resident_bytes));
  truth.cause("huge", rollup_bytes("\nAnonHugePages:"), 4 * kMega);
  truth.verdict("huge_pages");
  truth.rss();
  ask_for_report();
  truth.print();
}
