// SPDX-License-Identifier: Apache-2.0
// Threads and their records in the exact books: who gets one, who takes one over, who goes without. Also
// built with ThreadSanitizer and AddressSanitizer.
#include "record/exact/thread_record.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "record/exact/exact.hpp"
#include "record/thread_state.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/exact_books.hpp"

using namespace mallard::record;

TEST_CASE("exact: threads that come and go leave their counts, and few records") {
  begin();
  for (std::uintptr_t i = 0; i < 600; ++i)
    std::thread([i] {
      exact_alloc(pointer(0x50'0000'0000 + i * 64), 10, at(i % 3));
      if (i % 2) exact_free(pointer(0x50'0000'0000 + i * 64));
    }).join();
  ExactCounts all;
  read(&all);
  REQUIRE(all.allocated_count == 600);
  REQUIRE(all.freed_count == 300);
  REQUIRE(all.temporary_count == 300);
  CAPTURE(thread_records_end());
  REQUIRE(thread_records_end() < 100);
}

TEST_CASE("exact: whoever takes a record over has waited for nobody") {
  begin();
  constexpr std::uint64_t kThreads = 40, kBlocks = 100;
  static std::atomic<std::uint64_t> booked;
  booked = 0;
  for (std::uintptr_t t = 0; t < kThreads; ++t) {
    // No join, and no order in the flag: that the last owner is gone, glibc knows from the kernel.
    std::thread([t] {
      for (std::uintptr_t i = 0; i < kBlocks; ++i)
        exact_alloc(pointer(0x52'0000'0000 + t * 8192 + i * 64), 10, at(t % 2));
      booked.fetch_add(1, std::memory_order_relaxed);
    }).detach();
    while (booked.load(std::memory_order_relaxed) <= t) usleep(100);
    usleep(1000);
  }
  ExactCounts all;
  read(&all);
  REQUIRE(all.allocated_count == kThreads * kBlocks);
  REQUIRE(live_blocks(0x52'0000'0000, 0x53'0000'0000).size() == kThreads * kBlocks);
}

namespace {

/// As container runtimes do: process_vm_writev() fails with EPERM, in this thread and those that it makes.
bool refuse_process_vm_writev() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_writev, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

TEST_CASE("exact: where the kernel refuses to copy memory, no living thread loses its record") {
  begin();
  constexpr int kLiving = 80, kComing = 20;
  std::mutex lock;
  std::set<void*> records;
  std::atomic<int> here{0};
  std::atomic<bool> stop{false};
  const auto book = [&](std::uintptr_t t) {
    exact_alloc(pointer(0x53'0000'0000 + t * 64), 10, at(t % 3));
    const std::lock_guard guard(lock);
    records.insert(mallard_thread.exact_record);
    ++here;
  };
  std::vector<std::thread> living;
  for (std::uintptr_t t = 0; t < kLiving; ++t)
    living.emplace_back([&, t] {
      book(t);
      while (!stop) usleep(1000);
    });
  while (here < kLiving) usleep(1000);
  bool refused = false;
  std::thread([&] {
    refused = refuse_process_vm_writev();
    std::vector<std::thread> coming;
    for (std::uintptr_t t = kLiving; t < kLiving + kComing; ++t)
      coming.emplace_back([&, t] {
        book(t);
        while (!stop) usleep(1000);
      });
    while (here < kLiving + kComing) usleep(1000);
    stop = true;
    for (std::thread& t : coming) t.join();
  }).join();
  for (std::thread& t : living) t.join();
  if (!refused) {
    WARN("not tested: this kernel takes no seccomp filter");
    return;
  }
  REQUIRE(records.size() == kLiving + kComing);
}

TEST_CASE("exact: many threads at a time, each with a record of its own") {
  begin();
  constexpr std::uintptr_t kThreads = 150, kRounds = 3, kPairs = 400;
  for (std::uintptr_t round = 0; round < kRounds; ++round) {
    std::vector<std::thread> threads;
    for (std::uintptr_t t = 0; t < kThreads; ++t)
      threads.emplace_back([t] {
        for (std::uintptr_t i = 0; i < kPairs; ++i) {
          exact_alloc(pointer(0x51'0000'0000 + t * 4096), 1 + i % 100, at(i % kSites));
          exact_free(pointer(0x51'0000'0000 + t * 4096));
        }
      });
    for (std::thread& t : threads) t.join();
  }
  ExactCounts all;
  read(&all);
  REQUIRE(all.allocated_count == kThreads * kRounds * kPairs);
  REQUIRE(all.freed_count == all.allocated_count);
  REQUIRE(all.temporary_count == all.allocated_count);
  REQUIRE(all.allocated_bytes == all.freed_bytes);
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)  // which bring in pages of their own
TEST_CASE("exact: what a new thread counts first lies on few pages, which are written first") {
  begin();
  constexpr std::uintptr_t kThreads = 20;
  long fewest = 1000;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;  // none ends before all have begun: each gets a record of its own
  for (std::uintptr_t t = 0; t < kThreads; ++t) {
    std::atomic<bool> done{false};
    threads.emplace_back([&, t] {
      rusage before, after;
      getrusage(RUSAGE_THREAD, &after);  // its page of the stack comes in here
      getrusage(RUSAGE_THREAD, &before);
      exact_alloc(pointer(0x54'0000'0000 + t * 64), 10, at(1));
      getrusage(RUSAGE_THREAD, &after);
      fewest = std::min(fewest, after.ru_minflt - before.ru_minflt);
      done = true;
      while (!stop) usleep(1000);
    });
    while (!done) usleep(100);
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  CAPTURE(fewest);
  REQUIRE(fewest <= 4);  // for its stack memory, the first counts, the finder, the first sites
}
#endif

#ifndef __SANITIZE_THREAD__
namespace {
/// From now on the kernel refuses this process to open more records. \return false if it cannot be asked to
bool refuse_more_records() {
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(&thread_record_at(0)) - kRecordAt;
  constexpr unsigned kAddress = offsetof(seccomp_data, args);
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 5),
                        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kAddress),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(first), 0, 3),
                        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kAddress + 4),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(first >> 32), 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program = {sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
}  // namespace

TEST_CASE("exact: threads that get no record count directly") {
  begin();
  const std::uint64_t before = threads_without_record();
  constexpr std::uintptr_t kThreads = 400, kPairs = 50;
  constexpr int kCannotAsk = 77;
  const pid_t child = fork();
  if (child == 0) {
    if (!refuse_more_records()) _exit(kCannotAsk);
    std::atomic<std::uintptr_t> booked{
        0};  // none ends before all have booked: nobody gets a dead one's record
    std::vector<std::thread> threads;
    for (std::uintptr_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&booked, t] {
        for (std::uintptr_t i = 0; i < kPairs; ++i) {
          exact_alloc(pointer(0x78'0000'0000 + t * 64), 10, at(1));
          exact_free(pointer(0x78'0000'0000 + t * 64));
        }
        ++booked;
        while (booked < kThreads) usleep(1000);
      });
    for (std::thread& t : threads) t.join();
    ExactCounts all;
    read(&all);
    const std::uint64_t none = threads_without_record() - before;
    std::printf("%lu of %lu threads without a record\n", static_cast<unsigned long>(none),
                static_cast<unsigned long>(kThreads));
    std::fflush(stdout);
    _exit(none > 10 && all.allocated_count == kThreads * kPairs && all.freed_count == kThreads * kPairs &&
                  all.allocated_bytes == all.freed_bytes
              ? 0
              : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kCannotAsk) WARN("this kernel takes no seccomp filter");
  else REQUIRE(status == 0);
}
#endif
