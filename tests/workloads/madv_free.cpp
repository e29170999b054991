// SPDX-License-Identifier: Apache-2.0
// madv_free MEGABYTES SEED: memory that was given back by MADV_FREE and that the kernel has not yet had use
// for.
#include "workload.hpp"

using namespace workload;

SITE_FUNCTION(site_ordinary, malloc(size))

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 200) * kMega;
  for (int i = 0; i < 20000; i++) touch(site_ordinary(500), 500);
  char* memory = static_cast<char*>(map_memory(bytes, MAP_PRIVATE | MAP_ANONYMOUS));
  touch(memory, bytes);
  if (madvise(memory, bytes * 9 / 10 / kPage * kPage, MADV_FREE) != 0) fail("MADV_FREE");
  Truth truth;
  const std::uint64_t freed = rollup_bytes("\nLazyFree:");
  PageTables* pages = new PageTables;
  truth.cause("lazily_freed", freed, bytes / 50);
  truth.cause("anonymous", pages->resident_bytes(memory, bytes) - freed, bytes / 50, "madv_free");
  delete pages;
  truth.verdict("lazily_freed");
  truth.rss();
  ask_for_report();
  truth.print();
}
