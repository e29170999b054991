// SPDX-License-Identifier: Apache-2.0
#include "base/os.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include <atomic>

#include "base/pagemap.hpp"
#include "base/parts.hpp"
#include "base/times.hpp"

namespace mallard::os {
namespace {

/// A slot is taken by its end (0 = free), so that mapping and unmapping threads need no lock.
struct Slot {
  std::atomic<std::uintptr_t> begin{0}, end{0};
};
constinit Slot g_own[kMaxOwnRanges];
constinit std::atomic<std::uint64_t> g_own_dropped{0};
MALLARD_PART(own_ranges, g_own);
MALLARD_PART(own_ranges_dropped, g_own_dropped);

void remember(std::uintptr_t begin, std::uintptr_t end) noexcept {
  for (Slot& slot : g_own) {
    std::uintptr_t free = 0;
    if (slot.end.load(std::memory_order_relaxed) != 0) continue;
    if (!slot.end.compare_exchange_strong(free, end, std::memory_order_relaxed)) continue;
    slot.begin.store(begin, std::memory_order_release);
    return;
  }
  g_own_dropped.fetch_add(1, std::memory_order_relaxed);
}

void forget(std::uintptr_t begin) noexcept {
  for (Slot& slot : g_own)
    if (slot.begin.load(std::memory_order_relaxed) == begin) {
      slot.begin.store(0, std::memory_order_relaxed);
      slot.end.store(0, std::memory_order_release);
      return;
    }
}

void set_end(std::uintptr_t begin, std::uintptr_t end) noexcept {
  for (Slot& slot : g_own)
    if (slot.begin.load(std::memory_order_relaxed) == begin) {
      slot.end.store(end, std::memory_order_relaxed);
      return;
    }
}

void* map_with(std::size_t bytes, long protection, long flags) noexcept {
  long r =
      call(SYS_mmap, 0, static_cast<long>(bytes), protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (r < 0 && r > -4096) return nullptr;
  remember(static_cast<std::uintptr_t>(r), align_up(static_cast<std::uintptr_t>(r) + bytes, kPageBytes));
  return reinterpret_cast<void*>(r);
}

/// By the kernel: the host, or another preload, may have a clock_gettime of its own, which allocates.
std::uint64_t clock_ns(clockid_t clock) noexcept {
  timespec t{};
  call(SYS_clock_gettime, clock, arg(&t));
  return ns_of(t);
}

}  // namespace

std::uint64_t address_limit() noexcept {
  rlimit limit{};
  return call(SYS_prlimit64, 0, RLIMIT_AS, 0, arg(&limit)) == 0 ? limit.rlim_cur : ~std::uint64_t{0};
}
std::size_t within_address_limit(std::size_t bytes) noexcept {
  // All reservations of sample mode are 96 MiB: under a limit of 1 GiB they take 16 MiB.
  constexpr std::uint64_t kAmple = std::uint64_t{6} << 30, kLeast = 256 << 10;
  const std::uint64_t limit = address_limit();
  if (limit >= kAmple) return bytes;
  const std::uint64_t share = bytes / kLeast * limit / kAmple * kLeast;
  return share < kLeast ? kLeast : static_cast<std::size_t>(share);
}
void* map(std::size_t bytes) noexcept { return map_with(bytes, PROT_READ | PROT_WRITE, 0); }
void* reserve(std::size_t bytes) noexcept { return map_with(bytes, PROT_NONE, MAP_NORESERVE); }
void* map_sparse(std::size_t bytes) noexcept {
  return map_with(bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
}
void* map_near(std::uintptr_t begin, std::uintptr_t end, std::size_t bytes) noexcept {
  constexpr std::uintptr_t kStep = 1 << 20, kFar = 1 << 30, kLowest = 1 << 16;
  if (end - begin > kFar) return nullptr;
  begin &= ~(kPageBytes - 1);
  end = align_up(end, kPageBytes);
  // Below first: above a program lies what brk() will want.
  for (int above = 0; above < 2; ++above)
    for (std::uintptr_t away = kStep; away < kFar - (end - begin); away += kStep) {
      if (!above && begin < kLowest + away) break;
      const std::uintptr_t wanted = above ? begin + kFar - away : begin - away;
      if (above && wanted < end) break;
      const long r = call(SYS_mmap, static_cast<long>(wanted), static_cast<long>(bytes),
                          PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      if (r < 0 && r > -4096) continue;
      if (static_cast<std::uintptr_t>(r) != wanted) {  // a kernel older than 4.17 takes it for a hint
        call(SYS_munmap, r, static_cast<long>(bytes));
        continue;
      }
      remember(wanted, align_up(wanted + bytes, kPageBytes));
      return reinterpret_cast<void*>(wanted);
    }
  return nullptr;
}
bool map_code_at(std::uintptr_t at, std::size_t bytes) noexcept {
  const auto length = static_cast<long>(bytes);
  const long r = call(SYS_mmap, static_cast<long>(at), length, PROT_READ | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (r < 0 && r > -4096) return false;
  if (static_cast<std::uintptr_t>(r) != at) {  // a kernel older than 4.17 takes it for a hint
    call(SYS_munmap, r, length);
    return false;
  }
  remember(at, align_up(at + bytes, kPageBytes));
  return true;
}
void unmap(void* p, std::size_t bytes) noexcept {
  forget(address_of(p));  // first: the kernel may give the address to another thread at once
  call(SYS_munmap, arg(p), static_cast<long>(bytes));
}

bool unmap_end(void* p, std::size_t kept, std::size_t bytes) noexcept {
  const std::uintptr_t begin = address_of(p), end = begin + kept;
  if (kept == 0) forget(begin);  // first, as above
  else set_end(begin, end);
  if (call(SYS_munmap, static_cast<long>(end), static_cast<long>(bytes)) == 0) return true;
  if (kept == 0) remember(begin, end + bytes);
  else set_end(begin, end + bytes);
  return false;
}

bool move_over(void* p, void* to, std::size_t bytes) noexcept {
  const auto length = static_cast<long>(bytes);
  forget(address_of(p));
  if (call(SYS_mremap, arg(p), length, length, MREMAP_MAYMOVE | MREMAP_FIXED, arg(to)) != arg(to)) {
    remember(address_of(p), address_of(p) + bytes);
    return false;
  }
  forget(address_of(to));  // where an earlier one stood
  remember(address_of(to), address_of(to) + bytes);
  return true;
}

std::uint32_t own_ranges(OwnRange* to, std::uint32_t room) noexcept {
  std::uint32_t n = 0;
  for (const Slot& slot : g_own) {
    const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    const std::uintptr_t end = slot.end.load(std::memory_order_relaxed);
    if (n < room && begin != 0 && begin < end) to[n++] = {begin, end};
  }
  return n;
}

std::uint32_t other_own_ranges(const OtherParts& parts, OwnRange* to, std::uint64_t* unknown) noexcept {
  static constinit Slot slots[kMaxOwnRanges];
  if (!parts.copy_of(g_own, slots) || !parts.copy_of(g_own_dropped, unknown)) return 0;
  std::uint32_t n = 0;
  for (const Slot& slot : slots) {
    const std::uintptr_t begin = slot.begin.load(std::memory_order_relaxed);
    const std::uintptr_t end = slot.end.load(std::memory_order_relaxed);
    if (begin != 0 && begin < end) to[n++] = {begin, end};
  }
  return n;
}

std::uint64_t unknown_own_ranges() noexcept { return g_own_dropped.load(std::memory_order_relaxed); }

bool protect(void* p, std::size_t bytes, int protection) noexcept {
  return call(SYS_mprotect, arg(p), static_cast<long>(bytes), protection) == 0;
}

long open(const char* path, int flags, int mode) noexcept {
  return call(SYS_openat, AT_FDCWD, arg(path), flags | O_CLOEXEC, mode);
}

long read(int fd, void* to, std::size_t bytes) noexcept {
  long r;
  do r = call(SYS_read, fd, arg(to), static_cast<long>(bytes));
  while (r == -EINTR);
  return r;
}

long pread(int fd, void* to, std::size_t bytes, std::uint64_t offset) noexcept {
  long r;
  do r = call(SYS_pread64, fd, arg(to), static_cast<long>(bytes), static_cast<long>(offset));
  while (r == -EINTR);
  return r;
}

void close(int fd) noexcept { call(SYS_close, fd); }

long write_all(int fd, const void* from, std::size_t bytes) noexcept {
  const char* p = static_cast<const char*>(from);
  while (bytes > 0) {
    long r = call(SYS_write, fd, arg(p), static_cast<long>(bytes));
    if (r == -EINTR) continue;
    if (r <= 0) return r < 0 ? r : -EIO;
    p += r;
    bytes -= static_cast<std::size_t>(r);
  }
  return 0;
}

long read_file(const char* path, char* to, std::size_t bytes) noexcept {
  long fd = open(path, O_RDONLY);
  if (fd < 0) return fd;
  std::size_t have = 0;
  long r = 0;
  while (have + 1 < bytes && (r = read(static_cast<int>(fd), to + have, bytes - 1 - have)) > 0)
    have += static_cast<std::size_t>(r);
  close(static_cast<int>(fd));
  to[have] = '\0';
  return r < 0 ? r : static_cast<long>(have);
}

MALLARD_FORK_TEXT int process_id() noexcept { return static_cast<int>(call(SYS_getpid)); }
std::uint64_t thread_count() noexcept {
  struct stat tasks {};  // a folder for each, and links from itself and the one above
  const bool is_there = call(SYS_newfstatat, AT_FDCWD, arg("/proc/self/task"), arg(&tasks), 0) == 0;
  return is_there && tasks.st_nlink > 2 ? tasks.st_nlink - 2 : 0;
}
std::uint64_t monotonic_ns() noexcept { return clock_ns(CLOCK_MONOTONIC); }
std::uint64_t thread_work_ns() noexcept { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }
std::uint64_t process_work_ns() noexcept { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }
std::uint64_t realtime_ns() noexcept { return clock_ns(CLOCK_REALTIME); }

namespace {

bool pages_present_by_pagemap(std::uintptr_t begin, std::size_t pages, unsigned char* present) noexcept {
  const long fd = open("/proc/self/pagemap", O_RDONLY);
  if (fd < 0) return false;
  const bool good = pagemap::read_presence(fd, begin, pages, present);
  close(static_cast<int>(fd));
  return good;
}

}  // namespace

bool pages_present(std::uintptr_t begin, std::size_t pages, unsigned char* present) noexcept {
  // A filter may end the process for mincore: systemd's @system-service lacks it. Containers' filters have
  // it, and a process that has dropped its privileges there may not open its pagemap.
  if (call(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0) != 0 && pages_present_by_pagemap(begin, pages, present))
    return true;
  return call(SYS_mincore, static_cast<long>(begin), static_cast<long>(pages * kPageBytes), arg(present)) ==
         0;
}

std::uint64_t resident_bytes(const void* p, std::size_t bytes) noexcept {
  constexpr std::size_t kPagesAtOnce = 1024;
  unsigned char present[kPagesAtOnce];
  std::uintptr_t at = address_of(p) & ~std::uintptr_t{kPageBytes - 1};
  const std::uintptr_t end = align_up(address_of(p) + bytes, kPageBytes);
  std::uint64_t resident = 0;
  while (at < end) {
    const std::size_t left = (end - at) / kPageBytes, pages = left < kPagesAtOnce ? left : kPagesAtOnce;
    if (!pages_present(at, pages, present)) return resident + (end - at);
    for (std::size_t i = 0; i < pages; ++i) resident += (present[i] & 1) * kPageBytes;
    at += pages * kPageBytes;
  }
  return resident;
}

// Memory of the own process is read by writing it to `to`. process_vm_readv would pin the pages that it
// reads, and since Linux 5.19 pinning gives a process its own copy of each page that it shares with a
// relative: a report of a forked child made its whole heap private. What is written from is read as the
// program itself reads it.
Copied copy(void* to, std::uintptr_t from, std::size_t bytes) noexcept {
  iovec source{reinterpret_cast<void*>(from), bytes};
  iovec target{to, bytes};
  const long copied = call(SYS_process_vm_writev, process_id(), arg(&source), 1, arg(&target), 1, 0);
  if (copied == static_cast<long>(bytes)) return Copied::kAll;
  return copied >= 0 || copied == -EFAULT ? Copied::kUnreadable : Copied::kRefused;
}

bool copy_if_readable(void* to, std::uintptr_t from, std::size_t bytes) noexcept {
  return copy(to, from, bytes) == Copied::kAll;
}

std::size_t copy_pieces_if_readable(void* to, const std::uintptr_t* from, std::size_t count,
                                    std::size_t bytes) noexcept {
  iovec target{to, bytes * count};
  iovec sources[kMaxPieces];
  for (std::size_t i = 0; i < count; ++i) sources[i] = {reinterpret_cast<void*>(from[i]), bytes};
  const long copied =
      call(SYS_process_vm_writev, process_id(), arg(sources), static_cast<long>(count), arg(&target), 1, 0);
  return copied <= 0 ? 0 : static_cast<std::size_t>(copied) / bytes;
}

}  // namespace mallard::os
