// SPDX-License-Identifier: Apache-2.0
// Allocates at random in every way there is, from several threads that free and move each other's blocks, and
// keeps books of its own, by the function that allocated. Forks in the middle; parent and child each print the
// truth at their end and leave a report at exit (test_exact.py compares):
//     process <pid>
//     site <function> live_bytes live_count allocated_bytes allocated_count
// usage: exact_truth SEED [OPERATIONS [THREADS]]
#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <new>

#include "check.h"

extern "C" void free_sized(void*, size_t) __attribute__((weak));

namespace {

std::uint64_t g_seed = 1;
#define NEED(condition) CHECK(condition, "seed %llu", static_cast<unsigned long long>(g_seed))

enum SiteIndex {
  kMalloc, kMallocDeeper, kCalloc, kRealloc, kReallocarray, kPosixMemalign, kAlignedAlloc, kMemalign, kValloc,
  kNew, kNewArrayNothrow, kNewAligned, kSites
};
const char* const kNames[kSites] = {
    "site_malloc", "site_malloc_deeper", "site_calloc", "site_realloc", "site_reallocarray",
    "site_posix_memalign", "site_aligned_alloc", "site_memalign", "site_valloc", "site_new",
    "site_new_array_nothrow", "site_new_aligned"};

struct Truth {
  std::atomic<long> live_bytes{0}, live_count{0}, allocated_bytes{0}, allocated_count{0};
};
Truth g_truth[kSites];

void booked(int site, size_t size) {
  g_truth[site].live_bytes += static_cast<long>(size);
  g_truth[site].allocated_bytes += static_cast<long>(size);
  g_truth[site].live_count++;
  g_truth[site].allocated_count++;
}
void unbooked(int site, size_t size) {
  g_truth[site].live_bytes -= static_cast<long>(size);
  g_truth[site].live_count--;
}

}  // namespace

// The compiler must neither join these functions nor turn their calls into jumps.
#define SITE(name, parameters, expression)                     \
  extern "C" __attribute__((noinline, noclone)) void* name parameters { \
    void* block = expression;                                  \
    __asm__ volatile("" : "+r"(block) : : "memory");           \
    return block;                                              \
  }
SITE(site_malloc, (size_t size), malloc(size))
SITE(site_malloc_innermost, (size_t size), malloc(size))
SITE(site_malloc_deeper, (size_t size), site_malloc_innermost(size))
SITE(site_calloc, (size_t size), calloc(1, size))
SITE(site_realloc, (void* old, size_t size), realloc(old, size))
SITE(site_reallocarray, (void* old, size_t size), reallocarray(old, size, 1))
SITE(site_posix_memalign, (size_t alignment, size_t size),
     [&] { void* p = nullptr; return posix_memalign(&p, alignment, size) == 0 ? p : nullptr; }())
SITE(site_aligned_alloc, (size_t alignment, size_t size), aligned_alloc(alignment, size))
SITE(site_memalign, (size_t alignment, size_t size), memalign(alignment, size))
SITE(site_valloc, (size_t size), valloc(size))
SITE(site_new, (size_t size), ::operator new(size))
SITE(site_new_array_nothrow, (size_t size), ::operator new[](size, std::nothrow))
SITE(site_new_aligned, (size_t alignment, size_t size), ::operator new(size, std::align_val_t{alignment}))

