// SPDX-License-Identifier: Apache-2.0
// Times that many threads count, signal handlers among them; also built with ThreadSanitizer and
// AddressSanitizer. A call site is what the caller's pc says.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "record/latency.hpp"
#include "record/latency_clock.hpp"
#include "tests/unit/alarms.hpp"
#include "tests/unit/catch.hpp"

constinit __thread mallard::record::ThreadState mallard_thread = {};

namespace mallard::record {
bool site_of_call(const arch::Caller& caller, SiteId* site) noexcept {
  *site = SiteId{static_cast<std::uint32_t>(caller.pc)};
  return caller.pc != 0;
}
}  // namespace mallard::record

using namespace mallard::record;

namespace {

std::uint64_t g_own = 0;

void note(Operation operation, std::uint64_t ticks, std::uintptr_t site = 0) {
  latency_note(operation, 0, 0, g_own + ticks, {site, 0, 0});
}

void begin() {
  REQUIRE(latency_begin(1, nullptr));
  g_own = latency_clock_own_ticks();
}

std::uint64_t count_of(Operation operation) {
  auto counts = std::make_unique<LatencyCounts>();
  latency_add(operation, 0, counts.get());
  std::uint64_t n = 0;
  for (const std::uint64_t bucket : counts->buckets) n += bucket;
  return n;
}

std::uint64_t slow_calls(std::uint32_t* rows = nullptr) {
  std::vector<SlowSite> sites(kMaxSlowSites + 1);
  const std::uint32_t count = latency_slow_sites(sites.data(), kMaxSlowSites + 1);
  std::uint64_t n = 0;
  for (std::uint32_t i = 0; i < count; ++i)
    for (const std::uint64_t calls : sites[i].calls) n += calls;
  if (rows) *rows = count;
  return n;
}

}  // namespace

TEST_CASE("latency: what all threads count is there, also of those that have ended") {
  begin();
  constexpr std::uint64_t kThreads = 100, kCalls = 2000;  // more threads than records
  for (std::uint64_t batch = 0; batch < kThreads / 10; ++batch) {
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 10; ++t)
      threads.emplace_back([t] {
        for (std::uint64_t i = 0; i < kCalls; ++i)
          if (latency_is_due()) note(Operation::kMalloc, i, t + 1);
      });
    count_of(Operation::kMalloc);  // a reader meanwhile
    slow_calls();
    for (std::thread& t : threads) t.join();
  }
  CHECK(count_of(Operation::kMalloc) == kThreads * kCalls);
  CHECK(count_of(Operation::kCalloc) == 0);
  latency_end();
  begin();  // anew
  CHECK(count_of(Operation::kMalloc) == 0);
  latency_end();
}

TEST_CASE("latency: slow calls by call site and by how slow they were") {
  begin();
  REQUIRE(latency_is_due());
  const double tick_ns = latency_tick_ns();
  const auto ticks = [tick_ns](double ns) { return static_cast<std::uint64_t>(ns / tick_ns); };
  note(Operation::kMalloc, ticks(800), 7);
  note(Operation::kMalloc, ticks(2'000), 7);
  note(Operation::kMalloc, ticks(20'000), 7);
  note(Operation::kMalloc, ticks(25'000), 7);
  note(Operation::kFree, ticks(30'000'000), 7);
  note(Operation::kFree, ticks(300'000));
  std::vector<SlowSite> sites(kMaxSlowSites + 1);
  REQUIRE(latency_slow_sites(sites.data(), kMaxSlowSites + 1) == 3);
  for (const SlowSite& s : sites) {
    if (s.operation == Operation::kMalloc && s.has_site) {
      CHECK(s.site == SiteId{7});
      CHECK(s.calls[0] == 1);
      CHECK(s.calls[1] == 2);
      CHECK(static_cast<double>(s.ticks) * tick_ns == Approx(47'000).epsilon(0.01));
      CHECK(static_cast<double>(s.most_ticks) * tick_ns == Approx(25'000).epsilon(0.01));
    } else if (s.has_site) {
      CHECK(s.calls[4] == 1);
    }
  }
  // More sites than there are rows: all calls are there, some without their site.
  for (std::uintptr_t site = 1; site <= 3 * kMaxSlowSites; ++site)
    note(Operation::kRealloc, ticks(5000), site);
  std::uint32_t rows = 0;
  CHECK(slow_calls(&rows) == 5 + 3 * kMaxSlowSites);
  CHECK(rows <= kMaxSlowSites + 1);
  latency_end();
}

namespace {
std::atomic<std::uint64_t> g_handled{0};
void handle(int) {
  if (latency_is_due()) note(Operation::kFree, 50, 3);
  g_handled.fetch_add(1);
}
}  // namespace

TEST_CASE("latency: signal handlers count, too") {
  begin();
  REQUIRE(latency_is_due());
  g_handled = 0;
  std::uint64_t calls = 0;
  {
    const Alarms alarms(handle, 100'000);
    for (; g_handled.load() < 200; ++calls)
      if (latency_is_due()) note(Operation::kMalloc, calls % 100, 2);
  }
  // A handler between the count and the draw finds no gap left: it is not timed then, nor lost.
  CHECK(count_of(Operation::kMalloc) == calls);
  CHECK(count_of(Operation::kFree) >= g_handled.load() / 4);
  CHECK(count_of(Operation::kFree) <= g_handled.load());
  latency_end();
}

TEST_CASE("latency: a forked child begins with nothing counted") {
  begin();
  REQUIRE(latency_is_due());
  for (int i = 0; i < 100; ++i) note(Operation::kMalloc, 10);
  const pid_t child = fork();
  if (child == 0) {
    latency_after_fork_in_child(12345);
    if (count_of(Operation::kMalloc) != 0 || latency_since_ns() != 12345) _exit(1);
    if (!latency_is_due()) _exit(2);
    note(Operation::kMalloc, 10);
    _exit(count_of(Operation::kMalloc) == 1 ? 0 : 3);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(count_of(Operation::kMalloc) == 100);
  latency_end();
}
