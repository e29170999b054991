// SPDX-License-Identifier: Apache-2.0
// plain MEGABYTES SEED: blocks of many sizes, all of them in use. Nothing is unusual.
#include "live_heap.hpp"

using namespace workload;

SITE_FUNCTION(site_small, malloc(size))
SITE_FUNCTION(site_medium, malloc(size))

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 100) * kMega;
  Random random(argument(count, words, 2, 1));
  List<Block> blocks(bytes / 100);
  for (std::uint64_t done = 0; done < bytes;) {
    const bool medium = random.below(20) == 0;
    const std::size_t size = medium ? random.between(2000, 40000) : random.between(16, 1000);
    void* block = medium ? site_medium(size) : site_small(size);
    touch(block, size);
    blocks.push({reinterpret_cast<std::uintptr_t>(block), size, medium});
    done += size;
  }
  const HeapTruth heap = divide_heap(blocks);
  Truth truth;
  truth.site("site_small", heap.sites[0].live_bytes,
             static_cast<std::uint64_t>(heap.sites[0].resident_bytes));
  truth.site("site_medium", heap.sites[1].live_bytes,
             static_cast<std::uint64_t>(heap.sites[1].resident_bytes));
  truth.cause("live", static_cast<std::uint64_t>(heap.live_bytes), bytes / 50);
  truth.cause("rounding", static_cast<std::uint64_t>(heap.rounding_bytes), bytes / 50);
  truth.cause("holes", static_cast<std::uint64_t>(heap.holes_bytes()), bytes / 50);
  truth.verdict("none");
  truth.rss();
  ask_for_report();
  truth.print();
}
