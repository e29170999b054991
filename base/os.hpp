// SPDX-License-Identifier: Apache-2.0
// Raw Linux system calls. They set no errno, take no lock, are no cancellation points and work before
// libc is initialised: the only way in which the host side talks to the kernel.
// Every function returns the kernel's value: >= 0, or a negated errno.
#pragma once

#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>

#include "arch/syscall.hpp"
#include "base/attributes.hpp"

namespace mallard {
class OtherParts;
}

namespace mallard::os {

/// One system call with up to six arguments. \context hot: async-signal-safe
inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                 long f = 0) noexcept {
  return arch::syscall(number, a, b, c, d, e, f);
}

template <typename T>
inline long arg(T* p) noexcept {
  return reinterpret_cast<long>(p);
}

/// Anonymous private memory; nullptr where the kernel refuses. Committed on first touch.
/// \context refill
void* map(std::size_t bytes) noexcept;
/// The limit on address space (RLIMIT_AS); all bits set where there is none. \context init, reporter
std::uint64_t address_limit() noexcept;
/// What of a reservation of `bytes`, whole huge pages, a limit on address space (RLIMIT_AS) leaves room for,
/// so that all of mallard's take a small part of it: all where there is no limit. \context init
std::size_t within_address_limit(std::size_t bytes) noexcept;
/// Reserves address space, inaccessible until protect() opens it. \context init
void* reserve(std::size_t bytes) noexcept;
/// Memory that is not counted as committed until it is touched. \context refill
void* map_sparse(std::size_t bytes) noexcept;
/// Memory within 1 GiB of every address in [begin, end), for code that is jumped to from there; nullptr if
/// all of that is taken. \context init
void* map_near(std::uintptr_t begin, std::uintptr_t end, std::size_t bytes) noexcept;
/// Memory for code at that very place, which somebody else fills in: it is never writable. \return false if the
/// place is taken, or the kernel refuses
bool map_code_at(std::uintptr_t at, std::size_t bytes) noexcept;
/// Gives back what one of the above returned, whole. \context refill
void unmap(void* p, std::size_t bytes) noexcept;
/// Gives back the end of what reserve() returned: `bytes` behind the first `kept`. \return false if the kernel
/// refused, as it may where a process has as many mappings as it may have \context refill
bool unmap_end(void* p, std::size_t kept, std::size_t bytes) noexcept;
bool protect(void* p, std::size_t bytes, int protection) noexcept;
/// Moves what map() returned, whole, to the place of another mapping in one step: threads that use that place
/// meanwhile wait for it. \return false if the kernel refused; both are where they were
/// \context refill
bool move_over(void* p, void* to, std::size_t bytes) noexcept;

/// Memory that map(), reserve() or map_sparse() gave and unmap() did not take back: mallard's own.
struct OwnRange {
  std::uintptr_t begin, end;
};
inline constexpr std::uint32_t kMaxOwnRanges = 1024;
/// \return how many ranges, in no order, were written to `to` \context reporter
std::uint32_t own_ranges(OwnRange* to, std::uint32_t room) noexcept;
/// Copies those of another process. \param to  room for kMaxOwnRanges \context offline
std::uint32_t other_own_ranges(const OtherParts& parts, OwnRange* to, std::uint64_t* unknown) noexcept;
std::uint64_t unknown_own_ranges() noexcept;  ///< given out when no more could be remembered

long open(const char* path, int flags, int mode = 0) noexcept;  ///< adds O_CLOEXEC
long read(int fd, void* to, std::size_t bytes) noexcept;
long pread(int fd, void* to, std::size_t bytes, std::uint64_t offset) noexcept;
void close(int fd) noexcept;
/// Writes everything, going on after EINTR and short writes. \return 0 or a negated errno
long write_all(int fd, const void* from, std::size_t bytes) noexcept;
/// Reads a whole small file into `to` (at most bytes - 1, then a NUL). \return length or -errno
long read_file(const char* path, char* to, std::size_t bytes) noexcept;

int process_id() noexcept;
/// How many threads the process has; 0 = /proc cannot be read.
std::uint64_t thread_count() noexcept;
std::uint64_t monotonic_ns() noexcept;    ///< CLOCK_MONOTONIC
std::uint64_t thread_work_ns() noexcept;  ///< on a processor, of the calling thread
std::uint64_t process_work_ns() noexcept; ///< on processors, of all threads
std::uint64_t realtime_ns() noexcept;     ///< CLOCK_REALTIME

/// Whether each of `pages` pages of the own process from `begin` on is in memory: bit 0 of each byte of
/// `present`. \return false if the kernel does not tell  \context any thread; keeps errno
bool pages_present(std::uintptr_t begin, std::size_t pages, unsigned char* present) noexcept;

/// How much of an anonymous range is in memory, in bytes of whole pages; all of it where the kernel does not
/// tell. \context reporter
std::uint64_t resident_bytes(const void* p, std::size_t bytes) noexcept;

enum class Copied : std::uint8_t {
  kAll,
  kUnreadable,  ///< not all of it is mapped for reading
  kRefused,     ///< the kernel does not copy, whatever is there: a seccomp filter, a kernel without the call
};
/// Copies memory of this process that may vanish meanwhile.
Copied copy(void* to, std::uintptr_t from, std::size_t bytes) noexcept;
/// Copies as copy() does. \return true if all bytes were copied
bool copy_if_readable(void* to, std::uintptr_t from, std::size_t bytes) noexcept;
/// Copies `count` pieces (at most kMaxPieces) of `bytes` each to consecutive places, in one system call.
/// \return pieces copied: those before the first that is not readable
std::size_t copy_pieces_if_readable(void* to, const std::uintptr_t* from, std::size_t count,
                                    std::size_t bytes) noexcept;
inline constexpr std::size_t kMaxPieces = 64;

}  // namespace mallard::os
