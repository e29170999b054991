// SPDX-License-Identifier: Apache-2.0
// ratcheting_chunks MEGABYTES SEED: an arena that is reset after every query, but whose chunks double and
// never shrink: one large query, and the small ones after it hold its memory for ever.
#include "arena.hpp"

using namespace workload;

SITE_FUNCTION(site_ratchet_chunk, malloc(size))

namespace {

void query(Arena& arena, std::uint64_t bytes, Random& random) {
  for (std::uint64_t used = 0; used < bytes;) {
    const std::size_t size = random.between(20, 400);
    touch(arena.take(size), size);
    used += size;
  }
  arena.reset();
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 200) * kMega;
  Random random(argument(count, words, 2, 1));
  static Arena arena(site_ratchet_chunk, 64 << 10, true);
  for (int i = 0; i < 50; i++) query(arena, 100 << 10, random);
  ask_for_report();
  query(arena, bytes, random);
  for (int i = 0; i < 50; i++) query(arena, 100 << 10, random);
  Truth truth;
  truth.site("site_ratchet_chunk", arena.held_bytes(), 0);
  truth.verdict("none");
  truth.verdict("leak");       // it grew, and never shrinks
  truth.verdict("retention");  // the chunk before the last one is free
  truth.rss();
  ask_for_report();
  truth.print();
}
