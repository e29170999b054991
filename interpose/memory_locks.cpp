// SPDX-License-Identifier: Apache-2.0
// The export of mlockall: the host's memory, without mallard's. The kernel holds all of a process against the
// limit on locked memory, which our tables alone would exceed for an ordinary user (8 MiB), and brings in all
// of them for a host that may lock as much as it likes. So each mapping that is not ours is locked by itself,
// under the same limit.
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/arena.hpp"
#include "base/attributes.hpp"
#include "base/os.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/maps.hpp"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

namespace mallard::interpose {
namespace {

struct Own {
  os::OwnRange* ranges;
  std::uint32_t count;
};

Own own_memory(Arena& arena) noexcept {
  constexpr std::uint32_t kOfTheLibrary = 2;
  auto* ranges = static_cast<os::OwnRange*>(
      arena.allocate((os::kMaxOwnRanges + kOfTheLibrary) * sizeof(os::OwnRange), alignof(os::OwnRange)));
  if (!ranges) return {nullptr, 0};
  std::uint32_t count = os::own_ranges(ranges, os::kMaxOwnRanges);
  const link_map* library = elf::own_object();
  os::OwnRange& text = ranges[count];
  if (elf::text_range(library, &text.begin, &text.end)) ++count;
  os::OwnRange& data = ranges[count];
  if (elf::data_range(library, &data.begin, &data.end)) ++count;
  return {ranges, count};
}

/// What is the host's of each mapping, in pieces.
struct Pass {
  Own own;
  bool locks;  ///< false: only adds up
  bool on_fault;
  std::uint64_t bytes;
};

void take_piece(Pass& pass, std::uintptr_t begin, std::uintptr_t end) noexcept {
  if (begin >= end) return;
  pass.bytes += end - begin;
  if (!pass.locks) return;
  // What cannot be brought in (no access, a device) is no error of mlockall's, either.
  os::call(SYS_mlock2, static_cast<long>(begin), static_cast<long>(end - begin),
           pass.on_fault ? MLOCK_ONFAULT : 0);
}

void take_mapping(const elf::Mapping& m, void* opaque) noexcept {
  Pass& pass = *static_cast<Pass*>(opaque);
  if (m.path.starts_with("[v")) return;  // of the kernel: vdso, vvar, vsyscall
  std::uintptr_t at = m.begin;
  while (at < m.end) {
    std::uintptr_t own_begin = m.end, own_end = m.end;  // of the next range of ours from `at` on
    for (std::uint32_t i = 0; i < pass.own.count; ++i) {
      const os::OwnRange range = {pass.own.ranges[i].begin & ~(kPageBytes - 1),
                                  align_up(pass.own.ranges[i].end, kPageBytes)};
      if (range.end <= at || range.begin >= own_begin) continue;
      own_begin = range.begin > at ? range.begin : at;
      own_end = range.end;
    }
    take_piece(pass, at, own_begin);
    at = own_end;
  }
}

/// Whether the process may lock more than its limit says. Asked without bringing anything into memory.
bool is_privileged() noexcept {
  if (os::call(SYS_mlockall, MCL_CURRENT | MCL_ONFAULT) != 0) return false;
  os::call(SYS_munlockall);
  return true;
}

/// \return false: nothing has been done, and the kernel is to do it and give its error
bool lock_hosts_memory(int flags) noexcept {
  constexpr const char* kMaps = "/proc/self/maps";
  Arena arena;
  Pass pass{own_memory(arena), false, (flags & MCL_ONFAULT) != 0, 0};
  rlimit limit{};
  if (!pass.own.ranges || !elf::for_each_mapping(arena, kMaps, take_mapping, &pass)) return false;
  if (os::call(SYS_prlimit64, 0, RLIMIT_MEMLOCK, 0, os::arg(&limit)) != 0 || limit.rlim_cur == 0)
    return false;
  if (pass.bytes > limit.rlim_cur && !is_privileged()) return false;
  pass.locks = true;
  if (!elf::for_each_mapping(arena, kMaps, take_mapping, &pass)) return false;
  arena.release();  // what is mapped from now on is locked
  return !(flags & MCL_FUTURE) || os::call(SYS_mlockall, flags & ~MCL_CURRENT) == 0;
}

}  // namespace
}  // namespace mallard::interpose

using namespace mallard;

MALLARD_EXPORT int mlockall(int flags) noexcept {
  const int saved = errno;
  if ((flags & MCL_CURRENT) && interpose::lock_hosts_memory(flags)) return 0;
  const long result = os::call(SYS_mlockall, flags);
  errno = result < 0 ? static_cast<int>(-result) : saved;
  return result < 0 ? -1 : 0;
}
