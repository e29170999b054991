// SPDX-License-Identifier: Apache-2.0
// The sampled books, read while threads go on booking: what a report says of them must be possible.
#include "report/facts/sampled_sites.hpp"

#include <atomic>
#include <thread>
#include <vector>

#include "record/record.hpp"
#include "report/model/model.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard;
using namespace mallard::report;

namespace {

constexpr std::uintptr_t kThreads = 3, kBlocks = 80'000;
const void* block(std::uintptr_t thread, std::uintptr_t n) {
  return reinterpret_cast<const void*>(0x10'0000'0000 + (thread << 32) + n * 512);
}

[[gnu::noinline]] void one_site(const void* p) { record::on_alloc(p, 100, 112, MALLARD_CALLER()); }
[[gnu::noinline]] void another_site(const void* p) { record::on_alloc(p, 3000, 3008, MALLARD_CALLER()); }

/// Of one site all blocks stay, of the other every second.
void book(std::uintptr_t thread) {
  for (std::uintptr_t n = 0; n < kBlocks; ++n) {
    (n % 2 ? one_site : another_site)(block(thread, n));
    if (n % 4 == 2) record::on_free(block(thread, n));
  }
}

}  // namespace

TEST_CASE("books: no site has more live than it has samples, whatever threads do meanwhile") {
  REQUIRE(record::start(4096, record::Expected::kFewStacks));
  std::atomic<std::uintptr_t> at_work{kThreads};
  std::vector<std::thread> threads;
  for (std::uintptr_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&at_work, t] {
      book(t);
      --at_work;
    });
  std::uint64_t most = 0, reads = 0;
  for (bool last = false; !last; ++reads) {
    last = at_work == 0;
    Arena arena;
    Snapshot snapshot{};
    RecordCopy books;
    CHECK(copy_record(arena, &books, &snapshot));
    std::uint64_t live = 0;
    for (std::uint32_t i = 0; i < books.row_count; ++i) {
      const SiteRow& row = books.rows[i];
      CAPTURE(i, row.id, row.live_samples, row.samples);
      CHECK(row.live_samples <= row.samples);
      CHECK(row.live_bytes.value <= row.allocated_bytes.value * (1 + 1e-9));
      CHECK(row.live_count.value <= row.allocated_count.value * (1 + 1e-9));
      live += row.live_samples;
    }
    const record::Counters& c = snapshot.recording.counters;
    CAPTURE(c.sampled, c.sampled_frees, snapshot.recording.live_samples, snapshot.recording.stacks.captured);
    CHECK(live == snapshot.recording.live_samples);
    CHECK(c.sampled_frees + snapshot.recording.live_samples <= c.sampled);
    CHECK(snapshot.recording.stacks.captured >= c.sampled);
    most = live;
  }
  for (std::thread& t : threads) t.join();
  CAPTURE(reads);
  REQUIRE(most == kThreads * kBlocks / 4 * 3);
}
