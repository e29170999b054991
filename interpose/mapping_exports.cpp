// SPDX-License-Identifier: Apache-2.0
// The exports of mmap, sbrk and their kin: done as libc does them, and noted in the mapping log, so that a
// report can say who mapped what. libc and the loader call their own, which are not seen here;
// report/facts/glibc_memory.cpp knows what they leave behind.
#include "interpose/lifecycle.hpp"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/attributes.hpp"
#include "base/older.hpp"
#include "base/os.hpp"
#include "base/reservation.hpp"
#include "elf/loaded_objects.hpp"
#include "record/mappings.hpp"

namespace mallard::interpose {
namespace {

/// Functions of an object behind us in the link map that wants to see mappings, too (a sanitizer's runtime,
/// another preload); nullptr = the kernel is asked.
constinit struct {
  void* (*mmap)(void*, std::size_t, int, int, int, off_t);
  int (*munmap)(void*, std::size_t);
  void* (*mremap)(void*, std::size_t, std::size_t, int, ...);
  int (*madvise)(void*, std::size_t, int);
  void* (*sbrk)(std::intptr_t);  ///< libc's, as a rule, which remembers where the break is
  int (*brk)(void*);
} g_next{};

/// Finds a function of the next object that has it, at its first call.
template <typename F>
F* next_of(const char* name, F*& to) noexcept {
  if (MALLARD_UNLIKELY(!to)) to = elf::find_function<F>(elf::find_next_definer(name), name);
  return to;
}

/// Moves the program break by `by` bytes, and notes whose memory that is.
void* move_break(std::intptr_t by, std::uintptr_t caller) noexcept {
  void* (*sbrk)(std::intptr_t) = next_of("sbrk", g_next.sbrk);
  if (MALLARD_UNLIKELY(!sbrk)) {
    errno = ENOMEM;
    return reinterpret_cast<void*>(-1);
  }
  if (by < 0) {
    const auto bytes = -static_cast<std::uintptr_t>(by);
    const std::uintptr_t now = address_of(sbrk(0));
    if (bytes <= now) record::on_unmap(now - bytes, bytes, nullptr);
  }
  void* before = sbrk(by);
  if (by > 0 && address_of(before) != ~std::uintptr_t{0})
    record::on_map(address_of(before), static_cast<std::size_t>(by), caller);
  return before;
}

int set_break(void* to, std::uintptr_t caller) noexcept {
  int (*brk)(void*) = next_of("brk", g_next.brk);
  void* (*sbrk)(std::intptr_t) = next_of("sbrk", g_next.sbrk);
  if (MALLARD_UNLIKELY(!brk || !sbrk)) {
    errno = ENOMEM;
    return -1;
  }
  const std::uintptr_t before = address_of(sbrk(0)), end = address_of(to);
  if (end < before) record::on_unmap(end, before - end, nullptr);
  const int result = brk(to);
  if (result == 0 && end > before) record::on_map(before, end - before, caller);
  return result;
}

/// The kernel's result as libc gives it: -1 and errno on failure.
long as_libc(long result) noexcept {
  constexpr auto kFirstError = static_cast<unsigned long>(-4095);
  if (MALLARD_LIKELY(static_cast<unsigned long>(result) < kFirstError)) return result;
  errno = static_cast<int>(-result);
  return -1;
}

void* do_mmap(void* address, std::size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  if (MALLARD_UNLIKELY(g_next.mmap != nullptr))
    return g_next.mmap(address, bytes, protection, flags, fd, offset);
  return reinterpret_cast<void*>(
      as_libc(os::call(SYS_mmap, os::arg(address), static_cast<long>(bytes), protection, flags, fd, offset)));
}

int do_munmap(void* address, std::size_t bytes) noexcept {
  if (MALLARD_UNLIKELY(g_next.munmap != nullptr)) return g_next.munmap(address, bytes);
  return static_cast<int>(as_libc(os::call(SYS_munmap, os::arg(address), static_cast<long>(bytes))));
}

void* do_mremap(void* old, std::size_t old_bytes, std::size_t bytes, int flags, void* fixed) noexcept {
  if (MALLARD_UNLIKELY(g_next.mremap != nullptr)) return g_next.mremap(old, old_bytes, bytes, flags, fixed);
  return reinterpret_cast<void*>(as_libc(os::call(SYS_mremap, os::arg(old), static_cast<long>(old_bytes),
                                                  static_cast<long>(bytes), flags, os::arg(fixed))));
}

/// What `call` maps, `more` bytes than before. At a limit on address space it is made again once mallard's tables have
/// given back.
template <typename Call>
void* retried(std::size_t more, Call call) noexcept {
  const int before = errno;
  void* p = call();
  if (MALLARD_LIKELY(p != MAP_FAILED) || errno != ENOMEM || !give_back_for_mapping(more)) return p;
  errno = before;
  return call();
}

void* map(void* address, std::size_t bytes, int protection, int flags, int fd, off_t offset,
          std::uintptr_t caller) noexcept {
  void* p = retried(bytes, [&] { return do_mmap(address, bytes, protection, flags, fd, offset); });
  if (MALLARD_UNLIKELY(p == MAP_FAILED)) return p;
  if ((flags & MAP_ANONYMOUS) || (flags & MAP_TYPE) != MAP_PRIVATE)
    record::on_map(address_of(p), bytes, caller);
  else if (flags & MAP_FIXED) record::on_unmap(address_of(p), bytes, nullptr);
  return p;
}

/// What the kernel would refuse at once is not taken out of the log.
bool may_be_a_mapping(const void* p, std::size_t bytes) noexcept {
  return address_of(p) % kPageBytes == 0 && bytes != 0 && bytes <= PTRDIFF_MAX;
}

void* remap(void* old, std::size_t old_bytes, std::size_t bytes, int flags, void* fixed) noexcept {
  if (MALLARD_UNLIKELY(!may_be_a_mapping(old, old_bytes)))
    return do_mremap(old, old_bytes, bytes, flags, fixed);
  record::RemovedMappings removed;
  record::on_unmap(address_of(old), old_bytes, &removed);
  const std::size_t kept = flags & MREMAP_DONTUNMAP ? 0 : old_bytes;
  void* p = retried(bytes > kept ? bytes - kept : 0, [&] { return do_mremap(old, old_bytes, bytes, flags, fixed); });
  if (MALLARD_UNLIKELY(p == MAP_FAILED)) {
    record::on_unmap_failed(removed);
    return p;
  }
  if (removed.count > 0) record::on_map(address_of(p), bytes, removed.intervals[0].caller);
  else record::on_unmap(address_of(p), bytes, nullptr);
  if ((flags & MREMAP_DONTUNMAP) && p != old) record::on_unmap_failed(removed);
  return p;
}

}  // namespace

void mappings_start() noexcept {
  const auto find = []<typename F>(const char* name, F*& to) noexcept {
    const link_map* definer = elf::find_next_definer(name);
    if (definer && definer != elf::libc_object()) to = elf::find_function<F>(definer, name);
  };
  find("mmap", g_next.mmap);
  find("munmap", g_next.munmap);
  find("mremap", g_next.mremap);
  find("madvise", g_next.madvise);
}

}  // namespace mallard::interpose

