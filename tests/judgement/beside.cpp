// SPDX-License-Identifier: Apache-2.0
// Programs whose memory is not malloc's: allocators of their own, files, shared memory, stacks, lazily freed
// memory; alone, and beside what is wrong with the heap.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "series.hpp"

using namespace judgement;

SITE_FUNCTION(make_base, malloc(size))
SITE_FUNCTION(make_temporary, malloc(size))
SITE_FUNCTION(leak_record, malloc(size))
SITE_FUNCTION(make_session, malloc(size))
SITE_FUNCTION(make_node, malloc(size))

namespace {

constexpr std::size_t kLarge = 80 * kMega;
Random random_numbers(5);
Pool base(1 << 20), nodes(1 << 20), sessions(1 << 20);

void work(std::uint64_t bytes) { pass_by(make_temporary, bytes, random_numbers); }

char* fill(void* made, std::size_t bytes = kLarge) {
  if (made == MAP_FAILED || made == nullptr) fail("mapping");
  memset(made, 1, bytes);
  return static_cast<char*>(made);
}
char* map_filled(std::size_t bytes = kLarge) { return fill(map_memory(bytes), bytes); }

/// A file that is full of data, mapped.
char* map_file(int flags, int protection = PROT_READ | PROT_WRITE) {
  const int file = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
  static char block[kMega];
  memset(block, 1, sizeof block);
  for (std::size_t i = 0; i < kLarge; i += sizeof block)
    if (write(file, block, sizeof block) != sizeof block) fail("write");
  void* map = mmap(nullptr, kLarge, protection, flags, file, 0);
  if (map == MAP_FAILED) fail("mmap");
  for (std::size_t i = 0; i < kLarge; i += kPage)
    static_cast<void>(static_cast<const volatile char*>(map)[i]);
  return static_cast<char*>(map);
}

void keep_on(Series& series, const Label& label) {
  base.fill(make_base, 400, base.live() + 10 * kMega);
  for (; series.goes_on(); work(5 * kMega)) series.report(label);
}

void arenas_of_its_own(Series& series) {
  map_filled();
  keep_on(series, sick("second_allocator"));
}

void arenas_in_many_pieces(Series& series) {
  for (int i = 0; i < 80; i++) map_filled(kMega);
  keep_on(series, sick("second_allocator"));
}

void arenas_that_grow(Series& series) {
  base.fill(make_base, 400, 20 * kMega);
  while (series.goes_on()) {
    map_filled(12 * kMega);
    const std::uint64_t mapped = static_cast<std::uint64_t>(series.step() + 1) * 12 * kMega;
    work(5 * kMega);
    series.report(mapped >= 36 * kMega ? sick("second_allocator") : undecided("second_allocator"));
  }
}

void break_of_its_own(Series& series) {
  if (!getenv("ALLOC_BACKEND") || strcmp(getenv("ALLOC_BACKEND"), "system") == 0) {
    map_filled();  // there the break is malloc's
  } else {
    fill(sbrk(kLarge));
  }
  keep_on(series, sick("second_allocator"));
}

// A library that was bound to the C library's own malloc, as RTLD_DEEPBIND binds it.
void blocks_past_the_front_door(Series& series) {
  void* c_library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  const auto direct = c_library ? reinterpret_cast<Allocate>(dlsym(c_library, "malloc")) : nullptr;
  if (!direct) fail("malloc of the C library");
  for (std::size_t i = 0; i < kLarge; i += 1000) memset(direct(1000), 1, 1000);
  const char* backend = getenv("ALLOC_BACKEND");
  const bool serves = !backend || strcmp(backend, "system") == 0;
  keep_on(series, sick(serves ? "past_mallard" : "second_allocator"));
}

void small_arena_beside_a_heap(Series& series) {
  map_filled(6 * kMega);
  base.fill(make_base, 400, 60 * kMega);
  for (; series.goes_on(); work(5 * kMega)) series.report(steady());
}

void lazily_freed(Series& series) {
  base.fill(make_base, 400, 30 * kMega);
  char* freed = map_filled();
  if (madvise(freed, kLarge, MADV_FREE) != 0) fail("madvise");
  keep_on(series, named("lazily_freed"));
}

void lazily_freed_by_a_bare_call(Series& series) {
  base.fill(make_base, 400, 30 * kMega);
  auto* freed = reinterpret_cast<char*>(
      syscall(SYS_mmap, nullptr, kLarge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  fill(freed);
  if (syscall(SYS_madvise, freed, kLarge, MADV_FREE) != 0) fail("madvise");
  keep_on(series, named("lazily_freed"));
}

void private_pages_of_a_file(Series& series) {
  memset(map_file(MAP_PRIVATE), 2, kLarge);
  keep_on(series, sick("file_copies"));
}

void clean_pages_of_a_file(Series& series) {
  map_file(MAP_SHARED, PROT_READ);
  base.fill(make_base, 400, 40 * kMega);
  keep_on(series, named("mapped_files"));
}

// A reader of a database: pages of a map, and a cache of decoded records in steady state.
void reader_of_a_map(Series& series) {
  const char* map = map_file(MAP_SHARED, PROT_READ);
  base.fill(make_base, 2000, 40 * kMega);
  for (std::size_t next = 0; series.goes_on();) {
    for (int i = 0; i < 8000; i++, next++) {
      static_cast<void>(static_cast<const volatile char*>(map)[next * 811 % kLarge]);
      base.replace(next % base.size(), make_base, 2000);
    }
    series.report(named("mapped_files"));
  }
}

void shared_memory_without_a_name(Series& series) {
  fill(mmap(nullptr, kLarge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  keep_on(series, sick("shared_memory"));
}

void shared_memory_file(Series& series) {
  const int file = memfd_create("frames", 0);
  if (ftruncate(file, static_cast<off_t>(kLarge)) != 0) fail("ftruncate");
  fill(mmap(nullptr, kLarge, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  keep_on(series, sick("shared_memory"));
}

void shared_memory_segment(Series& series) {
  const int segment = shmget(IPC_PRIVATE, kLarge, IPC_CREAT | 0600);
  void* at = shmat(segment, nullptr, 0);
  shmctl(segment, IPC_RMID, nullptr);
  fill(at);
  keep_on(series, sick("shared_memory"));
}

std::size_t stack_bytes;
pthread_barrier_t deep;

__attribute__((noinline)) void* go_deep(void*) {
  auto* frame = static_cast<char*>(__builtin_alloca(stack_bytes));
  memset(frame, 1, stack_bytes);
  __asm__ volatile("" : : "r"(frame) : "memory");
  pthread_barrier_wait(&deep);
  for (;;) pause();
}

void start_threads(int count, std::size_t bytes) {
  stack_bytes = bytes;
  pthread_barrier_init(&deep, nullptr, static_cast<unsigned>(count) + 1);
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, go_deep, nullptr) != 0) fail("pthread_create");
  }
  pthread_barrier_wait(&deep);
}

void deep_stacks(Series& series) {
  start_threads(100, 700 << 10);
  keep_on(series, sick("stacks"));
}

void shallow_stacks(Series& series) {
  start_threads(100, 4 << 10);
  base.fill(make_base, 400, 40 * kMega);
  keep_on(series, healthy());
}

void lose_beside(Series& series, const char* also) {
  Leak leak("leak_record");
  base.fill(make_base, 400, 10 * kMega);
  while (series.goes_on()) {
    for (std::uint64_t done = 0; done < 6 * kMega; done += 300) leak.add(leak_record, 300);
    work(4 * kMega);
    series.report(leak.label("", also));
  }
}

void leak_beside_arenas(Series& series) {
  map_filled();
  lose_beside(series, "second_allocator");
}

void leak_beside_shared_memory(Series& series) {
  fill(mmap(nullptr, kLarge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  lose_beside(series, "shared_memory");
}

void leak_beside_lazily_freed(Series& series) {
  if (madvise(map_filled(), kLarge, MADV_FREE) != 0) fail("madvise");
  lose_beside(series, "lazily_freed");
}

void pinned_beside_a_file(Series& series) {
  map_file(MAP_SHARED, PROT_READ);
  for (int i = 0; i < 20'000; i++) {
    for (int k = 0; k < 15; k++) nodes.add(make_node, 240);
    sessions.add(make_session, 240);
  }
  nodes.clear();
  for (; series.goes_on(); work(kMega))
    series.report(sick("external_fragmentation|joint_pinning", "make_session", "retention"));
}

constexpr Shape kShapes[] = {
    {"arenas_of_its_own", "sick", 5, arenas_of_its_own},
    {"arenas_in_many_pieces", "sick", 5, arenas_in_many_pieces},
    {"arenas_that_grow", "sick", 8, arenas_that_grow},
    {"break_of_its_own", "sick", 4, break_of_its_own},
    {"blocks_past_the_front_door", "sick", 4, blocks_past_the_front_door},
    {"small_arena_beside_a_heap", "healthy", 5, small_arena_beside_a_heap},
    {"lazily_freed", "healthy", 5, lazily_freed},
    {"lazily_freed_by_a_bare_call", "healthy", 5, lazily_freed_by_a_bare_call},
    {"private_pages_of_a_file", "sick", 4, private_pages_of_a_file},
    {"clean_pages_of_a_file", "healthy", 5, clean_pages_of_a_file},
    {"reader_of_a_map", "healthy", 10, reader_of_a_map},
    {"shared_memory_without_a_name", "sick", 4, shared_memory_without_a_name},
    {"shared_memory_file", "sick", 4, shared_memory_file},
    {"shared_memory_segment", "sick", 4, shared_memory_segment},
    {"deep_stacks", "sick", 4, deep_stacks},
    {"shallow_stacks", "healthy", 5, shallow_stacks},
    {"leak_beside_arenas", "sick", 10, leak_beside_arenas},
    {"leak_beside_shared_memory", "sick", 10, leak_beside_shared_memory},
    {"leak_beside_lazily_freed", "sick", 10, leak_beside_lazily_freed},
    {"pinned_beside_a_file", "sick", 4, pinned_beside_a_file},
};

}  // namespace

int main(int count, char** words) { return run_shape(kShapes, count, words); }
