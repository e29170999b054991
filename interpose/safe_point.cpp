// SPDX-License-Identifier: Apache-2.0
#include "interpose/safe_point.hpp"

#include <linux/futex.h>
#include <sys/auxv.h>

#include <algorithm>

#include "arch/interrupted.hpp"
#include "elf/loaded_objects.hpp"
#include "base/os.hpp"
#include "interpose/dispatch.hpp"

namespace mallard::interpose {
namespace {

struct Range {
  std::uintptr_t begin = 0, end = 0;
  bool holds(std::uintptr_t pc) const noexcept { return pc >= begin && pc < end; }
};

constexpr int kMaxRanges = 5;
constinit Range g_unsafe[kMaxRanges];
constinit int g_count = 0;

void add_object(const link_map* object) noexcept {
  if (!object || g_count == kMaxRanges) return;
  Range& r = g_unsafe[g_count];
  if (elf::text_range(object, &r.begin, &r.end)) ++g_count;
}

/// Calls that block for long and are made with no lock that pthread_create needs. Of the futex operations,
/// FUTEX_WAIT_BITSET serves condition variables, joins and semaphores; malloc's and the loader's locks use
/// FUTEX_WAIT.
bool is_patient_call(long number, long second_argument) noexcept {
  switch (number) {
    case SYS_read:
    case SYS_readv:
    case SYS_pread64:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
    case SYS_write:
    case SYS_writev:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_wait4:
    case SYS_waitid:
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_pselect6:
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_restart_syscall:
    case SYS_flock:
    case SYS_fsync:
    case SYS_fdatasync:
      return true;
    case SYS_futex:
      return (second_argument & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
    default:
      return false;
  }
}

}  // namespace

void safe_point_init() noexcept {
  g_count = 0;
  add_object(elf::libc_object());
  add_object(elf::own_object());
  add_object(elf::find_definer(elf::first_object(), "_dl_find_object"));  // the loader
  add_object(backend().object);
  if (const unsigned long vdso = getauxval(AT_SYSINFO_EHDR); vdso && g_count < kMaxRanges)
    g_unsafe[g_count++] = {vdso, vdso + 2 * kPageBytes};  // reading a clock: possibly the allocator's
}

bool is_safe_point(const ucontext_t* context) noexcept {
  const std::uintptr_t pc = arch::interrupted_pc(context);
  if (std::none_of(g_unsafe, g_unsafe + g_count, [pc](const Range& r) noexcept { return r.holds(pc); }))
    return true;
  const arch::InterruptedCall call = arch::interrupted_call(context);
  switch (call.kind) {
    case arch::InterruptedCall::Kind::kNone:
      return false;
    case arch::InterruptedCall::Kind::kRestarts:
      return is_patient_call(call.number, call.second);
    case arch::InterruptedCall::Kind::kAbandoned:
      break;
  }
  // Interrupted for good, because the host's handler has no SA_RESTART. A wait for one of libc's low-level
  // locks, which are malloc's too, is known by its arguments: FUTEX_WAIT_PRIVATE for the value 2. Other
  // calls, pause() among them, leave anything there.
  constexpr std::uint32_t kLockedWithWaiters = 2;
  return static_cast<std::uint32_t>(call.second) != FUTEX_WAIT_PRIVATE ||
         static_cast<std::uint32_t>(call.third) != kLockedWithWaiters;
}

}  // namespace mallard::interpose
