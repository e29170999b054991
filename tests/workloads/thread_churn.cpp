// SPDX-License-Identifier: Apache-2.0
// thread_churn MEGABYTES SEED: thousands of short-lived threads, each of which leaves some blocks behind.
#include <pthread.h>

#include "workload.hpp"

using namespace workload;

SITE_FUNCTION(site_left_behind, malloc(size))
SITE_FUNCTION(site_scratch, malloc(size))

namespace {

struct Work {
  std::uint64_t seed, bytes, left_bytes;
};

void* live_briefly(void* given) {
  Work& work = *static_cast<Work*>(given);
  Random random(work.seed);
  void* scratch[50];
  std::size_t i = 0;
  for (void*& block : scratch) touch(block = site_scratch(400), 400);
  while (work.left_bytes < work.bytes) {
    const std::size_t size = random.between(50, 1500);
    touch(site_left_behind(size), size);
    work.left_bytes += size;
    if (i < 50) free(scratch[i++]);
  }
  while (i < 50) free(scratch[i++]);
  return nullptr;
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 150) * kMega;
  const std::uint64_t seed = argument(count, words, 2, 1);
  constexpr int kThreads = 1500;
  std::uint64_t left = 0;
  for (int i = 0; i < kThreads; i += 2) {
    Work work[2];
    pthread_t threads[2];
    for (int k = 0; k < 2; k++) {
      work[k] = {seed * kThreads + static_cast<std::uint64_t>(i + k), bytes / kThreads, 0};
      if (pthread_create(&threads[k], nullptr, live_briefly, &work[k]) != 0) fail("pthread_create");
    }
    for (int k = 0; k < 2; k++) {
      pthread_join(threads[k], nullptr);
      left += work[k].left_bytes;
    }
  }
  Truth truth;
  truth.site("site_left_behind", left, 0);
  truth.cause("live", left, bytes / 20);
  truth.verdict("none");
  truth.rss();
  ask_for_report();
  truth.print();
}