namespace {

struct Random {
  std::uint64_t state;
  std::uint64_t bits() {  // splitmix64
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  size_t below(size_t n) { return static_cast<size_t>(bits() % n); }
  size_t size() {
    switch (below(12)) {
      case 0: return below(9);  // 0 bytes is a block, too
      case 1: return 1024 + below(20000);
      case 2: return below(40) ? 600 : 100000 + below(3000000);
      default: return 1 + below(600);
    }
  }
};

struct Slot {
  std::atomic<bool> taken;
  unsigned char* block;
  size_t size;
  int site;
};
constexpr int kSlots = 600;
Slot g_slots[kSlots];

/// First, middle and last byte.
void mark(const Slot& slot) {
  const auto value = static_cast<unsigned char>(slot.size * 31 + 7);
  if (slot.size) slot.block[0] = slot.block[slot.size / 2] = slot.block[slot.size - 1] = value;
}
void check_mark(const Slot& slot, size_t kept) {
  const auto value = static_cast<unsigned char>(slot.size * 31 + 7);
  if (kept) NEED(slot.block[0] == value);
  if (kept > slot.size / 2) NEED(slot.block[slot.size / 2] == value);
  if (slot.size && kept >= slot.size) NEED(slot.block[slot.size - 1] == value);
}

void fill(Slot& slot, Random& random) {
  const int site = static_cast<int>(random.below(kSites));
  const size_t size = random.size(), alignment = size_t{16} << random.below(6);
  void* p = nullptr;
  switch (site) {
    case kMalloc: p = site_malloc(size); break;
    case kMallocDeeper: p = site_malloc_deeper(size); break;
    case kCalloc: p = site_calloc(size); break;
    case kRealloc: p = site_realloc(nullptr, size); break;  // as malloc, also of 0 bytes
    case kReallocarray: p = site_reallocarray(nullptr, size); break;
    case kPosixMemalign: p = site_posix_memalign(alignment, size); break;
    case kAlignedAlloc: p = site_aligned_alloc(alignment, size); break;
    case kMemalign: p = site_memalign(alignment, size); break;
    case kValloc: p = site_valloc(size); break;
    case kNew: p = site_new(size); break;
    case kNewArrayNothrow: p = site_new_array_nothrow(size); break;
    case kNewAligned: p = site_new_aligned(alignment, size); break;
  }
  NEED(p != nullptr);
  slot.block = static_cast<unsigned char*>(p);
  slot.size = size;
  slot.site = site;
  booked(site, size);
  mark(slot);
}

void move(Slot& slot, Random& random) {
  const bool by_array = random.below(2);
  const size_t size = 1 + random.size();  // 0 would free
  void* p = by_array ? site_reallocarray(slot.block, size) : site_realloc(slot.block, size);
  NEED(p != nullptr);
  unbooked(slot.site, slot.size);
  slot.block = static_cast<unsigned char*>(p);
  check_mark(slot, size < slot.size ? size : slot.size);
  slot.size = size;
  slot.site = by_array ? kReallocarray : kRealloc;
  booked(slot.site, size);
  mark(slot);
}

/// More than there is: the block stays where it is, and on the books.
void move_in_vain(Slot& slot) {
  NEED(site_realloc(slot.block, size_t{1} << 62) == nullptr);
  NEED(site_realloc(slot.block, size_t{1} << 63) == nullptr);
  NEED(site_reallocarray(slot.block, size_t{1} << 62) == nullptr);
  check_mark(slot, slot.size);
}

void empty(Slot& slot, Random& random) {
  check_mark(slot, slot.size);
  unbooked(slot.site, slot.size);
  void* p = slot.block;
  slot.block = nullptr;
  switch (random.below(5)) {
    case 0: ::operator delete(p); break;
    case 1: ::operator delete[](p, slot.size); break;
    case 2: NEED(realloc(p, 0) == nullptr); break;
    case 3:
      if (free_sized) {
        free_sized(p, slot.size);
        break;
      }
      [[fallthrough]];
    default: free(p); break;
  }
}

void operate(Random& random, long operations) {
  for (long i = 0; i < operations; i++) {
    Slot& slot = g_slots[random.below(kSlots)];
    if (slot.taken.exchange(true)) continue;
    if (!slot.block) fill(slot, random);
    else if (random.below(3) == 0) move(slot, random);
    else if (random.below(20) == 0) move_in_vain(slot);
    else empty(slot, random);
    slot.taken = false;
  }
}

long g_operations = 3000;
int g_threads = 3;

void* thread_main(void* number) {
  Random random{g_seed * 1000003u + reinterpret_cast<std::uintptr_t>(number)};
  operate(random, g_operations);
  return nullptr;
}

void run_threads(std::uintptr_t first) {
  pthread_t threads[64];
  for (int i = 0; i < g_threads; i++)
    NEED(pthread_create(&threads[i], nullptr, thread_main, reinterpret_cast<void*>(first + i)) == 0);
  for (int i = 0; i < g_threads; i++) pthread_join(threads[i], nullptr);
}

/// Forks while others allocate: the child only has to live through it.
void fork_under_load() {
  pthread_t threads[2];
  for (std::uintptr_t i = 0; i < 2; i++)
    pthread_create(&threads[i], nullptr, thread_main, reinterpret_cast<void*>(900 + i));
  for (int i = 0; i < 3; i++) {
    const pid_t child = fork();
    if (child == 0) {
      for (int k = 0; k < 50; k++) free(malloc(static_cast<size_t>(k) * 10));
      _exit(0);
    }
    int status = 0;
    NEED(waitpid(child, &status, 0) == child && status == 0);
  }
  for (pthread_t thread : threads) pthread_join(thread, nullptr);
}

int tell() {
  char line[4000];  // one write, so that parent and child cannot mix
  int n = snprintf(line, sizeof line, "process %d\n", static_cast<int>(getpid()));
  for (int i = 0; i < kSites; i++)
    n += snprintf(line + n, sizeof line - static_cast<size_t>(n), "site %s %ld %ld %ld %ld\n", kNames[i],
                  g_truth[i].live_bytes.load(), g_truth[i].live_count.load(),
                  g_truth[i].allocated_bytes.load(), g_truth[i].allocated_count.load());
  NEED(write(1, line, static_cast<size_t>(n)) == n);
  return check_done();
}

}  // namespace

int main(int count, char** words) {
  if (count > 1) g_seed = strtoull(words[1], nullptr, 10);
  if (count > 2) g_operations = atol(words[2]);
  if (count > 3) g_threads = atoi(words[3]);
  Random random{g_seed};
  run_threads(100);
  operate(random, g_operations);
  fork_under_load();
  const pid_t child = fork();
  if (child == 0) {
    operate(random, g_operations);  // alone at first: it must not need its parent's threads
    run_threads(200);
    exit(tell());
  }
  run_threads(300);
  int status = 0;
  NEED(waitpid(child, &status, 0) == child && status == 0);
  operate(random, g_operations);
  return tell();
}
