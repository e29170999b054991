// SPDX-License-Identifier: Apache-2.0
// arena_no_destructors MEGABYTES SEED: objects in an arena own blocks of the heap. The arena is reset without
// running their destructors, so the blocks are lost; the arena itself stays small.
#include "arena.hpp"

using namespace workload;

SITE_FUNCTION(site_arena_chunk, malloc(size))
SITE_FUNCTION(site_owned_text, malloc(size))

namespace {

struct Row {
  std::uint64_t key;
  char* text;
};

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 150) * kMega;
  Random random(argument(count, words, 2, 1));
  static Arena arena(site_arena_chunk, 64 << 10, false);
  constexpr int kReports = 7;
  std::uint64_t lost = 0;
  for (int report = 1; report <= kReports; report++) {
    while (lost < bytes * static_cast<std::uint64_t>(report) / kReports) {
      for (int i = 0; i < 500; i++) {
        Row* row = static_cast<Row*>(arena.take(sizeof(Row)));
        const std::size_t size = random.between(30, 900);
        *row = {random.bits(), static_cast<char*>(site_owned_text(size))};
        touch(row->text, size);
        lost += size;
      }
      arena.reset();
    }
    if (report < kReports) ask_for_report();
    rest_ms(200);
  }
  Truth truth;
  truth.site("site_owned_text", lost, 0);
  truth.cause("live", lost, bytes / 20);
  truth.verdict("leak");
  truth.rss();
  ask_for_report();
  truth.print();
}
