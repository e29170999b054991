// SPDX-License-Identifier: Apache-2.0
#include "cli/attach/borrowed_thread.hpp"

#include <linux/futex.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "base/os.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {
namespace {

constexpr long kEpollPwait2 = 441, kIoUringEnter = 426;  // older headers lack them

void* data(std::uint64_t value) { return reinterpret_cast<void*>(value); }

bool is_event_stop(int status) { return WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP; }
bool is_call_stop(int status) { return WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80); }

/// Calls that a stop ends with EINTR, although nothing has come: the kernel begins them again for no stop.
/// Some of them only where the socket has a time-out.
bool is_ended_by_stops(long number) {
  switch (number) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case kEpollPwait2:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_rt_sigtimedwait:
    case SYS_msgrcv:
    case SYS_io_getevents:
    case SYS_io_pgetevents:
    case kIoUringEnter:  // where it had nothing to submit, or submitted nothing
    case SYS_accept:
    case SYS_accept4:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_read:
    case SYS_readv:
    case SYS_pause:
    case SYS_rt_sigsuspend:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool begin_again_if_ended(pid_t thread, arch::GeneralRegisters* registers) {
  if (!arch::ended_early(*registers) || !is_ended_by_stops(arch::stopped_call(*registers).number))
    return false;
  arch::begin_again(registers);
  arch::GeneralRegisters copy = *registers;
  iovec room{&copy, sizeof copy};
  return ptrace(PTRACE_SETREGSET, thread, NT_PRSTATUS, &room) == 0;
}

bool BorrowedThread::get(arch::GeneralRegisters* registers) const {
  iovec room{registers, sizeof *registers};
  return ptrace(PTRACE_GETREGSET, thread_, NT_PRSTATUS, &room) == 0 && room.iov_len == sizeof *registers;
}

bool BorrowedThread::set(const arch::GeneralRegisters& registers) const {
  arch::GeneralRegisters copy = registers;
  iovec room{&copy, sizeof copy};
  return ptrace(PTRACE_SETREGSET, thread_, NT_PRSTATUS, &room) == 0;
}

bool BorrowedThread::write(std::uintptr_t to, const void* from, std::size_t bytes) const {
  iovec here{const_cast<void*>(from), bytes}, there{reinterpret_cast<void*>(to), bytes};
  return process_vm_writev(pid_, &here, 1, &there, 1, 0) == static_cast<ssize_t>(bytes);
}

/// Waits for a stop, or the end. \return false if neither came in time
bool BorrowedThread::wait(int* status, double seconds) {
  const double began = now_seconds();
  for (int look = 0;; ++look) {
    const pid_t done = waitpid(thread_, status, __WALL | WNOHANG);
    if (done == thread_) return true;
    if (done < 0) {
      *status = 0;  // gone
      return true;
    }
    if (now_seconds() - began > seconds) return false;
    if (look < 200) sched_yield();
    else usleep(100);
  }
}

BorrowedThread::Stop BorrowedThread::stop() {
  if (ptrace(PTRACE_SEIZE, thread_, nullptr, data(PTRACE_O_TRACESYSGOOD)) != 0)
    return errno == ESRCH ? Stop::kGone : Stop::kRefused;
  traced_ = true;
  if (ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr) != 0) return Stop::kGone;
  const double until = now_seconds() + kStopPatience;
  int status = 0;
  while (true) {
    if (!wait(&status, until - now_seconds())) return Stop::kDoesNotStop;
    if (!WIFSTOPPED(status)) {
      traced_ = false;
      return Stop::kGone;
    }
    if (is_event_stop(status)) break;
    // A signal that came before the stop: the thread has it first.
    ptrace(PTRACE_CONT, thread_, nullptr, data(static_cast<std::uint64_t>(WSTOPSIG(status))));
  }
  stopped_ = true;
  if (!get(&before_)) return Stop::kGone;
  begin_again_if_ended(thread_, &before_);
  return Stop::kStopped;
}

bool BorrowedThread::prepare(std::uintptr_t restorer) {
  restorer_ = restorer;
  wide_.resize(arch::ReturnFrame::kMostWide);
  iovec room{wide_.data(), wide_.size()};
  if (ptrace(PTRACE_GETREGSET, thread_, arch::kWideRegisters, &room) != 0) return false;
  wide_.resize(room.iov_len);
  if (ptrace(PTRACE_GETSIGMASK, thread_, sizeof mask_, &mask_) != 0) return false;
  frame_ = std::make_unique<arch::ReturnFrame>(before_, wide_, mask_, restorer);
  const auto image = frame_->image();
  return prepared_ = write(frame_->at(), image.data(), image.size());
}

/// Brings it from the begin of rt_sigreturn to rest outside of any system call: if this command ends now, the
/// thread makes the call anew.
bool BorrowedThread::rest() {
  if (!in_call_) return true;
  arch::GeneralRegisters now{};
  if (!get(&now)) return false;
  if (arch::is_at_return(now, frame_->at())) arch::return_later(&now, restorer_);
  if (!set(now) || ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr) != 0 ||
      ptrace(PTRACE_CONT, thread_, nullptr, nullptr) != 0)
    return false;
  stopped_ = false;
  int status = 0;
  if (!wait(&status, 5) || !WIFSTOPPED(status)) return false;
  stopped_ = true;
  in_call_ = false;
  return true;
}

