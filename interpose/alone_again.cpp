// SPDX-License-Identifier: Apache-2.0
// Two words of glibc's say that it may leave out locks: __libc_single_threaded (2.32 and later; a program
// that names it has a copy, which libc keeps up), and until 2.34 one in each thread's descriptor. Each
// function of libc asks once and acts by the answer until it returns, so the only thread may change them at
// any time: between two calls, and in a handler. Older versions keep a third word that cannot be found:
// nothing is done there.
#include "interpose/alone_again.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/thread.hpp"
#include "base/os.hpp"
#include "base/threads.hpp"
#include "elf/loaded_objects.hpp"

namespace mallard::interpose {

MALLARD_FORK_DATA constinit std::atomic<bool> g_alone_awaited{false};

namespace {

using ForkFunction = pid_t();
constinit ForkFunction* g_real_fork = nullptr;
constinit char* g_libcs_word = nullptr;

MALLARD_FORK_DATA constinit std::atomic<bool> g_restores_flag{false};
MALLARD_FORK_DATA constinit std::atomic<std::uintptr_t> g_thread{0};  ///< whose flag that is
MALLARD_FORK_DATA constinit std::atomic<int> g_process_id{0};  ///< not a vfork child's, which has our memory
MALLARD_FORK_DATA constinit std::atomic<std::uint32_t> g_looks{0};

/// Links of the directory: its own two, and one for each thread, until the kernel has done with it.
bool is_alone() noexcept {
  struct stat facts;
  return os::call(SYS_newfstatat, AT_FDCWD, os::arg("/proc/self/task"), os::arg(&facts), 0) == 0 &&
         facts.st_nlink == 3;
}

MALLARD_FORK_TEXT void tell_libc() noexcept {
  if (!g_alone_awaited.load() || g_thread.load() != arch::thread_pointer()) return;
  if (g_process_id.load() != os::process_id() || !is_alone()) return;
  if (g_restores_flag.load()) *arch::several_threads_flag() = 0;
  *g_libcs_word = 1;
  mallard_single_threaded = 1;
  g_alone_awaited.store(false);
}

}  // namespace

void alone_again_init() noexcept {
  g_libcs_word = elf::find_function<char>(elf::libc_object(), "__libc_single_threaded");
  g_real_fork = elf::find_function<ForkFunction>(elf::find_next_definer("fork"), "fork");
}

AloneBefore::AloneBefore() noexcept
    : alone_(g_libcs_word && *g_libcs_word && single_threaded()), flag_(*arch::several_threads_flag()) {}

void AloneBefore::thread_created() const noexcept {
  if (!alone_) return;
  g_restores_flag.store(flag_ == 0 && *arch::several_threads_flag() != 0);
  g_thread.store(arch::thread_pointer());
  g_process_id.store(os::process_id());
  g_looks.store(0);
  g_alone_awaited.store(true);
}

MALLARD_FORK_TEXT void alone_again_after_fork_in_child() noexcept {
  if (g_alone_awaited.load()) g_process_id.store(os::process_id());
}

/// Rarely, where the host has begun threads of its own meanwhile.
MALLARD_COLD void look_whether_alone() noexcept {
  constexpr std::uint32_t kOften = 64, kEvery = 1024;
  const std::uint32_t looks = g_looks.fetch_add(1, std::memory_order_relaxed);
  if (looks < kOften || looks % kEvery == 0) tell_libc();
}

}  // namespace mallard::interpose

using namespace mallard::interpose;

/// Whether there are locks to take libc decides before it calls any fork handler.
MALLARD_EXPORT MALLARD_FORK_TEXT pid_t fork() noexcept {
  if (!g_real_fork) alone_again_init();  // before our constructor
  tell_libc();
  return g_real_fork();
}
