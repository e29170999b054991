// SPDX-License-Identifier: Apache-2.0
// report_cost MEGABYTES OBJECTS ROUNDS: what a report costs a program with a large heap. Three threads do
// something short again and again: allocate and free; map, write and unmap; compute. Each notes its slowest
// turn, in stretches with a report and in equally long ones without, which tell what the machine itself does.
// Prints one line of JSON.
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>

#include "../workloads/workload.hpp"

using namespace workload;

SITE_FUNCTION(site_object, malloc(size))
SITE_FUNCTION(site_turn, malloc(size))

namespace {

enum { kAllocate, kMap, kCompute, kKinds };
const char* const kNames[kKinds] = {"allocate", "map", "compute"};

std::atomic<bool> g_stop;

/// How often the scheduler took this thread's core away.
long preempted() {
  rusage used;
  getrusage(RUSAGE_THREAD, &used);
  return used.ru_nivcsw;
}

struct Turns {
  int kind;
  std::atomic<std::uint64_t> slowest_ns = 0;  // of turns that kept their core
  std::atomic<std::uint64_t> slowest_preempted_ns = 0;
};

void allocate(void** kept, Random& random) {
  for (int i = 0; i < 50; i++) {
    void*& block = kept[random.below(1000)];
    free(block);
    const std::size_t size = random.between(16, 2000);
    memset(block = site_turn(size), 1, std::min<std::size_t>(size, 64));
  }
}

void map(int pages) {
  char* memory = static_cast<char*>(mmap(nullptr, static_cast<std::size_t>(pages) * kPage,
                                         PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < pages; i++) memory[static_cast<std::size_t>(i) * kPage] = 1;
  munmap(memory, static_cast<std::size_t>(pages) * kPage);
}

void compute(std::uint64_t& state) {
  for (int i = 0; i < 10000; i++) state = state * 6364136223846793005u + 1442695040888963407u;
}

void* take_turns(void* given) {
  Turns& turns = *static_cast<Turns*>(given);
  Random random(7);
  static void* kept[1000];
  std::uint64_t state = 1;
  long lost = preempted();
  while (!g_stop) {
    const std::uint64_t begin = now_ns();
    if (turns.kind == kAllocate) allocate(kept, random);
    if (turns.kind == kMap) map(8);
    if (turns.kind == kCompute) compute(state);
    const std::uint64_t took = now_ns() - begin;
    const long lost_now = preempted();
    std::atomic<std::uint64_t>& slowest = lost_now == lost ? turns.slowest_ns : turns.slowest_preempted_ns;
    if (took > slowest) slowest = took;
    timespec rest = {0, 30'000};
    nanosleep(&rest, nullptr);
    lost = preempted();
  }
  return state ? nullptr : &turns;
}

struct Rounds {
  std::uint64_t values[64];
  std::uint64_t median = 0, most = 0, least = 0;
  void sum_up(int count) {
    std::sort(values, values + count);
    median = values[count / 2], most = values[count - 1], least = values[0];
  }
};

void print(const char* name, Rounds& rounds, int count) {
  rounds.sum_up(count);
  printf("\"%s\": [%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", name, rounds.median, rounds.least, rounds.most);
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 1024) * kMega;
  const std::uint64_t objects = argument(count, words, 2, 10'000'000);
  const int rounds = static_cast<int>(argument(count, words, 3, 5));
  Random random(1);
  const std::size_t mean = bytes / objects;
  // A quarter more than asked for, then every fifth is freed, in random order: no heap is without holes.
  List<void*> made(objects + objects / 4);
  for (std::size_t i = 0; i < objects + objects / 4; i++) {
    const std::size_t size = random.between(mean / 5, mean * 7 / 5);
    void* block = site_object(size);
    touch(block, size);
    made.push(block);
  }
  made.shuffle(random);
  for (std::size_t i = 0; i < objects / 4; i++) free(made[i]);
  made.shorten(0);

  // Where it is allowed, nobody else's time slices are measured: the reporter's thread inherits this, too.
  const sched_param priority = {1};
  const bool undisturbed = sched_setscheduler(0, SCHED_FIFO, &priority) == 0;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // the signal comes to the main thread
  static Turns turns[kKinds];
  pthread_t threads[kKinds];
  for (int kind = 0; kind < kKinds; kind++) {
    turns[kind].kind = kind;
    if (pthread_create(&threads[kind], nullptr, take_turns, &turns[kind]) != 0) fail("pthread_create");
  }
  pthread_sigmask(SIG_UNBLOCK, &all, nullptr);

  Rounds report, with[kKinds], without[kKinds], preempted_with[kKinds];
  const int n = std::min(rounds, 64);
  ask_for_report();  // the first one brings the reporter's code and the symbols in
  for (int round = 0; round < n; round++) {
    for (Turns& turn : turns) turn.slowest_ns = turn.slowest_preempted_ns = 0;
    const std::uint64_t begin = now_ns();
    report.values[round] = ask_for_report();
    const std::uint64_t stretch = now_ns() - begin;
    for (int kind = 0; kind < kKinds; kind++) {
      with[kind].values[round] = turns[kind].slowest_ns;
      preempted_with[kind].values[round] = turns[kind].slowest_preempted_ns;
    }
    for (Turns& turn : turns) turn.slowest_ns = 0;
    rest_ms(static_cast<int>(stretch / 1'000'000) + 1);
    for (int kind = 0; kind < kKinds; kind++) without[kind].values[round] = turns[kind].slowest_ns;
  }
  g_stop = true;
  for (pthread_t thread : threads) pthread_join(thread, nullptr);

  printf("{\"rss_bytes\": %" PRIu64 ", \"undisturbed\": %d, ", rollup_bytes("\nRss:"), undisturbed);
  // Of figures: median, least, most.
  print("report_ns", report, n);
  for (int kind = 0; kind < kKinds; kind++) {
    printf(", \"%s\": {", kNames[kind]);
    print("report", with[kind], n);
    fputs(", ", stdout);
    print("quiet", without[kind], n);
    fputs(", ", stdout);
    print("preempted", preempted_with[kind], n);
    fputs("}", stdout);
  }
  puts("}");
}
