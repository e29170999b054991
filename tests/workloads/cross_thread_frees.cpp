// SPDX-License-Identifier: Apache-2.0
// cross_thread_frees MEGABYTES SEED: one thread makes messages, another frees them; a full queue lies
// between.
#include <pthread.h>
#include <sched.h>

#include <atomic>

#include "live_heap.hpp"

using namespace workload;

SITE_FUNCTION(site_message, malloc(size))

namespace {

struct Queue {
  explicit Queue(std::size_t room)
      : slots(static_cast<Block*>(map_memory(room * sizeof(Block)))), size(room) {}
  Block* slots;
  std::size_t size;
  std::atomic<std::uint64_t> made = 0, freed = 0, to_free = 0;
};

void* consume(void* given) {
  Queue& queue = *static_cast<Queue*>(given);
  while (queue.freed < queue.to_free) {
    if (queue.freed == queue.made) {
      sched_yield();
      continue;
    }
    free(reinterpret_cast<void*>(queue.slots[queue.freed % queue.size].address));
    queue.freed++;
  }
  return nullptr;
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 100) * kMega;
  Random random(argument(count, words, 2, 1));
  Queue queue(bytes / 500);  // messages have 500 bytes in the mean
  queue.to_free = queue.size * 4;
  pthread_t consumer;
  pthread_create(&consumer, nullptr, consume, &queue);
  while (queue.made < queue.size * 5) {
    if (queue.made - queue.freed == queue.size) {
      sched_yield();
      continue;
    }
    const std::size_t size = random.between(40, 960);
    void* message = site_message(size);
    touch(message, size);
    queue.slots[queue.made % queue.size] = {reinterpret_cast<std::uintptr_t>(message), size, 0};
    queue.made++;
  }
  pthread_join(consumer, nullptr);

  List<Block> live(queue.size);
  for (std::size_t i = 0; i < queue.size; i++) live.push(queue.slots[i]);
  const HeapTruth heap = divide_heap(live);
  Truth truth;
  truth.site("site_message", heap.sites[0].live_bytes,
             static_cast<std::uint64_t>(heap.sites[0].resident_bytes));
  truth.cause("live", static_cast<std::uint64_t>(heap.live_bytes), bytes / 20);
  truth.cause("holes", static_cast<std::uint64_t>(heap.holes_bytes()), bytes / 10);
  truth.verdict("none");
  truth.rss();
  // How much is freed at once depends on who ran when; under jemalloc it stays for ten seconds.
  if (static_cast<double>(rollup_bytes("\nRss:")) * 0.7 > heap.pinned_bytes) truth.verdict("retention");
  ask_for_report();
  truth.print();
}
