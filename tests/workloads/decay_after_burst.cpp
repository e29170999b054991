// SPDX-License-Identifier: Apache-2.0
// decay_after_burst MEGABYTES SEED WAIT_MS: allocates much, frees all of it but the last block, waits. What
// is still resident then is retained by the allocator: nothing pins it.
#include "live_heap.hpp"

using namespace workload;

SITE_FUNCTION(site_burst, malloc(size))
SITE_FUNCTION(site_last, malloc(size))
SITE_FUNCTION(site_steady, malloc(size))

namespace {

/// Allocators decay when they are called; a program that does nothing at all would not see it.
void idle_with_some_calls(std::uint64_t milliseconds) {
  for (std::uint64_t waited = 0; waited < milliseconds; waited += 50) {
    for (int i = 0; i < 2000; i++) free(site_steady(static_cast<std::size_t>(i)));
    rest_ms(50);
  }
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 400) * kMega;
  Random random(argument(count, words, 2, 1));
  const std::uint64_t wait_ms = argument(count, words, 3, 0);
  List<Block> blocks(bytes / 200);
  for (std::uint64_t left = bytes; left > 4000;) {
    const std::size_t size = random.between(200, 4000);
    void* block = site_burst(size);
    touch(block, size);
    blocks.push({reinterpret_cast<std::uintptr_t>(block), size, 0});
    left -= size;
  }
  void* last = site_last(100);  // above the others, so that the heap does not simply shrink
  touch(last, 100);
  for (const Block& block : blocks) free(reinterpret_cast<void*>(block.address));
  if (wait_ms) {
    ask_for_report();
    idle_with_some_calls(wait_ms);
  }

  // Whole pages that belonged to blocks and are still there; at their edges others may have lived.
  std::sort(blocks.begin(), blocks.end(),
            [](const Block& a, const Block& b) { return a.address < b.address; });
  std::uint64_t retained = 0;
  {
    PageTables pages;
    std::uintptr_t seen = 0;
    for (const Block& block : blocks) {
      const std::uintptr_t end = (block.address + block.size + kPage - 1) / kPage * kPage;
      const std::uintptr_t begin = std::max(block.address / kPage * kPage, seen);
      if (begin < end) retained += pages.resident_bytes(begin, end);
      seen = std::max(seen, end);
    }
  }
  blocks.shorten(0);
  Truth truth;
  const std::uint64_t lazily_freed = rollup_bytes("\nLazyFree:");
  truth.rss();
  const std::uint64_t rss = rollup_bytes("\nRss:");
  truth.cause("lazily_freed", lazily_freed, rss / 100 + kMega);
  truth.cause("retained", retained - std::min(retained, lazily_freed), rss / 50 + kMega);
  const bool much = retained > rss / 2, little = retained < 32 * kMega;
  if (lazily_freed > rss / 2) {
    truth.verdict("lazily_freed");
  } else {  // between much and little, either is right
    if (much || !little) truth.verdict("retention");
    if (little || !much) truth.verdict("none");
  }
  ask_for_report();
  truth.print();
  free(last);
}
