// SPDX-License-Identifier: Apache-2.0
// The exact books against a program's own. Blocks are addresses only; a call site is what `at` names, because
// capture_site() here takes the caller's pc for its number. Also built with ThreadSanitizer and
// AddressSanitizer.
#include "record/exact/exact.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "record/exact/counts.hpp"
#include "record/exact/incremental.hpp"
#include "record/exact/path_counts.hpp"
#include "record/exact/shadow.hpp"
#include "record/exact/size_ranges.hpp"
#include "record/exact/thread_record.hpp"
#include "tests/unit/alarms.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/exact_books.hpp"
#include "tests/unit/made_up_sites.hpp"

using namespace mallard::record;

namespace {

/// Gives addresses out as allocators do: classes of 8, 16, 32, 48 ... bytes side by side, big blocks by page.
class Heap {
 public:
  std::uintptr_t get(std::uint64_t bytes) {
    const std::uint64_t size = bytes <= 8     ? 8
                               : bytes < 4096 ? (bytes + 15) / 16 * 16
                                              : (bytes + 4095) / 4096 * 4096;
    std::lock_guard guard(mutex_);
    auto& free = free_[size];
    if (!free.empty()) {
      const std::uintptr_t address = free.back();
      free.pop_back();
      return address;
    }
    if (size > 8) next_ = (next_ + 15) / 16 * 16;
    if (size >= 4096) next_ = (next_ + 4095) / 4096 * 4096;
    next_ += size;
    return next_ - size;
  }
  void put(std::uintptr_t address, std::uint64_t bytes) {
    const std::uint64_t size = bytes <= 8     ? 8
                               : bytes < 4096 ? (bytes + 15) / 16 * 16
                                              : (bytes + 4095) / 4096 * 4096;
    std::lock_guard guard(mutex_);
    free_[size].push_back(address);
  }

 private:
  std::mutex mutex_;
  std::map<std::uint64_t, std::vector<std::uintptr_t>> free_;
  std::uintptr_t next_ = 0x7000'0ff0'0000;  // the first windows' end is near
};

/// A program that keeps its own books.
class Program {
 public:
  explicit Program(unsigned seed) : seed_(seed) {}

  void run(int threads, int steps) {
    std::vector<std::thread> workers;
    for (int i = 0; i < threads; ++i) workers.emplace_back([this, i, steps] { work(i, steps); });
    for (std::thread& t : workers) t.join();
  }

  struct Sums {
    std::uint64_t allocated_bytes = 0, allocated = 0, freed_bytes = 0, freed = 0, temporary = 0, largest = 0;
    std::int64_t live = 0, peak = 0;
    std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> sizes;  // by range_end: allocated, live
  };
  Sums sites[kSites], all;
  std::map<std::uintptr_t, Block> live;

 private:
  void booked(Sums& sums, std::uint64_t bytes) {
    sums.allocated_bytes += bytes;
    ++sums.allocated;
    sums.largest = std::max(sums.largest, bytes);
    sums.live += static_cast<std::int64_t>(bytes);
    sums.peak = std::max(sums.peak, sums.live);
  }
  static void gone(Sums& sums, std::uint64_t bytes, bool temporary) {
    sums.freed_bytes += bytes;
    ++sums.freed;
    sums.temporary += temporary;
    sums.live -= static_cast<std::int64_t>(bytes);
  }

