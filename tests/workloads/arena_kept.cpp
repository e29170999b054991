// SPDX-License-Identifier: Apache-2.0
// arena_kept MEGABYTES SEED: long-lived state owns an arena, and every query leaves its results there.
#include "arena.hpp"

using namespace workload;

SITE_FUNCTION(site_kept_chunk, malloc(size))

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 200) * kMega;
  Random random(argument(count, words, 2, 1));
  static Arena state(site_kept_chunk, 64 << 10, false);
  constexpr int kReports = 7;
  for (int report = 1; report <= kReports; report++) {
    while (state.held_bytes() < bytes * static_cast<std::uint64_t>(report) / kReports)
      for (int row = 0; row < 1000; row++) {  // a query
        const std::size_t size = random.between(20, 400);
        touch(state.take(size), size);
      }
    if (report < kReports) ask_for_report();
    rest_ms(200);
  }
  Truth truth;
  truth.site("site_kept_chunk", state.held_bytes(), 0);
  truth.cause("live", state.held_bytes(), bytes / 50);
  truth.verdict("leak");
  truth.rss();
  ask_for_report();
  truth.print();
}
