// SPDX-License-Identifier: Apache-2.0
// The mapping log against a map with one entry for each page.
#include "record/mappings.hpp"

#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "record/interval_list.hpp"
#include "unit/catch.hpp"

using namespace mallard;
using record::IntervalList;
using record::MappedInterval;
using record::RemovedMappings;

namespace {

std::vector<MappedInterval> all_of(IntervalList& list) {
  std::vector<MappedInterval> all(record::kMaxMappings * 3);
  all.resize(list.copy(0, all.data(), static_cast<std::uint32_t>(all.size())));
  return all;
}

std::map<std::uintptr_t, std::uintptr_t> pages_of(const std::vector<MappedInterval>& all) {
  std::map<std::uintptr_t, std::uintptr_t> pages;
  std::uintptr_t last = 0, caller = 0;
  for (const MappedInterval& i : all) {
    CHECK(i.begin < i.end);
    CHECK(i.begin >= last);
    if (i.begin == last) CHECK(i.caller != caller);  // neighbours of one caller are one
    last = i.end;
    caller = i.caller;
    for (std::uintptr_t at = i.begin; at < i.end; at += kPageBytes) pages[at] = i.caller;
  }
  return pages;
}

}  // namespace

TEST_CASE("mapping log: neighbours join, holes split, overlaps replace") {
  static IntervalList list;
  REQUIRE(list.insert({0x10000, 0x20000, 1}));
  REQUIRE(list.insert({0x20000, 0x30000, 1}));
  CHECK(all_of(list).size() == 1);
  REQUIRE(list.insert({0x30000, 0x40000, 2}));
  CHECK(all_of(list).size() == 2);
  RemovedMappings removed{};
  REQUIRE(list.erase(0x18000, 0x38000, &removed));
  REQUIRE(removed.count == 2);
  CHECK(removed.intervals[0].begin == 0x18000);
  CHECK(removed.intervals[0].end == 0x30000);
  CHECK(removed.intervals[1].caller == 2);
  CHECK(removed.intervals[1].end == 0x38000);
  REQUIRE(list.insert({0x18000, 0x38000, 3}));
  REQUIRE(list.insert({0x20000, 0x21000, 4}));
  const auto all = all_of(list);
  REQUIRE(all.size() == 5);
  CHECK(all[1].end == 0x20000);
  CHECK(all[2].caller == 4);
  CHECK(all[3].begin == 0x21000);
  CHECK(all[4].begin == 0x38000);
}

TEST_CASE("mapping log: random events give what a page table gives") {
  static IntervalList list;
  std::map<std::uintptr_t, std::uintptr_t> pages;
  std::mt19937 random(7);
  for (int round = 0; round < 60000; ++round) {
    const std::uintptr_t begin = kPageBytes * (1 + random() % 20000);
    const std::uintptr_t end = begin + kPageBytes * (1 + random() % 6);
    if (random() % 100 < (round < 30000 ? 70 : 30)) {
      const std::uintptr_t caller = 1 + random() % 5;
      REQUIRE(list.insert({begin, end, caller}));
      for (std::uintptr_t at = begin; at < end; at += kPageBytes) pages[at] = caller;
    } else {
      REQUIRE(list.erase(begin, end, nullptr));
      for (std::uintptr_t at = begin; at < end; at += kPageBytes) pages.erase(at);
    }
    if (round % 5000 == 0) REQUIRE(pages_of(all_of(list)) == pages);
  }
  REQUIRE(pages_of(all_of(list)) == pages);
  REQUIRE(list.erase(0, ~std::uintptr_t{0}, nullptr));
  CHECK(all_of(list).empty());
}

TEST_CASE("mapping log: holds its full number, upwards, downwards and after random removal; refuses more") {
  static IntervalList list;
  std::uint32_t n = 0;
  for (; n < record::kMaxMappings / 2; ++n)
    REQUIRE(list.insert({(n + 1) * 0x2000ul, (n + 1) * 0x2000ul + 0x1000, 1}));
  for (std::uint32_t i = 0; i < record::kMaxMappings / 2; ++i, ++n)
    REQUIRE(list.insert({0x7f0000000000ul - i * 0x2000ul, 0x7f0000001000ul - i * 0x2000ul, 1}));
  CHECK(all_of(list).size() == record::kMaxMappings);
  while (n < record::kMaxMappings * 4 &&
         list.insert({(n + 1) * 0x2000ul + 0x100000000000ul, (n + 1) * 0x2000ul + 0x100000001000ul, 1}))
    ++n;
  CHECK(n < record::kMaxMappings * 4);
  REQUIRE(list.erase(0, ~std::uintptr_t{0}, nullptr));
  REQUIRE(list.insert({0x1000, 0x2000, 1}));
  CHECK(all_of(list).size() == 1);
}

TEST_CASE("mapping log: threads that map and unmap leave nothing behind") {
  constexpr int kThreads = 4, kAttempts = 50;
  constexpr std::uintptr_t kAttemptBytes = 0x1000000000;
  for (std::uintptr_t attempt = 1; attempt <= kAttempts; ++attempt) {
    const std::uint64_t unlogged = record::unlogged_mappings();
    std::vector<std::thread> threads;
    for (std::uintptr_t t = 1; t <= kThreads; ++t)
      threads.emplace_back([begin = attempt * kAttemptBytes + t * 0x100000000, t] {
        for (int round = 0; round < 50; ++round) {
          for (std::uintptr_t i = 0; i < 100; ++i) record::on_map(begin + i * 0x3000, 0x2000, t * 1000 + i);
          for (std::uintptr_t i = 0; i < 100; ++i) record::on_unmap(begin + i * 0x3000, 0x2000, nullptr);
        }
      });
    for (std::thread& t : threads) t.join();
    // A thread that is not let on for 50 ms while it holds the log makes others give up, and count it: on a
    // busy machine that happens, and says nothing of the log.
    if (record::unlogged_mappings() != unlogged) {
      record::on_unmap(attempt * kAttemptBytes, kAttemptBytes, nullptr);  // what the next test must not find
      continue;
    }
    MappedInterval left[4];
    CHECK(record::copy_mappings(attempt * kAttemptBytes, left, 4) == 0);
    return;
  }
  FAIL("in none of 50 attempts were all mappings logged");
}

TEST_CASE("mapping log: what a failed unmap took out comes back") {
  record::on_map(0x500000000, 0x4000, 42);
  RemovedMappings removed;
  record::on_unmap(0x500001000, 0x1000, &removed);
  CHECK(removed.count == 1);
  record::on_unmap_failed(removed);
  MappedInterval found[4];
  REQUIRE(record::copy_mappings(0x500000000, found, 4) == 1);
  CHECK(found[0].end == 0x500004000);
  record::on_unmap(0x500000000, 0x4000, nullptr);
}
