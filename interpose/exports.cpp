// SPDX-License-Identifier: Apache-2.0
// The exports that are not hot: aligned requests, sizes, and malloc.h's tuning and statistics interface.
// Semantics are glibc's, whatever the backend does by itself.
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include "base/older.hpp"
#include "base/os.hpp"
#include "elf/loaded_objects.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/lifecycle.hpp"
#include "interpose/slow_paths.hpp"

using namespace mallard;
using namespace mallard::interpose;

namespace {

/// The backend, chosen if need be: for functions that do not go through the table.
const backends::Backend& chosen() noexcept {
  ensure_started();
  return backend();
}

/// 0 where the backend has no such figure, or one that cannot be.
std::uint64_t statistic(const backends::Statistic* list, int n, std::string_view name) noexcept {
  for (int i = 0; i < n; ++i)
    if (name == view_of(list[i].name) && list[i].is_possible())
      return static_cast<std::uint64_t>(list[i].bytes);
  return 0;
}

/// glibc's fields as far as the backend's own figures reach.
struct mallinfo2 described() noexcept {
  struct mallinfo2 info {};
  const backends::Backend& b = chosen();
  if (!b.statistics) return info;
  backends::Statistic list[backends::kMaxStatistics];
  const int n = b.statistics(list);
  const std::uint64_t used = statistic(list, n, "allocated");
  std::uint64_t taken = statistic(list, n, "active");
  if (!taken) taken = statistic(list, n, "committed");
  if (!taken) taken = statistic(list, n, "mapped");
  info.arena = taken;
  info.uordblks = used;
  info.fordblks = taken > used ? taken - used : 0;
  return info;
}

int clamped(std::size_t value) noexcept { return value > INT32_MAX ? INT32_MAX : static_cast<int>(value); }

void* page_aligned(std::size_t bytes, const Caller& caller) noexcept {
  return allocate_aligned(kPageBytes, bytes, caller, drawn_to_be_timed());
}

}  // namespace

MALLARD_EXPORT void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  return allocate_aligned(alignment, bytes, MALLARD_CALLER(), drawn_to_be_timed());
}
MALLARD_EXPORT void* __libc_memalign(std::size_t alignment, std::size_t bytes) {
  return allocate_aligned(alignment, bytes, MALLARD_CALLER(), drawn_to_be_timed());
}
MALLARD_EXPORT void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  return allocate_aligned(alignment, bytes, MALLARD_CALLER(), drawn_to_be_timed());
}

MALLARD_EXPORT int posix_memalign(void** to, std::size_t alignment, std::size_t bytes) noexcept {
  const Caller caller = MALLARD_CALLER();
  if (alignment % sizeof(void*) != 0 || alignment == 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  const int saved = errno;
  void* p = allocate_aligned(alignment, bytes, caller, drawn_to_be_timed());
  if (!p)
    return errno = ENOMEM;  // the error is the result; glibc sets errno, too, where others leave it alone
  errno = saved;
  *to = p;
  return 0;
}

MALLARD_EXPORT void* valloc(std::size_t bytes) noexcept { return page_aligned(bytes, MALLARD_CALLER()); }
MALLARD_EXPORT void* __libc_valloc(std::size_t bytes) { return page_aligned(bytes, MALLARD_CALLER()); }

static void* whole_pages(std::size_t bytes, const Caller& caller) noexcept {
  if (bytes > kMaxRequestBytes) {
    errno = ENOMEM;
    return nullptr;
  }
  return page_aligned(align_up(bytes, kPageBytes), caller);
}
MALLARD_EXPORT void* pvalloc(std::size_t bytes) noexcept { return whole_pages(bytes, MALLARD_CALLER()); }
MALLARD_EXPORT void* __libc_pvalloc(std::size_t bytes) { return whole_pages(bytes, MALLARD_CALLER()); }

static void* array_moved(void* p, std::size_t count, std::size_t size, const Caller& caller) noexcept {
  std::size_t bytes;
  if (MALLARD_UNLIKELY(__builtin_mul_overflow(count, size, &bytes))) {
    errno = ENOMEM;
    return nullptr;
  }
  return reallocate(p, bytes, caller, drawn_to_be_timed());
}
MALLARD_EXPORT void* reallocarray(void* p, std::size_t count, std::size_t size) noexcept {
  return array_moved(p, count, size, MALLARD_CALLER());
}
MALLARD_EXPORT void* __libc_reallocarray(void* p, std::size_t count, std::size_t size) {
  return array_moved(p, count, size, MALLARD_CALLER());
}

MALLARD_EXPORT int malloc_trim(std::size_t pad_bytes) noexcept {
  const backends::Backend& b = chosen();
  return b.extras.trim ? b.extras.trim(pad_bytes) : 0;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"  // gcc 10: the function hides the structure's constructor
MALLARD_EXPORT struct mallinfo2 mallinfo2() noexcept {
  const backends::Backend& b = chosen();
  return b.extras.mallinfo2 ? b.extras.mallinfo2() : described();
}
#pragma GCC diagnostic pop

MALLARD_EXPORT struct mallinfo mallinfo() noexcept {
  const backends::Backend& b = chosen();
  if (b.extras.mallinfo) return b.extras.mallinfo();
  const struct mallinfo2 wide = described();
  struct mallinfo info {};
  info.arena = clamped(wide.arena);
  info.uordblks = clamped(wide.uordblks);
  info.fordblks = clamped(wide.fordblks);
  return info;
}

/// Parameters are glibc's own, so glibc judges them, as it would under any other preloaded allocator.
MALLARD_EXPORT int mallopt(int parameter, int value) noexcept {
  ensure_started();
  auto* real = elf::find_function<int(int, int)>(elf::libc_object(), "mallopt");
  return real ? real(parameter, value) : 0;
}

MALLARD_EXPORT int malloc_info(int options, FILE* to) noexcept {
  const backends::Backend& b = chosen();
  if (b.extras.malloc_info) return b.extras.malloc_info(options, to);
  if (options != 0) {
    errno = EINVAL;
    return -1;
  }
  const struct mallinfo2 info = described();
  FixedText<512> xml;
  xml.add("<malloc version=\"1\">\n<allocator name=\"").add(view_of(b.name));
  xml.add("\" version=\"").add(view_of(b.version)).add("\"/>\n<total type=\"allocated\" size=\"");
  xml.add_unsigned(info.uordblks).add("\"/>\n<system type=\"current\" size=\"");
  xml.add_unsigned(info.arena).add("\"/>\n</malloc>\n");
  return fputs(xml.c_str(), to) < 0 ? -1 : 0;
}

MALLARD_EXPORT void malloc_stats() noexcept {
  const backends::Backend& b = chosen();
  if (b.extras.print_stats) return b.extras.print_stats();
  const struct mallinfo2 info = described();
  FixedText<256> text;
  text.add(view_of(b.name)).add(' ').add(view_of(b.version));
  text.add(": in use bytes = ").add_unsigned(info.uordblks);
  text.add(", system bytes = ").add_unsigned(info.arena).add('\n');
  os::write_all(2, text.c_str(), text.size());
}
