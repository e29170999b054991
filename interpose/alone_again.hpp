// SPDX-License-Identifier: Apache-2.0
// libc drops its locks while a process has had one thread only, for good: the reporter's thread would end
// that, and with it a host that forks in its signal handlers would hang in malloc's locks. So libc is told
// once the thread has gone.
#pragma once

#include <atomic>

#include "base/attributes.hpp"

namespace mallard::interpose {

extern std::atomic<bool> g_alone_awaited;
void look_whether_alone() noexcept;

/// Finds libc's words. \context init
void alone_again_init() noexcept;

void alone_again_after_fork_in_child() noexcept;

/// What libc says before the thread is created, and what of it is to come back.
/// \context signal handler of the thread that creates the reporter
class [[nodiscard]] AloneBefore {
 public:
  AloneBefore() noexcept;
  void thread_created() const noexcept;

 private:
  bool alone_;
  int flag_;
};

/// Tells libc where the calling thread is the only one again. One load where nothing is awaited.
/// \context hot: outside of the host's malloc
inline void tell_when_alone() noexcept {
  if (MALLARD_UNLIKELY(g_alone_awaited.load(std::memory_order_relaxed))) look_whether_alone();
}

}  // namespace mallard::interpose
