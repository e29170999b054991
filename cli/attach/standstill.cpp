// SPDX-License-Identifier: Apache-2.0
#include "cli/attach/standstill.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <utility>

#include "arch/borrow.hpp"
#include "base/attributes.hpp"
#include "cli/attach/borrowed_thread.hpp"
#include "cli/file.hpp"
#include "cli/process/process.hpp"
#include "cli/process/target.hpp"
#include "outside/other_process.hpp"

namespace mallard::cli {
namespace {

constexpr int kQuickLooks = 200;
/// How much of a stack is searched for the frame of a signal.
constexpr std::size_t kStackSearched = 256 << 10;

/// Calls that give up a part of their work when a stop interrupts them.
bool is_cut_short(long number, const unsigned long* arguments) {
  switch (number) {
    case SYS_write:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_sendmmsg:
    case SYS_sendfile:
    case SYS_splice:
    case SYS_tee:
    case SYS_vmsplice:
    case SYS_copy_file_range:
      return true;
    case SYS_recvfrom:
      return (arguments[3] & MSG_WAITALL) != 0;
    case SYS_recvmsg:
      return (arguments[2] & MSG_WAITALL) != 0;
    default:
      return false;
  }
}

/// Whether it sleeps in such a call. One that runs in it is not interrupted.
bool sleeps_in_such_a_call(int pid, pid_t thread) {
  std::string words;
  long number = -1;
  unsigned long a[4] = {};
  return read_whole(fmt::format("/proc/{}/task/{}/syscall", pid, thread), &words) &&
         std::sscanf(words.c_str(), "%ld %lx %lx %lx %lx", &number, &a[0], &a[1], &a[2], &a[3]) == 5 &&
         is_cut_short(number, a);
}

/// Whether it has ended, and only waits for the others, as a main thread may.
bool has_ended(pid_t thread) {
  const std::optional<ProcessStat> stat = read_stat(thread);
  if (!stat) return true;
  const std::string& state = stat->fields[ProcessStat::kState];
  return state == "Z" || state == "X";
}

bool holds(std::span<const CodeSpan> spans, std::uintptr_t address) {
  const auto above = std::upper_bound(spans.begin(), spans.end(), address,
                                      [](std::uintptr_t a, const CodeSpan& s) { return a < s.begin; });
  return above != spans.begin() && address < std::prev(above)->end;
}

}  // namespace

bool Standstill::fail(std::string why) {
  why_ = std::move(why);
  let_go();
  return false;
}

/// Looked at before any thread is stopped: who waits in such a call may wait for one of the others.
bool Standstill::may_stop(pid_t thread) {
  if (!sleeps_in_such_a_call(pid_, thread)) return true;
  return fail(fmt::format("its thread {} waits in a call that a stop would cut short, such as write", thread));
}

bool Standstill::stop(pid_t thread) {
  if (ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) {
    if (errno == ESRCH || has_ended(thread)) return true;
    return fail("the kernel did not let this command stop all of its threads");
  }
  threads_.push_back({thread, false, 0});
  ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
  return true;
}

/// \return the thread that did not stop until then, or 0
pid_t Standstill::wait_until(double until) {
  for (Thread& t : threads_)
    for (int look = 0; t.id != 0 && !t.stopped; ++look) {
      int status = 0;
      const pid_t done = waitpid(t.id, &status, __WALL | WNOHANG);
      if (done == t.id && WIFSTOPPED(status)) {
        t.stopped = true;
        t.signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
      } else if (done != 0) {  // gone
        t.id = 0;
        break;
      } else if (now_seconds() > until) {
        return t.id;
      } else if (look < kQuickLooks) {
        sched_yield();
      } else {
        usleep(50);  // the processor may be what it waits for
      }
    }
  std::erase_if(threads_, [](const Thread& t) { return t.id == 0; });
  return 0;
}

/// Whether the thread is outside of them, and no word on its stack leads back into them.
bool Standstill::is_clear(const Thread& thread, const ProcessMemory& process, std::span<const CodeSpan> spans) {
  arch::GeneralRegisters registers{};
  iovec room{&registers, sizeof registers};
  if (ptrace(PTRACE_GETREGSET, thread.id, NT_PRSTATUS, &room) != 0) return true;  // it is being ended
  begin_again_if_ended(thread.id, &registers);
  if (spans.empty()) return true;
  if (holds(spans, arch::code_address(registers))) return false;
  const std::uintptr_t lowest = spans.front().begin, highest = spans.back().end;
  std::vector<std::uintptr_t> words(kPageBytes / sizeof(std::uintptr_t));
  std::uintptr_t at = arch::stack_pointer(registers) & ~(sizeof(std::uintptr_t) - 1);
  for (const std::uintptr_t end = at + kStackSearched; at < end;) {
    const std::size_t bytes = kPageBytes - at % kPageBytes;
    if (!process.copy(words.data(), at, bytes)) break;
    for (std::size_t i = 0; i < bytes / sizeof words[0]; ++i)
      if (words[i] >= lowest && words[i] < highest && holds(spans, words[i])) return false;
    at += bytes;
  }
  return true;
}

bool Standstill::begin(std::span<const CodeSpan> spans) {
  why_.clear();
  setpriority(PRIO_PROCESS, 0, -20);  // a busy machine would have those that stand wait for this one
  for (const pid_t thread : threads_of(pid_))
    if (thread != borrowed_ && !may_stop(thread)) return false;
  // A thread that runs may make another one: until all that there are stand.
  for (bool is_new = true; is_new;) {
    is_new = false;
    for (const pid_t thread : threads_of(pid_)) {
      const bool is_known = thread == borrowed_ ||
                            std::any_of(threads_.begin(), threads_.end(),
                                        [thread](const Thread& t) { return t.id == thread; });
      const std::size_t before = threads_.size();
      if (!is_known && (!may_stop(thread) || !stop(thread))) return false;
      is_new = is_new || threads_.size() > before;
    }
    if (const pid_t late = wait_until(now_seconds() + kStopPatience); late != 0)
      return fail(fmt::format("its thread {} did not stop within 0.1 s", late));
  }
  const outside::OtherProcess process(pid_);
  for (const Thread& t : threads_)
    if (!is_clear(t, process, spans))
      return fail(fmt::format("its thread {} stands in the code that is to be changed", t.id));
  return true;
}

/// Those that stand go on at once; who was interrupted and has not stopped yet is waited for, since it would stop later
/// and stay so. What sits in the kernel for longer stays traced, and is waited for anew; when this thread of the command
/// ends, the kernel lets go of it.
void Standstill::let_go() {
  const auto go_on = [this] {
    for (const Thread& t : threads_)
      if (t.stopped) ptrace(PTRACE_DETACH, t.id, nullptr, reinterpret_cast<void*>(static_cast<long>(t.signal)));
    std::erase_if(threads_, [](const Thread& t) { return t.stopped; });
  };
  go_on();
  for (const double until = now_seconds() + kLetGoPatience; !threads_.empty() && now_seconds() < until;) {
    wait_until(now_seconds());
    go_on();
    if (!threads_.empty()) usleep(50);
  }
}

}  // namespace mallard::cli
