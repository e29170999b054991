// SPDX-License-Identifier: Apache-2.0
// embedded_allocator MEGABYTES SEED: jemalloc is linked into the program under names of its own, as databases
// do it, and serves most of its memory; the rest comes from malloc.
#include "workload.hpp"

using namespace workload;

extern "C" void* je_malloc(std::size_t size);  // the runner renames the archive's malloc
SITE_FUNCTION(site_ordinary, malloc(size))

/// Rust's std maps a stack for the handler of overflows (sigaltstack): in the same object as the allocator,
/// but not its.
extern "C" __attribute__((noinline)) void map_a_stack_for_stack_overflow(std::size_t bytes) {
  void* const stack = map_memory(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK);
  memset(stack, 1, bytes);
}

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
  map_a_stack_for_stack_overflow(10 * kMega);
  Truth truth;
  truth.cause("stacks", 10 * kMega, kMega);
  truth.cause("anonymous", embedded, bytes / 6, "jemalloc");  // rounding, and its own books
  truth.verdict("second_allocator");
  truth.rss();
  ask_for_report();
  truth.print();
}
