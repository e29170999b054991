// SPDX-License-Identifier: Apache-2.0
// What the kernel does with pages, whoever allocates: huge pages that bring more than was touched. Truth
// comes from the program's own books of what it touched, and from what the kernel says of its memory.
#include <sys/wait.h>

#include "series.hpp"

using namespace judgement;

SITE_FUNCTION(make_base, malloc(size))
SITE_FUNCTION(make_own, malloc(size))
SITE_FUNCTION(make_buffer, aligned_alloc(2 * kMega, size))
SITE_FUNCTION(make_temporary, malloc(size))

namespace {

constexpr std::size_t kBuffer = 8 * kMega, kHugePage = 2 * kMega;
constexpr int kBuffers = 10;
Random random_numbers(6);
Pool base(1 << 20), own(1 << 20);

void work(std::uint64_t bytes) { pass_by(make_temporary, bytes, random_numbers); }

char* ask_for_huge_pages(void* memory, std::size_t bytes = kBuffer) {
  madvise(memory, bytes, MADV_HUGEPAGE);
  return static_cast<char*>(memory);
}

/// Touches a little in each huge page.
void touch_a_little(char* memory, std::size_t bytes = kBuffer) {
  for (std::size_t at = 0; at < bytes; at += kHugePage) memset(memory + at + 3 * kPage, 1, 5000);
}

/// Where the kernel gave no huge pages, nothing is unusual.
Label brought_by_huge_pages() {
  const std::uint64_t huge = rollup_bytes("\nAnonHugePages:");
  return huge >= kBuffers * kBuffer * 9 / 10 ? sick("huge_pages") : undecided("huge_pages");
}

void huge_pages_hardly_touched(Series& series) {
  base.fill(make_base, 300, 20 * kMega);
  for (int i = 0; i < kBuffers; i++) touch_a_little(ask_for_huge_pages(make_buffer(kBuffer)));
  for (; series.goes_on(); work(10 * kMega)) series.report(brought_by_huge_pages());
}

// An arena of the program's own, past malloc.
void huge_map_hardly_touched(Series& series) {
  base.fill(make_base, 300, 20 * kMega);
  constexpr std::size_t kArena = kBuffers * kBuffer;
  auto* const arena = static_cast<char*>(map_memory(kArena + kHugePage));
  char* const first = arena + (kHugePage - reinterpret_cast<std::uintptr_t>(arena) % kHugePage) % kHugePage;
  touch_a_little(ask_for_huge_pages(first, kArena), kArena);
  for (; series.goes_on(); work(10 * kMega)) series.report(brought_by_huge_pages());
}

void huge_pages_filled(Series& series) {
  base.fill(make_base, 300, 20 * kMega);
  for (int i = 0; i < kBuffers; i++) memset(ask_for_huge_pages(make_buffer(kBuffer)), 1, kBuffer);
  for (; series.goes_on(); work(10 * kMega)) series.report(healthy());
}

// Tables that the program has filled with zeros itself: without huge pages they would be as large.
void huge_pages_of_zeros(Series& series) {
  base.fill(make_base, 300, 20 * kMega);
  for (int i = 0; i < kBuffers; i++) memset(ask_for_huge_pages(make_buffer(kBuffer)), 0, kBuffer);
  for (; series.goes_on(); work(10 * kMega)) series.report(healthy());
}

// A fifth of each huge page is untouched.
void huge_pages_nearly_filled(Series& series) {
  base.fill(make_base, 300, 20 * kMega);
  for (int i = 0; i < kBuffers; i++) {
    char* const buffer = ask_for_huge_pages(make_buffer(kBuffer));
    for (std::size_t at = 0; at < kBuffer; at += kHugePage) memset(buffer + at, 1, kHugePage * 4 / 5);
  }
  for (; series.goes_on(); work(10 * kMega)) series.report(healthy());
}

enum class Parent { kStays, kEnds };

/// Goes on in a child, which has from its parent what was made so far.
void become_worker(Parent parent) {
  const pid_t master = getpid(), worker = fork();
  if (worker < 0) fail("fork");
  if (worker > 0) {
    if (parent == Parent::kStays) waitpid(worker, nullptr, 0);
    _exit(0);
  }
  while (parent == Parent::kEnds && getppid() == master) usleep(1000);
}

// Counters of references in front of the data: who only reads writes to each page.
void worker_that_writes(Series& series) {
  base.fill(make_base, 1000, 60 * kMega);
  become_worker(Parent::kStays);
  series.report(healthy());
  base.write_to_each();
  for (; series.goes_on(); work(kMega)) series.report(sick("copied_since_fork"));
}

void worker_that_reads(Series& series) {
  base.fill(make_base, 1000, 60 * kMega);
  become_worker(Parent::kStays);
  for (; series.goes_on(); work(kMega)) series.report(healthy());
}

void worker_with_data_of_its_own(Series& series) {
  base.fill(make_base, 1000, 30 * kMega);
  become_worker(Parent::kStays);
  own.fill(make_own, 1000, 60 * kMega);
  for (; series.goes_on(); work(kMega)) series.report(healthy());
}

// What the parent asked for and never touched was never shared.
void worker_that_touches_first(Series& series) {
  base.fill(make_base, 1000, 20 * kMega);
  char* buffers[kBuffers];
  for (char*& buffer : buffers) buffer = static_cast<char*>(make_buffer(kBuffer));
  become_worker(Parent::kStays);
  for (char* buffer : buffers) memset(buffer, 1, kBuffer);
  for (; series.goes_on(); work(kMega)) series.report(healthy());
}

// Its parent has ended: there is nobody else who could have the memory.
void daemon_that_writes(Series& series) {
  base.fill(make_base, 1000, 60 * kMega);
  become_worker(Parent::kEnds);
  base.write_to_each();
  for (; series.goes_on(); work(kMega)) series.report(healthy());
}

constexpr Shape kShapes[] = {
    {"huge_pages_hardly_touched", "sick", 3, huge_pages_hardly_touched},
    {"huge_map_hardly_touched", "sick", 3, huge_map_hardly_touched},
    {"huge_pages_filled", "healthy", 3, huge_pages_filled},
    {"huge_pages_of_zeros", "healthy", 3, huge_pages_of_zeros},
    {"huge_pages_nearly_filled", "healthy", 3, huge_pages_nearly_filled},
    {"worker_that_writes", "sick", 4, worker_that_writes},
    {"worker_that_reads", "healthy", 3, worker_that_reads},
    {"worker_with_data_of_its_own", "healthy", 3, worker_with_data_of_its_own},
    {"worker_that_touches_first", "healthy", 3, worker_that_touches_first},
    {"daemon_that_writes", "healthy", 3, daemon_that_writes},
};

}  // namespace

int main(int count, char** words) { return run_shape(kShapes, count, words); }
