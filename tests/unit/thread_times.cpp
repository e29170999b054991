// SPDX-License-Identifier: Apache-2.0
// Which threads have not run between two reports.
#include "report/facts/thread_times.hpp"

#include <semaphore.h>

#include <chrono>
#include <thread>

#include "base/os.hpp"
#include "base/process_memory.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

/// Sleeps until it is told to run; ends when it is told a second time.
class Worker {
 public:
  Worker() {
    sem_init(&go_, 0, 0);
    sem_init(&has_run_, 0, 0);
    thread_ = std::thread([this] {
      for (int i = 0; i < 2; ++i) {
        sem_post(&has_run_);
        sem_wait(&go_);
      }
    });
    sem_wait(&has_run_);
  }
  ~Worker() {
    sem_post(&go_);
    sem_post(&go_);
    thread_.join();
  }
  Worker(const Worker&) = delete;
  void run() {
    sem_post(&go_);
    sem_wait(&has_run_);
  }

 private:
  sem_t go_, has_run_;
  std::thread thread_;
};

/// Until the kernel has put away the times of threads that have just gone to sleep.
IdleThreads settled(int idle) {
  IdleThreads found = find_idle_threads(own_process());
  for (int i = 0; i < 100 && found.count != idle; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    found = find_idle_threads(own_process());
  }
  return found;
}

}  // namespace

TEST_CASE("threads that have not run since the last report are idle") {
  const IdleThreads alone = find_idle_threads(own_process());
  CHECK(alone.count == -1);  // there is nobody to compare
  Worker first, second, third;
  const IdleThreads all = settled(3);
  CHECK(all.compared == 3);
  CHECK(all.count == 3);
  CHECK(all.ns < 60'000'000'000);
  const std::uint64_t before = os::monotonic_ns();
  settled(3);
  const std::uint64_t between = os::monotonic_ns();
  second.run();
  const std::uint64_t after = os::monotonic_ns();
  const IdleThreads two = find_idle_threads(own_process());
  CHECK(two.ns >= after - between);
  CHECK(two.ns <= os::monotonic_ns() - before);
  CHECK(two.compared == 3);
  CHECK(two.count == 2);
}
