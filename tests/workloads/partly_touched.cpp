// SPDX-License-Identifier: Apache-2.0
// partly_touched MEGABYTES SEED: large buffers of which only a part was ever written. Live by request, not in
// memory.
#include "live_heap.hpp"

using namespace workload;

SITE_FUNCTION(site_quarter_touched, malloc(size))
SITE_FUNCTION(site_sparse, calloc(1, size))
SITE_FUNCTION(site_touched, malloc(size))

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 1000) * kMega;
  Random random(argument(count, words, 2, 1));
  List<Block> blocks(1 << 16);
  for (std::uint64_t done = 0; done < bytes;) {
    const std::size_t size = random.between(2 << 20, 8 << 20);
    char* quarter = static_cast<char*>(site_quarter_touched(size));
    touch(quarter, size / 4);
    char* sparse = static_cast<char*>(site_sparse(size));
    for (std::size_t i = 0; i < size; i += 16 * kPage) sparse[i] = 1;
    void* touched = site_touched(size / 16);
    touch(touched, size / 16);
    blocks.push({reinterpret_cast<std::uintptr_t>(quarter), size, 0});
    blocks.push({reinterpret_cast<std::uintptr_t>(sparse), size, 1});
    blocks.push({reinterpret_cast<std::uintptr_t>(touched), size / 16, 2});
    done += 2 * size;
  }
  const HeapTruth heap = divide_heap(blocks);
  Truth truth;
  const char* names[] = {"site_quarter_touched", "site_sparse", "site_touched"};
  for (int i = 0; i < 3; i++)
    truth.site(names[i], heap.sites[i].live_bytes, static_cast<std::uint64_t>(heap.sites[i].resident_bytes));
  truth.cause("live", static_cast<std::uint64_t>(heap.live_bytes),
              static_cast<std::uint64_t>(heap.pinned_bytes / 50));
  // An allocator that asks for huge pages gets what was never touched as well.
  const bool huge = rollup_bytes("\nAnonHugePages:") > heap.live_bytes / 4;
  truth.verdict(huge ? "huge_pages" : "none");
  truth.rss();
  ask_for_report();
  truth.print();
}
