// SPDX-License-Identifier: Apache-2.0
#include "interpose/safe_point.hpp"

#include <linux/futex.h>
#include <sys/auxv.h>

#include <algorithm>
#include <initializer_list>

#include "arch/interrupted.hpp"
#include "base/os.hpp"
#include "elf/loaded_objects.hpp"

namespace mallard::interpose {
namespace {

struct Range {
  std::uintptr_t begin = 0, end = 0;
  bool holds(std::uintptr_t pc) const noexcept { return pc >= begin && pc < end; }
};

constexpr int kMaxRanges = 6;
constinit Range g_unsafe[kMaxRanges];
constinit int g_count = 0;

void add_range(const Range& range) noexcept {
  for (int i = 0; i < g_count; ++i)
    if (g_unsafe[i].begin == range.begin) return;  // of libc, say, which is the backend, too
  if (g_count < kMaxRanges) g_unsafe[g_count++] = range;
}

void add_object(const link_map* object) noexcept {
  Range range;
  if (object && elf::text_range(object, &range.begin, &range.end)) add_range(range);
}

/// Calls that block for long and are made with no lock that pthread_create needs. Among the futex
/// operations FUTEX_WAIT_BITSET serves condition variables, joins and semaphores; malloc's and the loader's
/// locks use FUTEX_WAIT.
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

void safe_point_init(const link_map* backend) noexcept {
  // libc, libpthread where that is an object of its own (before glibc 2.34), and the loader: by names that no
  // other object defines, as one may define pthread_create.
  for (const char* name : {"gnu_get_libc_version", "__pthread_get_minstack", "__tls_get_addr"})
    add_object(elf::find_definer(elf::first_object(), name));
  add_object(elf::own_object());
  add_object(backend);
  if (const unsigned long vdso = getauxval(AT_SYSINFO_EHDR))
    add_range({vdso, vdso + 2 * kPageBytes});  // reading a clock: possibly the allocator's
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
    case arch::InterruptedCall::Kind::kReturned:  // a timer of processor time meets a thread there
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
