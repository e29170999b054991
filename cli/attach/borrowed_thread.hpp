// SPDX-License-Identifier: Apache-2.0
// A thread of another process that is stopped, looked at, perhaps sent through a few functions, and let go on
// as if nothing had happened: registers, signal mask and the system call that it waited in are as they were.
// If this command ends in the middle, the thread returns from the function by itself, through a frame on its
// stack (arch/borrow.hpp). All functions belong to one thread of this command, which is the tracer.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/borrow.hpp"

namespace mallard::cli {

/// A thread that does not stop within this time sits in the kernel, in seconds.
inline constexpr double kStopPatience = 0.1;
/// Then it is waited for a while longer, so that it is not left traced.
inline constexpr double kLetGoPatience = 0.5;

/// Has a thread that a stop took out of a call for good begin it again, as the kernel has it with other calls;
/// unless a signal's handler runs first, which ends it as it would have. \return whether that was so
bool begin_again_if_ended(pid_t thread, arch::GeneralRegisters* registers);

class BorrowedThread {
 public:
  BorrowedThread(int pid, pid_t thread) : pid_(pid), thread_(thread) {}
  ~BorrowedThread() { let_go(); }
  BorrowedThread(const BorrowedThread&) = delete;
  BorrowedThread& operator=(const BorrowedThread&) = delete;

  enum class Stop { kStopped, kGone, kRefused, kDoesNotStop };
  Stop stop();
  pid_t thread() const { return thread_; }
  const arch::GeneralRegisters& registers() const { return before_; }

  /// Makes it ready for calls. \param restorer  code of the process that calls rt_sigreturn
  /// \return false if its stack cannot be written, or the kernel does not give its registers
  bool prepare(std::uintptr_t restorer);

  /// Puts a text where arguments may point to it. \return its address there; 0 = it is too long
  std::uintptr_t put_text(const std::string& text);

  enum class End { kReturned, kGone, kFault, kWaitsTooLong };
  /// Has it call a function and waits for the end.
  End call(std::uintptr_t function, std::initializer_list<std::uint64_t> arguments, double seconds);
  /// Waits on where that took too long.
  End go_on(double seconds);
  /// Has it call libc's syscall(). \return what the kernel gave; nothing if it did not come to that
  std::optional<std::int64_t> system_call(std::uintptr_t function,
                                          std::initializer_list<std::uint64_t> arguments);
  /// After kWaitsTooLong: the word of memory that it waits for as a lock; 0 = it waits for none.
  std::uintptr_t lock_waited_for();

  /// Puts everything back and lets it run on.
  void let_go();
  /// Lets it run on from where it is: it finds back by itself.
  void leave_alone();

 private:
  bool wait(int* status, double seconds);
  bool begin(std::uintptr_t function, std::initializer_list<std::uint64_t> arguments);
  bool set(const arch::GeneralRegisters& registers) const;
  bool get(arch::GeneralRegisters* registers) const;
  bool write(std::uintptr_t to, const void* from, std::size_t bytes) const;
  bool rest();
  void put_back();
  void let_go_when_it_stops();

  int pid_;
  pid_t thread_;
  bool traced_ = false, stopped_ = false, prepared_ = false, in_call_ = false, lends_ = false, masks_ = false;
  arch::GeneralRegisters before_{};
  std::vector<unsigned char> wide_;
  std::uint64_t mask_ = 0;
  std::uintptr_t restorer_ = 0;
  std::unique_ptr<arch::ReturnFrame> frame_;
  bool watches_ = false;  ///< for the result of the system call that it is sent to
  long watched_ = -1;
  std::optional<std::int64_t> seen_;
};

}  // namespace mallard::cli
