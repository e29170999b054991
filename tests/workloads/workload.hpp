// SPDX-License-Identifier: Apache-2.0
// What the workloads share: a seeded generator, books outside the heap under test, the process's own look at
// its page tables, asking for a report, and printing the truth. Nothing here uses mallard's code.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace workload {

inline constexpr std::uint64_t kPage = 4096;
inline constexpr std::uint64_t kMega = 1 << 20;

[[noreturn]] inline void fail(const char* what) {
  perror(what);
  _exit(3);
}

/// splitmix64
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x2545f4914f6cdd1du + 1) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t limit) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits()) * limit) >> 64);
  }
  std::size_t between(std::size_t low, std::size_t high) { return low + below(high - low + 1); }
  double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

inline void* map_memory(std::size_t bytes, int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE) {
  void* made = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (made == MAP_FAILED) fail("mmap");
  return made;
}

/// A growing array in memory of its own, so that the books do not disturb the heap.
template <typename T>
class List {
 public:
  explicit List(std::size_t most) : most_(most), items_(static_cast<T*>(map_memory(most * sizeof(T)))) {}
  ~List() { munmap(items_, most_ * sizeof(T)); }
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  void push(const T& item) {
    if (size_ == most_) {
      fputs("a list of the workload is full\n", stderr);
      _exit(3);
    }
    items_[size_++] = item;
  }
  T& operator[](std::size_t i) { return items_[i]; }
  T* begin() { return items_; }
  T* end() { return items_ + size_; }
  std::size_t size() const { return size_; }

  /// Forgets all but the first `count` items; their pages stay.
  void shorten_only(std::size_t count) { size_ = count; }

  /// Forgets all but the first `count` items and gives their pages back.
  void shorten(std::size_t count) {
    size_ = count;
    const std::size_t kept = (count * sizeof(T) + kPage - 1) / kPage * kPage;
    const std::size_t all = most_ * sizeof(T) / kPage * kPage;
    if (kept < all) madvise(reinterpret_cast<char*>(items_) + kept, all - kept, MADV_DONTNEED);
  }

  void shuffle(Random& random) {
    for (std::size_t i = size_; i > 1; i--) {
      const std::size_t other = random.below(i);
      const T saved = items_[i - 1];
      items_[i - 1] = items_[other];
      items_[other] = saved;
    }
  }

 private:
  std::size_t most_, size_ = 0;
  T* items_;
};

/// /proc/self/pagemap, read in windows. A view is as old as the object.
class PageTables {
 public:
  PageTables()
      : file_(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)),
        window_(static_cast<std::uint64_t*>(map_memory(kWindow * 8))) {
    if (file_ < 0) fail("/proc/self/pagemap");
  }
  ~PageTables() {
    close(file_);
    munmap(window_, kWindow * 8);
  }
  PageTables(const PageTables&) = delete;
  PageTables& operator=(const PageTables&) = delete;

  bool in_memory(std::uint64_t page_number) {
    if (page_number - first_ >= kWindow) {
      first_ = page_number / kWindow * kWindow;
      const ssize_t got = pread(file_, window_, kWindow * 8, static_cast<off_t>(first_ * 8));
      if (got < 0) fail("pagemap");
      memset(reinterpret_cast<char*>(window_) + got, 0, kWindow * 8 - static_cast<std::size_t>(got));
    }
    return window_[page_number - first_] >> 63;
  }

  /// Bytes of [begin, end) that are in memory.
  std::uint64_t resident_bytes(std::uintptr_t begin, std::uintptr_t end) {
    std::uint64_t sum = 0;
    while (begin < end) {
      const std::uintptr_t next = begin / kPage * kPage + kPage < end ? begin / kPage * kPage + kPage : end;
      if (in_memory(begin / kPage)) sum += next - begin;
      begin = next;
    }
    return sum;
  }
  std::uint64_t resident_bytes(const void* begin, std::size_t bytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    return resident_bytes(address, address + bytes);
  }

 private:
  static constexpr std::uint64_t kWindow = 1 << 14;
  int file_;
  std::uint64_t* window_;
  std::uint64_t first_ = ~std::uint64_t{0} - kWindow;
};

inline void rest_ms(int milliseconds) {
  timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  while (nanosleep(&rest, &rest) != 0) {
  }
}

/// "Rss:" or another line of smaps_rollup, in bytes.
inline std::uint64_t rollup_bytes(const char* field) {
  char text[4096];
  const int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  const ssize_t got = read(file, text, sizeof text - 1);
  close(file);
  if (got <= 0) fail("smaps_rollup");
  text[got] = 0;
  const char* found = strstr(text, field);
  return found ? strtoull(found + strlen(field), nullptr, 10) * 1024 : 0;
}