  void allocate(std::mt19937& random, std::uintptr_t& newest) {
    static constexpr std::uint64_t kBounds[] = {8, 16, 32, 33, 64, 256, 1024, 1025, 5000, 100'000, 3'000'000};
    const std::uint64_t bytes = random() % (kBounds[random() % std::size(kBounds)] + 1);
    const std::size_t site = random() % kSites;
    const std::uintptr_t address = heap_.get(bytes);
    std::lock_guard guard(mutex_);
    exact_alloc(pointer(address), bytes, at(site));
    live[address] = {address, bytes, site};
    booked(sites[site], bytes);
    booked(all, bytes);
    auto& size = sites[site].sizes[range_end(place_of_size(bytes).range)];
    ++size.first;
    ++size.second;
    newest = address;
  }

  /// \param fails  the block stays after all, as where realloc fails
  void release(std::uintptr_t address, std::uintptr_t& newest, bool fails) {
    std::unique_lock guard(mutex_);
    auto it = live.lower_bound(address);
    if (it == live.end()) it = live.begin();
    if (it == live.end()) return;
    const Block block = it->second;
    const ExactBlock saved = exact_free(pointer(block.address));
    wrong += saved.asked_bytes != block.bytes || static_cast<std::size_t>(saved.site) != block.site;
    if (fails) return exact_restore(pointer(block.address), saved);
    live.erase(it);
    gone(sites[block.site], block.bytes, newest == block.address);
    gone(all, block.bytes, newest == block.address);
    --sites[block.site].sizes[range_end(place_of_size(block.bytes).range)].second;
    if (newest == block.address) newest = 0;
    guard.unlock();
    heap_.put(block.address, block.bytes);
  }

  void work(int thread, int steps) {
    std::mt19937 random(seed_ * 97 + static_cast<unsigned>(thread));
    std::uintptr_t newest = 0;
    for (int i = 0; i < steps; ++i) {
      const auto action = random() % 16;
      if (action < 8) allocate(random, newest);
      else if (action < 10 && newest) release(newest, newest, false);
      else release(0x7000'0ff0'0000 + random() % 0x200'0000, newest, action == 15);
    }
  }

  unsigned seed_;
  std::mutex mutex_;
  Heap heap_;

 public:
  std::atomic<int> wrong{0};  // blocks that came back as something else
};

/// The books agree with the program's own to the byte. `one_thread`: the peaks, too.
void compare(const Program& program, bool one_thread) {
  ExactCounts all;
  const std::vector<ExactCounts> sites = read(&all);
  const auto same = [&](const ExactCounts& books, const Program::Sums& own) {
    REQUIRE(books.allocated_bytes == own.allocated_bytes);
    REQUIRE(books.allocated_count == own.allocated);
    REQUIRE(books.freed_bytes == own.freed_bytes);
    REQUIRE(books.freed_count == own.freed);
    REQUIRE(books.temporary_count == own.temporary);
    REQUIRE(books.largest_bytes == own.largest);
    if (one_thread) REQUIRE(books.peak_bytes == static_cast<std::uint64_t>(own.peak));
  };
  REQUIRE(program.wrong == 0);
  same(all, program.all);
  const auto unsure = static_cast<double>(exact_trouble().unsure_peak_bytes);
  CAPTURE(all.peak_bytes, program.all.peak, unsure);
  REQUIRE(std::abs(static_cast<double>(all.peak_bytes) - static_cast<double>(program.all.peak)) <= unsure);
  for (std::size_t i = 0; i < kSites; ++i) {
    CAPTURE(i);
    same(sites[i], program.sites[i]);
    ExactSizes sizes[kRanges];
    const std::size_t count = exact_sizes(SiteId{static_cast<std::uint32_t>(i)}, sizes);
    REQUIRE(count == program.sites[i].sizes.size());
    for (std::size_t n = 0; n < count; ++n) {
      const auto& own = program.sites[i].sizes.at(sizes[n].to_bytes);
      REQUIRE(sizes[n].allocated_count == own.first);
      REQUIRE(sizes[n].live_count == own.second);
    }
  }
  const std::vector<Block> blocks = live_blocks();
  REQUIRE(blocks.size() == program.live.size());
  std::size_t n = 0;
  for (const auto& [address, own] : program.live) {
    REQUIRE(blocks[n].address == address);
    REQUIRE(blocks[n].bytes == own.bytes);
    REQUIRE(blocks[n].site == own.site);
    ++n;
  }
  const ExactTrouble trouble = exact_trouble();
  REQUIRE(trouble.unknown_frees == 0);
  REQUIRE(trouble.missed_frees == 0);
  REQUIRE(trouble.unbooked == 0);
}

}  // namespace

TEST_CASE("exact: size ranges touch and hold every size") {
  for (RangeId range = 0; range + 1 < kRanges; ++range) {
    REQUIRE(range_end(range) + 1 == range_begin(range + 1));
    REQUIRE(place_of_size(range_begin(range)).range == range);
    REQUIRE(place_of_size(range_end(range)).range == range);
    REQUIRE(place_of_size(range_end(range)).remainder == range_end(range) - range_begin(range));
  }
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr unsigned kPrograms = 25;  // each takes several times as long
#else
constexpr unsigned kPrograms = 100;
#endif

TEST_CASE("exact: random programs of one thread, to the byte, peaks too") {
  for (unsigned seed = 0; seed < kPrograms; ++seed) {
    CAPTURE(seed);
    begin();
    Program program(seed);
    program.run(1, 1500);
    compare(program, true);
  }
}

TEST_CASE("exact: random programs of four threads, to the byte") {
  for (unsigned seed = 0; seed < kPrograms; ++seed) {
    CAPTURE(seed);
    begin();
    Program program(seed);
    program.run(4, 500);
    compare(program, false);
  }
}

TEST_CASE("exact: sizes at the ranges' ends and beyond 4 GiB come back as they were") {
  begin();
  std::vector<std::uint64_t> sizes = {0, 1, 8, 31, 32, 33, 1024, 1025, 4096};
  for (int bit = 5; bit < 48; ++bit)
    for (int d = -1; d <= 1; ++d)
      sizes.push_back((std::uint64_t{1} << bit) + static_cast<std::uint64_t>(d) * 3 + 7);
  for (std::uint64_t bytes : sizes) {
    CAPTURE(bytes);
    const std::uintptr_t address = 0x10'0fff'ffc0;  // its size words stand in the next window
    exact_alloc(pointer(address), bytes, at(1));
    const auto there = live_blocks();
    REQUIRE(there.size() == 1);
    REQUIRE(there[0].bytes == bytes);
    const ExactBlock block = exact_free(pointer(address));
    REQUIRE(block.row != 0);
    REQUIRE(block.asked_bytes == bytes);
  }
  REQUIRE(live_blocks().empty());
}

TEST_CASE("exact: the first block of all, of site 0 and size 0") {
  begin();
  std::thread([] { exact_alloc(pointer(0x18'0000'0000), 0, at(0)); }).join();
  REQUIRE(live_blocks().size() == 1);
  REQUIRE(read()[0].allocated_count == 1);
}

TEST_CASE("exact: blocks of 8 bytes side by side, on both sides of a window's end") {
  begin();
  constexpr std::uintptr_t kEnd = 0x20'1000'0000, kFirst = kEnd - 8 * 100;
  for (std::uintptr_t a = kFirst; a < kEnd + 800; a += 8) exact_alloc(pointer(a), a % 9, at(a / 8 % 7));
  auto blocks = live_blocks(kFirst + 8, kEnd + 16);
  REQUIRE(blocks.size() == 101);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    REQUIRE(blocks[i].address == kFirst + 8 * (i + 1));
    REQUIRE(blocks[i].bytes == blocks[i].address % 9);
  }
  for (std::uintptr_t a = kFirst; a < kEnd + 800; a += 16)
    REQUIRE(exact_free(pointer(a)).asked_bytes == a % 9);
  REQUIRE(live_blocks().size() == 100);
  for (std::uintptr_t a = kFirst + 8; a < kEnd + 800; a += 16)
    REQUIRE(exact_free(pointer(a)).asked_bytes == a % 9);
  REQUIRE(live_blocks().empty());
}

TEST_CASE("exact: what is not on the books, what comes again, what has no place") {
  begin();
  REQUIRE(exact_free(pointer(0x30'0000'0000)).row == 0);
  REQUIRE(exact_free(nullptr).row == 0);
  exact_alloc(nullptr, 10, at(1));
  exact_alloc(pointer(0x30'0000'0000), 50, at(1));
  exact_alloc(pointer(0x30'0000'0000), 70, at(2));  // the free was not seen
  exact_alloc(pointer(0xffff'8000'0000'0000), 70, at(2));
  const ExactTrouble trouble = exact_trouble();
  REQUIRE(trouble.unknown_frees == 1);
  REQUIRE(trouble.missed_frees == 1);
  REQUIRE(trouble.unbooked == 1);
  const auto sites = read();
  REQUIRE(sites[1].freed_bytes == 50);
  REQUIRE(sites[2].allocated_bytes == 70);
  REQUIRE(sites[2].freed_bytes == 0);
  REQUIRE(live_blocks().size() == 1);
}

TEST_CASE("exact: new books know nothing of the old ones; ended ones stay as they are") {
  begin();
  exact_alloc(pointer(0x40'0000'0000), 100, at(1));
  exact_end();
  exact_alloc(pointer(0x40'0000'0100), 100, at(1));
  REQUIRE(exact_free(pointer(0x40'0000'0000)).row == 0);
  REQUIRE(read()[1].allocated_bytes == 100);
  REQUIRE(live_blocks().size() == 1);
  begin();
  REQUIRE(live_blocks().empty());
  REQUIRE(exact_free(pointer(0x40'0000'0000)).row == 0);
  ExactCounts all;
  read(&all);
  REQUIRE(all.allocated_bytes == 0);
  REQUIRE(all.peak_bytes == 0);
  REQUIRE(exact_trouble().unknown_frees == 1);
}

TEST_CASE("exact: its own memory is that of all its tables") {
  begin();
  exact_alloc(pointer(0x51'0000'0000), 100, at(1));
  CHECK(shadow_own_bytes() > 0);
  CHECK(counts_own_bytes() > 0);
  CHECK(path_counts_own_bytes() > 0);
  CHECK(thread_records_own_bytes() > 0);
  CHECK(exact_own_bytes() ==
        shadow_own_bytes() + counts_own_bytes() + path_counts_own_bytes() + thread_records_own_bytes());
  exact_release(pointer(0x51'0000'0000));
}

TEST_CASE("exact: reading while threads book never shows more freed than allocated") {
  begin();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (std::uintptr_t t = 0; t < 3; ++t)
    threads.emplace_back([&stop, t] {
      for (std::uintptr_t i = 0; !stop; ++i) {
        const std::uintptr_t address = 0x60'0000'0000 + t * 0x100'0000 + i % 1000 * 32;
        exact_alloc(pointer(address), i % 700, at(i % kSites));
        exact_free(pointer(address));
      }
    });
  std::uint64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    ExactCounts all;
    read(&all);
    const std::uint64_t live = all.allocated_bytes - all.freed_bytes;
    CAPTURE(all.allocated_bytes, all.freed_bytes, all.allocated_count, last);
    CHECK(all.allocated_count >= last);
    CHECK(live < 1'000'000'000);
    last = all.allocated_count;
    REQUIRE(live_blocks().size() <= 3 + 3000);
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  ExactCounts all;
  read(&all);
  REQUIRE(all.allocated_bytes == all.freed_bytes);
  REQUIRE(all.allocated_count == all.freed_count);
}

namespace {

/// What the storm's handler does: a short-lived block in an address range of its own, and one that stays.
std::atomic<std::uint64_t> g_in_handler{0};
void storm(int) {
  const std::uint64_t n = g_in_handler.fetch_add(1);
  exact_alloc(pointer(0x71'0000'0000 + n * 48), 40, at(1));
  if (n % 2) exact_free(pointer(0x71'0000'0000 + n * 48));
}

}  // namespace

TEST_CASE("exact: signal handlers that interrupt booking book what they do themselves") {
  begin();
  g_in_handler = 0;
  std::uint64_t mine = 0;
  {
    const Alarms alarms(storm, 50'000);
    while (g_in_handler < 2000 && mine < 50'000'000) {
      const std::uintptr_t address = 0x70'0000'0000 + mine % 5000 * 32;
      exact_alloc(pointer(address), mine % 33, at(2 + mine % 30));
      exact_free(pointer(address));
      ++mine;
    }
  }
  const std::uint64_t handled = g_in_handler;
  ExactCounts all;
  const auto sites = read(&all);
  CAPTURE(handled, mine);
  REQUIRE(handled > 0);
  REQUIRE(sites[1].allocated_count == handled);
  REQUIRE(sites[1].freed_count == handled / 2);
  REQUIRE(all.allocated_count == handled + mine);
  REQUIRE(all.freed_count == handled / 2 + mine);
  REQUIRE(all.allocated_bytes - all.freed_bytes == (handled - handled / 2) * 40);
  REQUIRE(live_blocks().size() == handled - handled / 2);
  REQUIRE(mallard_thread.in_recording == 0);
}

#ifndef __SANITIZE_THREAD__  // does not let a forked child of a program with threads go on
TEST_CASE("exact: a forked child has the books of all threads and goes on with its own") {
  begin();
  Program program(7);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> turns{0}, begun{0};
  std::vector<std::thread> threads;  // their counts move all the time, what they have live does not
  for (std::uintptr_t t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      exact_alloc(pointer(0x73'0000'0000 + t * 64), 50, at(0));
      ++begun;
      for (std::uintptr_t i = 0; !stop; ++i) {
        const std::uintptr_t address = 0x74'0000'0000 + t * 0x100'0000 + i % 1000 * 32;
        exact_alloc(pointer(address), i % 2000, at(2 + i % 30));
        exact_free(pointer(address));
        ++turns;
      }
    });
  while (begun < 2 || turns < 5000) std::this_thread::yield();
  for (int i = 0; i < 50; ++i)
    exact_alloc(pointer(0x72'0000'0000 + static_cast<unsigned>(i) * 64), 50, at(1));
  int wrong = 0;
  for (int round = 0; round < 30; ++round) {
    exact_before_fork();
    const pid_t child = fork();
    if (child == 0) {
      exact_after_fork_in_parent();
      exact_after_fork_in_child(true);
      exact_free(pointer(0x72'0000'0000));
      exact_alloc(pointer(0x75'0000'0000), 10, at(1));
      ExactCounts all{};
      const auto sites = read(&all);
      // A thread may have been between the two counts of one call: one block each, of 2000 bytes at most.
      const auto live = static_cast<std::int64_t>(all.allocated_bytes - all.freed_bytes);
      const bool good = sites[0].allocated_count == 2 && sites[1].allocated_count == 51 &&
                        sites[1].freed_count == 1 && live >= 49 * 50 + 10 + 100 - 4000 &&
                        live <= 49 * 50 + 10 + 100 + 4000 && exact_trouble().unbooked == 0;
      _exit(good ? 0 : 1);
    }
    exact_after_fork_in_parent();
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    wrong += status != 0;
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  REQUIRE(wrong == 0);
  ExactCounts all;
  read(&all);
  REQUIRE(all.allocated_bytes - all.freed_bytes == 50 * 50 + 100);
  REQUIRE(all.allocated_count - all.freed_count == 52);
}
#endif

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)  // which reserve terabytes
TEST_CASE("exact: where the kernel gives no memory, blocks are not booked, and counted as such") {
  begin();
  exact_alloc(pointer(0x76'0000'0000), 10, at(1));
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none{1 << 20, 1 << 20};  // of address space: less than there is already
    setrlimit(RLIMIT_AS, &none);
    exact_alloc(pointer(0x77'0000'0000), 10, at(1));  // its window cannot be made
    exact_alloc(pointer(0x76'0000'1000), 10, at(1));  // this one's is there
    const bool one_lost = exact_trouble().unbooked == 1;
    const bool not_there = exact_free(pointer(0x77'0000'0000)).row == 0;
    _exit(one_lost && not_there && exact_free(pointer(0x76'0000'1000)).row != 0 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}
#endif
