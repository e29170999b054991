// SPDX-License-Identifier: Apache-2.0
// The lock of the slow paths, and what a fork does to it. Children are stood in for by moving on the number
// that tells processes apart, as the fork handler does.
#include "base/lock.hpp"

#include <thread>
#include <vector>

#include "catch.hpp"

using mallard::Lock;
using mallard::LockGuard;

namespace {
constexpr std::uint64_t kMillisecond = 1'000'000;
}

TEST_CASE("lock: one thread at a time") {
  Lock lock;
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        LockGuard guard(lock);
        ++count;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(count == 80'000);
  CHECK_FALSE(lock.is_held());
}

TEST_CASE("lock: a held one is not given twice") {
  Lock lock;
  REQUIRE(lock.try_lock());
  CHECK(lock.is_held());
  CHECK_FALSE(lock.try_lock());
  CHECK_FALSE(lock.try_lock_for(kMillisecond));
  CHECK_FALSE(lock.was_left_behind());
  lock.unlock();
  CHECK(lock.try_lock());
}

TEST_CASE("lock: a child finds every lock free that a thread of its parent held") {
  Lock held, waited_for, free;
  held.lock();
  waited_for.lock();
  CHECK_FALSE(waited_for.try_lock_for(kMillisecond));  // leaves the mark of somebody who waits
  Lock::after_fork_in_child();
  for (Lock* lock : {&held, &waited_for}) {
    CHECK(lock->was_left_behind());
    CHECK_FALSE(lock->is_held());
  }
  CHECK_FALSE(free.was_left_behind());
  CHECK(held.try_lock());
  CHECK_FALSE(held.try_lock());
  CHECK_FALSE(held.was_left_behind());
  CHECK(waited_for.try_lock_for(kMillisecond));
  free.lock();
  for (Lock* lock : {&held, &waited_for, &free}) {
    CHECK(lock->is_held());
    lock->unlock();
    CHECK_FALSE(lock->is_held());
  }
}

TEST_CASE("lock: the thread that forks lets go of what it took before") {
  Lock lock;
  lock.lock();
  Lock::after_fork_in_child();
  lock.unlock();
  CHECK_FALSE(lock.was_left_behind());
  CHECK(lock.try_lock());
}
