// SPDX-License-Identifier: Apache-2.0
// mmap and its kin: done as libc does them, and noted in the mapping log, so that a report can say who mapped
// what. libc and the loader call their own, which are not seen here; report/regions.cpp knows their
// structures.
#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "base/attributes.hpp"
#include "base/os.hpp"
#include "record/mappings.hpp"

using namespace mallard;

namespace {

/// The kernel's result as libc gives it: -1 and errno on failure.
long as_libc(long result) noexcept {
  if (MALLARD_LIKELY(static_cast<unsigned long>(result) < static_cast<unsigned long>(-4095))) return result;
  errno = static_cast<int>(-result);
  return -1;
}

bool failed(long result) noexcept {
  return static_cast<unsigned long>(result) >= static_cast<unsigned long>(-4095);
}

bool is_page_aligned(const void* p) noexcept { return address_of(p) % kPageBytes == 0; }

void* map(void* address, std::size_t bytes, int protection, int flags, int fd, long offset,
          std::uintptr_t caller) noexcept {
  const long result =
      os::call(SYS_mmap, os::arg(address), static_cast<long>(bytes), protection, flags, fd, offset);
  if (!failed(result)) {
    // MAP_TYPE: the kernel takes shared anonymous memory for a file.
    if ((flags & MAP_ANONYMOUS) && (flags & MAP_TYPE) == MAP_PRIVATE)
      record::on_map(static_cast<std::uintptr_t>(result), bytes, caller);
    else if (flags & MAP_FIXED) record::on_unmap(static_cast<std::uintptr_t>(result), bytes, nullptr);
  }
  return reinterpret_cast<void*>(as_libc(result));
}

}  // namespace

#define MALLARD_RETURN_ADDRESS() (address_of(__builtin_extract_return_addr(__builtin_return_address(0))))

MALLARD_EXPORT void* mmap(void* address, std::size_t bytes, int protection, int flags, int fd,
                          off_t offset) noexcept {
  return map(address, bytes, protection, flags, fd, offset, MALLARD_RETURN_ADDRESS());
}

MALLARD_EXPORT void* mmap64(void* address, std::size_t bytes, int protection, int flags, int fd,
                            __off64_t offset) noexcept {
  return map(address, bytes, protection, flags, fd, offset, MALLARD_RETURN_ADDRESS());
}

MALLARD_EXPORT int munmap(void* address, std::size_t bytes) noexcept {
  // What the kernel refuses at once is not taken out of the log.
  if (MALLARD_UNLIKELY(!is_page_aligned(address) || bytes == 0 || bytes > PTRDIFF_MAX))
    return static_cast<int>(as_libc(os::call(SYS_munmap, os::arg(address), static_cast<long>(bytes))));
  record::RemovedMappings removed;
  record::on_unmap(address_of(address), bytes, &removed);
  const long result = os::call(SYS_munmap, os::arg(address), static_cast<long>(bytes));
  if (MALLARD_UNLIKELY(failed(result))) record::on_unmap_failed(removed);
  return static_cast<int>(as_libc(result));
}

MALLARD_EXPORT void* mremap(void* old, std::size_t old_bytes, std::size_t bytes, int flags, ...) noexcept {
  void* fixed = nullptr;
  if (flags & MREMAP_FIXED) {
    va_list more;
    va_start(more, flags);
    fixed = va_arg(more, void*);
    va_end(more);
  }
  const auto remap = [&]() noexcept {
    return os::call(SYS_mremap, os::arg(old), static_cast<long>(old_bytes), static_cast<long>(bytes), flags,
                    os::arg(fixed));
  };
  if (MALLARD_UNLIKELY(!is_page_aligned(old) || old_bytes == 0 || old_bytes > PTRDIFF_MAX))
    return reinterpret_cast<void*>(as_libc(remap()));
  record::RemovedMappings removed;
  record::on_unmap(address_of(old), old_bytes, &removed);
  const long result = remap();
  if (MALLARD_UNLIKELY(failed(result))) {
    record::on_unmap_failed(removed);
    return reinterpret_cast<void*>(as_libc(result));
  }
  const auto moved = static_cast<std::uintptr_t>(result);
  if (removed.count > 0) record::on_map(moved, bytes, removed.intervals[0].caller);
  else if (moved != address_of(old) || bytes > old_bytes) record::on_unmap(moved, bytes, nullptr);
  if ((flags & MREMAP_DONTUNMAP) && moved != address_of(old)) record::on_unmap_failed(removed);
  return reinterpret_cast<void*>(result);
}
