// SPDX-License-Identifier: Apache-2.0
// embedded_allocator MEGABYTES SEED: jemalloc is linked into the program under names of its own, as databases
// do it, and serves most of its memory; the rest comes from malloc.
#include "workload.hpp"

using namespace workload;

extern "C" void* je_malloc(std::size_t size);  // the runner renames the archive's malloc
SITE_FUNCTION(site_ordinary, malloc(size))

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 200) * kMega;
  Random random(argument(count, words, 2, 1));
  std::uint64_t embedded = 0;
  while (embedded < bytes) {
    const std::size_t size = random.between(64, 1024);
    touch(je_malloc(size), size);
    embedded += size;
    if (random.below(8) == 0) touch(site_ordinary(size), size);
  }
  Truth truth;
  truth.cause("anonymous", embedded, bytes / 6, "jemalloc");  // rounding, and its own books
  truth.verdict("second_allocator");
  truth.rss();
  ask_for_report();
  truth.print();
}
