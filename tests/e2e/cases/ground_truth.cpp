// SPDX-License-Identifier: Apache-2.0
// Knows what it allocates: every site is a function of its own, sizes and lifetimes come from the seed in
// the first argument. Prints the truth, one site a line, asks for a report, waits until told to end.
//     site <function> live_bytes live_count allocated_bytes allocated_count
// (test_ground_truth.py compares.)
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#include "check.h"

namespace {

std::uint64_t g_state;

// splitmix64
std::uint64_t random_bits() {
  std::uint64_t z = (g_state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
std::size_t random_between(std::size_t low, std::size_t high) {
  return low + static_cast<std::size_t>(random_bits() % (high - low + 1));
}

struct Site {
  const char* name;
  std::size_t live_bytes, live_count, allocated_bytes, allocated_count;
};

struct Block {
  void* address;
  std::size_t size;
};

constexpr int kMaxBlocks = 60000;
Block g_blocks[kMaxBlocks];  // of the site at work

void booked(Site& site, std::size_t size) {
  site.live_bytes += size;
  site.allocated_bytes += size;
  site.live_count++;
  site.allocated_count++;
}
void unbooked(Site& site, std::size_t size) {
  site.live_bytes -= size;
  site.live_count--;
}

// The compiler must neither join these functions nor turn their calls into jumps.
#define SITE_FUNCTION(name, expression)                               \
  __attribute__((noinline, noclone)) void* name(std::size_t size) {   \
    void* block = expression;                                         \
    __asm__ volatile("" : "+r"(block) : : "memory");                  \
    return block;                                                     \
  }

}  // namespace

extern "C" {
SITE_FUNCTION(site_tiny_all_live, malloc(size))
SITE_FUNCTION(site_tiny_mostly_freed, malloc(size))
SITE_FUNCTION(site_small_all_live, malloc(size))
SITE_FUNCTION(site_small_half_freed, malloc(size))
SITE_FUNCTION(site_mixed_oldest_live, malloc(size))
SITE_FUNCTION(site_mixed_youngest_live, calloc(1, size))
SITE_FUNCTION(site_medium_all_freed, malloc(size))
SITE_FUNCTION(site_medium_live, ::operator new(size))
SITE_FUNCTION(site_large_live, aligned_alloc(64, size))
SITE_FUNCTION(site_large_churn, malloc(size))
SITE_FUNCTION(site_freed_by_thread, malloc(size))
SITE_FUNCTION(site_few_blocks, malloc(size))
SITE_FUNCTION(site_to_be_moved, malloc(size))

__attribute__((noinline, noclone)) void* site_moved(void* old, std::size_t size) {
  void* block = realloc(old, size);
  __asm__ volatile("" : "+r"(block) : : "memory");
  return block;
}
}

namespace {

/// Allocates `count` blocks, then frees those that `freed` picks.
template <typename Freed>
Site plain_site(const char* name, void* (*allocate)(std::size_t), int count, std::size_t low, std::size_t high,
                Freed freed) {
  Site site{name, 0, 0, 0, 0};
  for (int i = 0; i < count; i++) {
    g_blocks[i].size = random_between(low, high);
    g_blocks[i].address = allocate(g_blocks[i].size);
    booked(site, g_blocks[i].size);
  }
  for (int i = 0; i < count; i++) {
    if (!freed(i)) continue;
    unbooked(site, g_blocks[i].size);
    free(g_blocks[i].address);
  }
  return site;
}

/// A window of live blocks slides over many short-lived ones.
Site churn_site(const char* name, void* (*allocate)(std::size_t), int count, int window, std::size_t low,
                std::size_t high) {
  Site site{name, 0, 0, 0, 0};
  for (int i = 0; i < window; i++) g_blocks[i] = {nullptr, 0};
  for (int i = 0; i < count; i++) {
    Block& slot = g_blocks[random_between(0, static_cast<std::size_t>(window) - 1)];
    if (slot.address) {
      unbooked(site, slot.size);
      free(slot.address);
    }
    slot.size = random_between(low, high);
    slot.address = allocate(slot.size);
    booked(site, slot.size);
  }
  return site;
}

int g_to_free;
void* free_in_thread(void* unused) {
  for (int i = 0; i < g_to_free; i++) free(g_blocks[i].address);
  return unused;
}

Site thread_site() {
  Site site = plain_site("site_freed_by_thread", site_freed_by_thread, 6000, 100, 400, [](int) { return false; });
  g_to_free = 4000;
  for (int i = 0; i < g_to_free; i++) unbooked(site, g_blocks[i].size);
  pthread_t thread;
  pthread_create(&thread, nullptr, free_in_thread, nullptr);
  pthread_join(thread, nullptr);
  return site;
}

/// realloc: the old block ends, the new one belongs to the function that calls realloc.
void moved_sites(Site& before, Site& after) {
  before = plain_site("site_to_be_moved", site_to_be_moved, 5000, 16, 200, [](int) { return false; });
  after = {"site_moved", 0, 0, 0, 0};
  for (int i = 0; i < 5000; i += 2) {
    const std::size_t size = random_between(300, 900);
    g_blocks[i].address = site_moved(g_blocks[i].address, size);
    unbooked(before, g_blocks[i].size);
    booked(after, size);
    g_blocks[i].size = size;
  }
}

}  // namespace

int main(int count, char** words) {
  g_state = count > 1 ? strtoull(words[1], nullptr, 10) * 0x2545f4914f6cdd1du + 1 : 1;
  Site sites[16];
  int n = 0;
  const auto nothing = [](int) { return false; };
  sites[n++] = plain_site("site_tiny_all_live", site_tiny_all_live, 60000, 8, 48, nothing);
  sites[n++] = plain_site("site_tiny_mostly_freed", site_tiny_mostly_freed, 60000, 8, 48,
                          [](int i) { return i % 10 != 0; });
  sites[n++] = plain_site("site_small_all_live", site_small_all_live, 12000, 64, 512, nothing);
  sites[n++] = plain_site("site_small_half_freed", site_small_half_freed, 12000, 64, 512,
                          [](int) { return random_bits() % 2 == 0; });
  sites[n++] = plain_site("site_mixed_oldest_live", site_mixed_oldest_live, 3000, 16, 4000,
                          [](int i) { return i >= 600; });
  sites[n++] = plain_site("site_mixed_youngest_live", site_mixed_youngest_live, 3000, 16, 4000,
                          [](int i) { return i < 2400; });
  sites[n++] = plain_site("site_medium_all_freed", site_medium_all_freed, 800, 2000, 9000,
                          [](int) { return true; });
  sites[n++] = plain_site("site_medium_live", site_medium_live, 700, 2000, 9000, nothing);
  sites[n++] = plain_site("site_large_live", site_large_live, 60, 40000, 200000, nothing);
  sites[n++] = churn_site("site_large_churn", site_large_churn, 200, 20, 20000, 90000);
  sites[n++] = churn_site("site_few_blocks", site_few_blocks, 12, 4, 1000, 30000);
  sites[n++] = thread_site();
  moved_sites(sites[n], sites[n + 1]);
  n += 2;
  for (int i = 0; i < n; i++)
    printf("site %s %zu %zu %zu %zu\n", sites[i].name, sites[i].live_bytes, sites[i].live_count,
           sites[i].allocated_bytes, sites[i].allocated_count);
  fflush(stdout);
  raise(SIGUSR2);
  char text[10];
  while (read(0, text, sizeof text) < 0 && errno == EINTR) {
  }
  return check_done();
}