using namespace mallard;
using namespace mallard::interpose;

MALLARD_EXPORT void* mmap(void* address, std::size_t bytes, int protection, int flags, int fd,
                          off_t offset) noexcept {
  return map(address, bytes, protection, flags, fd, offset, address_of(__builtin_return_address(0)));
}

MALLARD_EXPORT void* mmap64(void* address, std::size_t bytes, int protection, int flags, int fd,
                            __off64_t offset) noexcept {
  return map(address, bytes, protection, flags, fd, offset, address_of(__builtin_return_address(0)));
}

MALLARD_EXPORT int munmap(void* address, std::size_t bytes) noexcept {
  if (MALLARD_UNLIKELY(!may_be_a_mapping(address, bytes))) return do_munmap(address, bytes);
  record::RemovedMappings removed;
  record::on_unmap(address_of(address), bytes, &removed);
  const int result = do_munmap(address, bytes);
  if (MALLARD_UNLIKELY(result != 0)) record::on_unmap_failed(removed);
  return result;
}

MALLARD_EXPORT void* mremap(void* old, std::size_t old_bytes, std::size_t bytes, int flags, ...) noexcept {
  void* fixed = nullptr;
  if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
    va_list more;
    va_start(more, flags);
    fixed = va_arg(more, void*);
    va_end(more);
  }
  return remap(old, old_bytes, bytes, flags, fixed);
}

/// Only counts what is given back lazily: such pages read as present until the kernel takes them.
MALLARD_EXPORT int madvise(void* address, std::size_t bytes, int advice) noexcept {
  if (advice == MADV_FREE) record::on_lazy_free(bytes);
  if (MALLARD_UNLIKELY(g_next.madvise != nullptr)) return g_next.madvise(address, bytes, advice);
  return static_cast<int>(as_libc(os::call(SYS_madvise, os::arg(address), static_cast<long>(bytes), advice)));
}

/// glibc's malloc calls its own, so that what comes here is memory of other users of the break.
MALLARD_EXPORT void* sbrk(std::intptr_t by) noexcept {
  return move_break(by, address_of(__builtin_return_address(0)));
}

MALLARD_EXPORT int brk(void* to) noexcept { return set_break(to, address_of(__builtin_return_address(0))); }
