// SPDX-License-Identifier: Apache-2.0
// thread_stacks MEGABYTES SEED: many threads that went deep once: the kernel takes no stack page back.
#include <pthread.h>

#include <atomic>

#include "workload.hpp"

using namespace workload;

namespace {

std::uint64_t g_depth_bytes;
std::atomic<int> g_deep;
std::atomic<std::uint64_t> g_resident;
pthread_barrier_t g_all_deep, g_done;

__attribute__((noinline, noclone)) int go_down(std::uint64_t bytes) {
  char frame[2000];
  memset(frame, static_cast<int>(bytes & 127), sizeof frame);
  __asm__ volatile("" : : "r"(frame) : "memory");
  return bytes > sizeof frame ? go_down(bytes - sizeof frame) + frame[bytes % sizeof frame] : frame[0];
}

void* be_deep(void*) {
  g_deep += go_down(g_depth_bytes) != 0;
  pthread_attr_t attributes;
  void* lowest;
  std::size_t size;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &lowest, &size);
  pthread_attr_destroy(&attributes);
  {
    PageTables pages;
    g_resident += pages.resident_bytes(lowest, size);
  }
  pthread_barrier_wait(&g_all_deep);
  pthread_barrier_wait(&g_done);
  return nullptr;
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 256) * kMega;
  constexpr int kThreads = 64;
  g_depth_bytes = bytes / kThreads;
  pthread_barrier_init(&g_all_deep, nullptr, kThreads + 1);
  pthread_barrier_init(&g_done, nullptr, kThreads + 1);
  pthread_t threads[kThreads];
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, g_depth_bytes + (256 << 10));
  for (pthread_t& thread : threads)
    if (pthread_create(&thread, &attributes, be_deep, nullptr) != 0) fail("pthread_create");
  pthread_barrier_wait(&g_all_deep);
  Truth truth;
  truth.cause("stacks", g_resident, kMega);
  truth.verdict("stacks");
  truth.rss();
  ask_for_report();
  truth.print();
  pthread_barrier_wait(&g_done);
  for (pthread_t& thread : threads) pthread_join(thread, nullptr);
}