/// Size of the report if it ends as a JSON object does, else 0.
inline off_t report_bytes(int number) {
  char path[4096], tail[2] = "";
  snprintf(path, sizeof path, "%s/report.%04d.json", getenv("WORKLOAD_REPORTS"), number);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const off_t size = lseek(file, 0, SEEK_END);
  const bool ends = size > 2 && pread(file, tail, 2, size - 2) == 2 && memcmp(tail, "}\n", 2) == 0;
  close(file);
  return ends ? size : 0;
}

inline std::uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

/// Asks mallard for a report and waits for it. Without the runner there is nothing to wait for.
/// \return how long the report took to appear, in nanoseconds, to 2 ms
inline std::uint64_t ask_for_report() {
  static int asked;
  if (!getenv("WORKLOAD_REPORTS")) return 0;
  const std::uint64_t begin = now_ns();
  kill(getpid(), SIGUSR2);
  asked++;
  for (int i = 0; i < 30000; i++) {
    const std::uint64_t took = now_ns() - begin;
    const off_t before = report_bytes(asked);
    rest_ms(before ? 30 : 2);
    if (before && report_bytes(asked) == before) return took;
  }
  fputs("waited a minute for the report\n", stderr);
  _exit(3);
}

/// What the report should say, printed as one JSON object. Names are string literals.
class Truth {
 public:
  /// Bytes that a cause of the ledger must have, give or take `slack`. `detail`: part of the name of one line
  /// below it.
  void cause(const char* name, std::uint64_t bytes, std::uint64_t slack, const char* detail = "") {
    causes_[cause_count_++] = {name, detail, bytes, slack};
  }
  void site(const char* function, std::uint64_t live_bytes, std::uint64_t resident_bytes) {
    sites_[site_count_++] = {function, "", live_bytes, resident_bytes};
  }
  /// A verdict that is right.
  void verdict(const char* name) { verdicts_[verdict_count_++] = name; }
  void rss() { rss_bytes_ = rollup_bytes("\nRss:"); }

  void print() const {
    printf("{\"rss_bytes\": %" PRIu64 ", \"causes\": [", rss_bytes_);
    for (int i = 0; i < cause_count_; i++)
      printf("%s{\"cause\": \"%s\", \"detail\": \"%s\", \"bytes\": %" PRIu64 ", \"slack\": %" PRIu64 "}",
             i ? ", " : "", causes_[i].name, causes_[i].detail, causes_[i].first, causes_[i].second);
    fputs("], \"sites\": {", stdout);
    for (int i = 0; i < site_count_; i++)
      printf("%s\"%s\": {\"live_bytes\": %" PRIu64 ", \"resident_bytes\": %" PRIu64 "}", i ? ", " : "",
             sites_[i].name, sites_[i].first, sites_[i].second);
    fputs("}, \"verdicts\": [", stdout);
    for (int i = 0; i < verdict_count_; i++) printf("%s\"%s\"", i ? ", " : "", verdicts_[i]);
    puts("]}");
    fflush(stdout);
  }

 private:
  struct Figure {
    const char *name, *detail;
    std::uint64_t first, second;
  };
  Figure causes_[16], sites_[16];
  const char* verdicts_[8];
  int cause_count_ = 0, site_count_ = 0, verdict_count_ = 0;
  std::uint64_t rss_bytes_ = 0;
};

/// An argument as a number, or `otherwise`.
inline std::uint64_t argument(int count, char** words, int index, std::uint64_t otherwise) {
  return index < count ? strtoull(words[index], nullptr, 10) : otherwise;
}

/// Writes to every page of a block, the last byte included.
inline void touch(void* block, std::size_t bytes) {
  char* at = static_cast<char*>(block);
  if (bytes <= kPage) {
    memset(block, 1, bytes);
    return;
  }
  for (std::size_t i = 0; i < bytes; i += kPage) at[i] = 1;
  at[bytes - 1] = 1;
}

}  // namespace workload

/// A call site of its own: the compiler must neither join these functions nor turn their calls into jumps.
#define SITE_FUNCTION(name, expression)                                        \
  extern "C" __attribute__((noinline, noclone)) void* name(std::size_t size) { \
    void* block = expression;                                                  \
    __asm__ volatile("" : "+r"(block) : : "memory");                           \
    return block;                                                              \
  }
