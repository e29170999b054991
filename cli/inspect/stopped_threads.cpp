// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/stopped_threads.hpp"

#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "arch/registers.hpp"
#include "base/os.hpp"
#include "cli/attach/borrowed_thread.hpp"
#include "cli/process/process.hpp"

namespace mallard::cli {
namespace {

/// A thread that does not stop within this time sits in the kernel, and is let go of. While it does not stop
/// it does not run either.
constexpr std::uint64_t kPatienceNs = 100'000'000;
/// How much of the stack is read: what changes most while the thread runs on.
constexpr std::size_t kStackBytes = 32 << 10, kWideBytes = 16 << 10;

enum class Stop { kRead, kGone, kDoesNotStop, kRefused };

/// What was read of a thread.
struct ReadThread {
  std::uintptr_t stack_pointer = 0;
  std::vector<std::uint64_t> registers, stack;
};

/// Waits without sleeping: the thread is to go on at once. \return its status; -1 if it did not stop
/// \param ran_until  when it was last seen not to have stopped
int wait_for_stop(pid_t thread, std::uint64_t* ran_until) {
  const std::uint64_t began = os::monotonic_ns();
  int status = 0;
  while (os::monotonic_ns() - began < kPatienceNs) {
    const std::uint64_t now = os::monotonic_ns();
    const pid_t done = waitpid(thread, &status, __WALL | WNOHANG);
    if (done == thread) return status;
    if (done < 0) return 0;  // gone
    *ran_until = now;
    sched_yield();
  }
  return -1;
}

void read_stopped(pid_t thread, int pid, ReadThread* to) {
  arch::GeneralRegisters general{};
  iovec room{&general, sizeof general};
  if (ptrace(PTRACE_GETREGSET, thread, NT_PRSTATUS, &room) != 0) return;
  begin_again_if_ended(thread, &general);
  to->stack_pointer = arch::stack_pointer(general);
  to->registers.resize((sizeof general + kWideBytes) / sizeof(std::uint64_t));
  std::copy_n(reinterpret_cast<const unsigned char*>(&general), sizeof general,
              reinterpret_cast<unsigned char*>(to->registers.data()));
  room = {reinterpret_cast<unsigned char*>(to->registers.data()) + sizeof general, kWideBytes};
  if (ptrace(PTRACE_GETREGSET, thread, arch::kWideRegisters, &room) != 0) room.iov_len = 0;
  to->registers.resize((sizeof general + room.iov_len) / sizeof(std::uint64_t));
  // The kernel stops at the end of the stack.
  to->stack.resize(kStackBytes / sizeof(std::uint64_t));
  const std::uintptr_t from = (to->stack_pointer - arch::kRedZone) & ~std::uintptr_t{7};
  iovec here{to->stack.data(), kStackBytes};
  std::vector<iovec> pages;
  for (std::uintptr_t at = from; at < from + kStackBytes;) {
    const std::uintptr_t next = std::min(align_up(at + 1, kPageBytes), from + kStackBytes);
    pages.push_back({reinterpret_cast<void*>(at), next - at});
    at = next;
  }
  const long copied = os::call(SYS_process_vm_readv, pid, os::arg(&here), 1, os::arg(pages.data()),
                               static_cast<long>(pages.size()), 0);
  to->stack.resize(copied > 0 ? static_cast<std::size_t>(copied) / sizeof(std::uint64_t) : 0);
}

Stop read_thread(pid_t thread, int pid, ReadThread* to, std::uint64_t* stopped_ns) {
  if (ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0)
    return errno == ESRCH ? Stop::kGone : Stop::kRefused;
  std::uint64_t ran_until = os::monotonic_ns();
  if (ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0) return Stop::kGone;
  const int status = wait_for_stop(thread, &ran_until);
  if (status < 0) return Stop::kDoesNotStop;
  if (!WIFSTOPPED(status)) return Stop::kGone;
  read_stopped(thread, pid, to);
  // A signal that came just now is the thread's.
  const int signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
  ptrace(PTRACE_DETACH, thread, nullptr, reinterpret_cast<void*>(static_cast<long>(signal)));
  *stopped_ns = std::max(*stopped_ns, os::monotonic_ns() - ran_until);
  return to->stack_pointer != 0 ? Stop::kRead : Stop::kGone;
}

}  // namespace

void StoppedThreads::each(void (*visit)(const outside::ThreadState&, void*), void* opaque,
                          report::LostBlocks* out) const {
  const std::vector<pid_t> threads = threads_of(pid_);
  out->threads = static_cast<int>(threads.size());
  out->threads_read = 0;
  out->registers_why = may_stop_ ? nullptr : "nothing was to be stopped";
  if (!may_stop_) return;
  // When a thread ends that traces, the kernel lets go of all that it traces: also of what did not stop.
  std::thread([&] {
    // A busy machine would have a stopped thread wait for this one.
    setpriority(PRIO_PROCESS, 0, -20);
    for (const pid_t thread : threads) {
      ReadThread read;
      const Stop stop = read_thread(thread, pid_, &read, &out->longest_stop_ns);
      if (stop == Stop::kGone) --out->threads;
      if (stop == Stop::kRefused) out->registers_why = "the kernel did not let this command stop threads";
      if (stop == Stop::kDoesNotStop) out->registers_why = "a thread did not stop within 100 ms";
      if (stop == Stop::kRefused) return;
      if (stop != Stop::kRead) continue;
      ++out->threads_read;
      visit({read.stack_pointer, read.registers, read.stack}, opaque);
    }
  }).join();
}

}  // namespace mallard::cli
