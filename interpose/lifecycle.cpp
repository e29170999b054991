// SPDX-License-Identifier: Apache-2.0
// From the first call to the last: choose the backend, begin recording, follow fork, end.
// This is the composition root: the only host file, with signals.cpp, that knows report.
#include "interpose/lifecycle.hpp"

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/lock.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "base/threads.hpp"
#include "elf/loaded_objects.hpp"
#include "inside/observed.hpp"
#include "interpose/alone_again.hpp"
#include "interpose/backend_choice.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/first_calls.hpp"
#include "interpose/jemalloc_calls.hpp"
#include "interpose/mode.hpp"
#include "interpose/observed_allocator.hpp"
#include "interpose/odd_variables.hpp"
#include "record/exact/exact.hpp"
#include "record/mappings.hpp"
#include "record/record.hpp"
#include "report/interval.hpp"
#include "report/reporter.hpp"

extern "C" {
extern void* __libc_stack_end;
/// Its address names this object to pthread_atfork. crtbeginS.o, which has one, is not linked (meson.build).
__attribute__((visibility("hidden"))) constinit void* __dso_handle = nullptr;
}

namespace mallard::interpose {
namespace {

/// What the kernel put on the stack: argc, argv[], NULL, envp[].
struct StartStack {
  int argc;
  char **argv, **environment;
};
StartStack start_stack() noexcept {
  auto* stack = static_cast<long*>(__libc_stack_end);
  return {static_cast<int>(stack[0]), reinterpret_cast<char**>(stack + 1),
          reinterpret_cast<char**>(stack + 1 + stack[0] + 1)};
}

/// libc sets its own in a constructor of its own, after ours.
char** early_environment() noexcept { return environ ? environ : start_stack().environment; }

/// A dlopen before libc's constructors have run has libc initialised, too, with the arguments that libc does
/// not know yet: the program's name would be lost for its messages, argc for the constructors of other
/// objects.
void tell_libc_the_arguments() noexcept {
  const StartStack start = start_stack();
  elf::run_constructors(elf::libc_object(), start.argc, start.argv, early_environment());
}

void read_environment() noexcept {
  say::remember_stderr();
  char** environment = early_environment();
  if (!environ) environ = environment;  // backends read MALLOC_CONF and MIMALLOC_* with getenv
  Options read;
  if (getauxval(AT_SECURE)) {
    // Set-uid: the environment is an attacker's. The program keeps its allocator, and nothing is written.
    read.mode = Mode::kOff;
    read.signal = 0;
    set_options(read);
    return;
  }
  const bool good = read_options(environment, &read);
  set_options(read);
  if (!good && read.strict) refuse_to_start();
  // Before a backend maps anything. A kernel that refuses is one without them.
  if (read.huge_pages == HugePages::kOff) os::call(SYS_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

MALLARD_FORK_TEXT void before_fork() noexcept {
  mode_before_fork();
  if (record::before_fork()) record::exact_before_fork();
  record::mappings_before_fork();
}
MALLARD_FORK_TEXT void after_fork_in_parent() noexcept {
  record::mappings_after_fork_in_parent();
  if (record::recording_is_locked_for_fork()) record::exact_after_fork_in_parent();
  record::after_fork_in_parent();
  mode_after_fork_in_parent();
}
MALLARD_FORK_TEXT void after_fork_in_child() noexcept {
  Lock::after_fork_in_child();
  record::mappings_after_fork_in_child();
  if (record::recording_is_locked_for_fork()) record::exact_after_fork_in_parent();
  record::exact_after_fork_in_child(record::after_fork_in_child());
  mode_after_fork_in_child();
  report::after_fork_in_child();
  report::interval_after_fork_in_child();
  alone_again_after_fork_in_child();
  signals_after_fork_in_child();
}

/// The lock of libc's list of open streams, which its fork takes after all handlers. A thread that holds it
/// may wait for one of our locks: fflush(NULL) for a stream whose owner allocates. So it comes first, as
/// libc's own malloc has it.
struct StreamList {
  void (*lock)(), (*unlock)(), (*reset)();
};
constinit StreamList g_streams{};
MALLARD_FORK_DATA constinit bool g_streams_locked = false;  ///< guarded by the lock itself

MALLARD_FORK_TEXT void lock_streams() noexcept {
  if (single_threaded()) return;  // nor does libc
  g_streams.lock();
  g_streams_locked = true;
}
MALLARD_FORK_TEXT void unlock_streams(void (*how)()) noexcept {
  if (!g_streams_locked) return;
  g_streams_locked = false;
  how();
}
MALLARD_FORK_TEXT void unlock_streams_in_parent() noexcept { unlock_streams(g_streams.unlock); }
MALLARD_FORK_TEXT void unlock_streams_in_child() noexcept { unlock_streams(g_streams.reset); }

/// Our handlers that lock streams run before the backend's, which jemalloc registers with its first block.
/// Malloc and free of a foreign owner need not be one allocator's: no block is tried there.
void follow_forks_of_streams() noexcept {
  if (!foreign_owner().is_there() && view_of(backend().name) == "jemalloc")
    backend().functions.free(backend().functions.malloc(1));
  const link_map* libc = elf::libc_object();
  g_streams.lock = elf::find_function<void()>(libc, "_IO_list_lock");
  g_streams.unlock = elf::find_function<void()>(libc, "_IO_list_unlock");
  g_streams.reset = elf::find_function<void()>(libc, "_IO_list_resetlock");
  if (g_streams.lock && g_streams.unlock && g_streams.reset)
    pthread_atfork(lock_streams, unlock_streams_in_parent, unlock_streams_in_child);
}

/// Begins recording, in the mode that is asked for.
void start_recording() noexcept {
  const bool serves = !foreign_owner().is_there();
  const bool records = serves && options().mode != Mode::kOff;
  const auto expected =
      options().mode == Mode::kExact ? record::Expected::kManyStacks : record::Expected::kFewStacks;
  if (!record::start(records ? options().sample_bytes : 0, expected)) say::nothing_recorded();
  const char *why_not, *why_untimed;
  const bool done = start_mode(options().mode, serves, &why_not, &why_untimed);
  if (!done) say::exact_unusable(view_of(why_not));
  if (why_untimed) say::latency_unusable(view_of(why_untimed));
  if ((!done || why_untimed) && options().strict) refuse_to_start();
}

void tell_who_serves() noexcept {
  const ForeignOwner& foreign = foreign_owner();
  if (foreign.sanitizer) say::sanitizer_present();
  else if (foreign.in_front) say::bypassed(foreign.name);
  // An allocator inside the program is named where it is told that it is observed.
  if (options().verbose && backend().object != elf::first_object())
    say::backend_chosen(view_of(backend().name), view_of(backend().version), view_of(backend().path));
}

__attribute__((constructor)) void start() noexcept {
  ensure_started();
  if (backend_is_to_be_loaded()) tell_libc_the_arguments();
  load_backend();
  lead_jemalloc_calls();
  follow_forks_of_streams();
  const backends::Backend& server = describe_server();
  set_serving_backend(view_of(server.name));
  start_recording();
  const ForeignOwner& foreign = foreign_owner();
  report::Served served;
  served.backend = &server;
  served.beside = beside_observed();
  served.own_census = server.census;
  served.ask_instead = divides_beside() ? ask_instead : nullptr;
  served.backend_code = inside::observed_allocator().code;
  served.bypassed = foreign.in_front;
  served.stepped_aside = foreign.sanitizer;
  served.bypass_owner = foreign.name;
  served.mode = mode;
  served.why_off = why_off;
  served.switch_mode = switch_mode;
  served.is_timing = is_timing;
  served.switch_timing = switch_timing;
  report::configure(served);
  mappings_start();
  alone_again_init();
  signals_start();
  tell_who_serves();
  tell_odd_variables();
}

__attribute__((destructor)) MALLARD_FORK_TEXT void end() noexcept { report::at_exit(options().at_exit); }

}  // namespace

void ensure_started() noexcept {
  if (is_final() || backend_is_to_be_loaded()) return;
  if (!tls_is_ready()) return serve_from_boot_arena();
  // Before any code of a backend runs, which registers its own, and before the host's: ours run last before
  // the fork and first after it, so that nobody waits, allocates or maps memory while our locks are held.
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  read_environment();
  choose_backend();
}

void refuse_to_start() noexcept {
  say::refused_to_start();
  constexpr long kRefused = 78;  // EX_CONFIG of sysexits.h
  os::call(SYS_exit_group, kRefused);
  __builtin_unreachable();
}

}  // namespace mallard::interpose