std::uintptr_t BorrowedThread::put_text(const std::string& text) {
  const std::uintptr_t to = frame_->scratch();
  const bool fits = text.size() < arch::ReturnFrame::kScratchBytes;
  return fits && write(to, text.c_str(), text.size() + 1) ? to : 0;
}

/// Sets it to the begin of a function.
bool BorrowedThread::begin(std::uintptr_t function, std::initializer_list<std::uint64_t> arguments) {
  if (!rest()) return false;
  arch::GeneralRegisters registers = before_;
  arch::set_call(&registers, function, frame_->at(), {arguments.begin(), arguments.size()});
  const auto image = frame_->image();
  lends_ = true;
  if (!write(frame_->at(), image.data(), image.size()) || !set(registers)) return false;
  if (masks_) return true;
  // Signals that come meanwhile wait until it is back. Not before it is on its way, the end of which lets
  // them in.
  std::uint64_t all = ~std::uint64_t{0};
  return masks_ = ptrace(PTRACE_SETSIGMASK, thread_, sizeof all, &all) == 0;
}

BorrowedThread::End BorrowedThread::call(std::uintptr_t function,
                                         std::initializer_list<std::uint64_t> arguments, double seconds) {
  return begin(function, arguments) ? go_on(seconds) : End::kGone;
}

BorrowedThread::End BorrowedThread::go_on(double seconds) {
  const double until = now_seconds() + seconds;
  int signal = 0;
  while (true) {
    if (ptrace(PTRACE_SYSCALL, thread_, nullptr, data(static_cast<std::uint64_t>(signal))) != 0)
      return End::kGone;
    stopped_ = false;
    signal = 0;
    int status = 0;
    if (!wait(&status, until - now_seconds())) return End::kWaitsTooLong;
    if (!WIFSTOPPED(status)) {
      traced_ = false;
      return End::kGone;
    }
    stopped_ = true;
    if (is_call_stop(status)) {
      arch::GeneralRegisters now{};
      if (!get(&now)) return End::kGone;
      in_call_ = !in_call_;
      if (in_call_ && arch::is_at_return(now, frame_->at())) return End::kReturned;
      if (!in_call_ && watches_ && arch::stopped_call(now).number == watched_) seen_ = arch::result_of(now);
    } else if (!is_event_stop(status)) {
      signal = WSTOPSIG(status);
      if (signal != SIGSTOP) return End::kFault;
    }
  }
}

std::optional<std::int64_t> BorrowedThread::system_call(std::uintptr_t function,
                                                        std::initializer_list<std::uint64_t> arguments) {
  watches_ = true;
  watched_ = static_cast<long>(*arguments.begin());
  seen_.reset();
  const End end = call(function, arguments, 5);
  watches_ = false;
  return end == End::kReturned ? seen_ : std::nullopt;
}

std::uintptr_t BorrowedThread::lock_waited_for() {
  int status = 0;
  // The begin or the end of a call may be told first, which takes the request for a stop back.
  do {
    if (ptrace(PTRACE_INTERRUPT, thread_, nullptr, nullptr) != 0) return 0;
    if (stopped_ && ptrace(PTRACE_CONT, thread_, nullptr, nullptr) != 0) return 0;
    stopped_ = false;
    if (!wait(&status, 1) || !WIFSTOPPED(status)) return 0;
    stopped_ = true;
  } while (!is_event_stop(status));
  in_call_ = false;
  arch::GeneralRegisters now{};
  if (!get(&now)) return 0;
  const arch::StoppedCall waits = arch::stopped_call(now);
  constexpr std::uint64_t kLockedWithWaiters = 2;
  const bool is_lock = waits.number == SYS_futex && (waits.arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT &&
                       waits.arguments[2] == kLockedWithWaiters && arch::begins_again(now);
  return is_lock ? waits.arguments[0] : 0;
}

void BorrowedThread::put_back() {
  if (prepared_) {
    iovec room{wide_.data(), wide_.size()};
    ptrace(PTRACE_SETREGSET, thread_, arch::kWideRegisters, &room);
  }
  // The registers last: until then the thread would put everything back by itself.
  if (masks_) ptrace(PTRACE_SETSIGMASK, thread_, sizeof mask_, &mask_);
  if (lends_) set(before_);
}

void BorrowedThread::let_go() {
  if (!traced_) return;
  if (stopped_ && rest()) {
    put_back();
    ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);
  } else if (!stopped_) {
    let_go_when_it_stops();
  }
  traced_ = stopped_ = false;
}

/// What was interrupted and did not stop in time would stop later, and stay so.
void BorrowedThread::let_go_when_it_stops() {
  int status = 0;
  if (!wait(&status, kLetGoPatience) || !WIFSTOPPED(status)) return;  // it sits in the kernel; or it has ended
  const long signal = is_event_stop(status) ? 0 : WSTOPSIG(status);
  ptrace(PTRACE_DETACH, thread_, nullptr, data(static_cast<std::uint64_t>(signal)));
}

void BorrowedThread::leave_alone() {
  if (traced_ && stopped_) ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);
  else if (traced_) let_go_when_it_stops();
  traced_ = stopped_ = false;
}

}  // namespace mallard::cli
