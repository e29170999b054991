// SPDX-License-Identifier: Apache-2.0
// What must be known of a process before one of its threads is borrowed: where the functions are that the
// thread is to call, and the code in which it must not be.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/process_memory.hpp"
#include "cli/attach/borrowed_thread.hpp"
#include "cli/attach/own_allocator.hpp"
#include "cli/process/process_dwfl.hpp"
#include "elf/modules.hpp"

namespace mallard::cli {

class Surroundings {
 public:
  /// \throws Error if the process's libc is not one whose functions could be called
  /// \param own  the executable's own allocator
  Surroundings(int pid, const OwnAllocator& own);
  Surroundings(const Surroundings&) = delete;
  Surroundings& operator=(const Surroundings&) = delete;

  std::uintptr_t dlopen = 0, system_call = 0;
  /// Variables of each thread, counted from its thread pointer: errno, and where libc keeps why dlopen failed
  /// (0 = not known, as before glibc 2.34).
  std::uintptr_t errno_place = 0, failure_place = 0;
  std::uintptr_t restorer = 0;  ///< code that calls rt_sigreturn

  /// Whether a stopped thread may call dlopen: it holds no lock of the loader, of libc or of an allocator,
  /// and has room on its stack.
  bool may_borrow(const BorrowedThread& thread) const;
  /// Whether the word is a lock of the loader's that may be left as if nobody had waited for it: the thread
  /// has no other one of the loader's.
  bool may_stop_waiting(std::uintptr_t word, pid_t thread) const;

 private:
  struct Range {
    std::uintptr_t begin, end;
    bool holds(std::uintptr_t address) const { return address - begin < end - begin; }
  };
  void find_functions(const OwnAllocator& own);
  void add_own(const OwnAllocator& own, const Range& code);
  void sort_never();
  void find_restorer(const Range& code);
  void find_variables(const elf::Module& libc, const ProcessMemory& process);
  void report_modules();
  bool is_at_rest(const arch::GeneralRegisters& registers) const;
  bool has_room(std::uintptr_t stack_pointer) const;
  /// Whether no frame of its stack is in code where locks are held, nor a signal's handler.
  bool is_clear(const BorrowedThread& thread) const;
  bool is_never(std::uintptr_t pc) const;
  bool is_suspect(std::uintptr_t pc) const;
  bool has_suspect_word(std::uintptr_t stack_pointer) const;

  int pid_;
  std::vector<Range> busy_;   ///< code that may hold locks: pc only at a call that waits for long
  std::vector<Range> never_;  ///< no frame may be in here; ascending and apart
  Range loader_data_{};
  std::optional<ProcessDwfl> objects_;
};

/// Whether a thread that is in such a call may be stopped without the host's noticing, and holds no lock that
/// matters. \context offline
bool is_patient_call(const arch::StoppedCall& call);

}  // namespace mallard::cli
