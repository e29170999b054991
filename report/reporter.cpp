// SPDX-License-Identifier: Apache-2.0
#include "report/reporter.hpp"

#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include <atomic>

#include "base/arena.hpp"
#include "base/lock.hpp"
#include "base/older.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/parts.hpp"
#include "base/process_memory.hpp"
#include "base/signal_mask.hpp"
#include "record/published.hpp"
#include "record/thread_state.hpp"
#include "report/control_requests.hpp"
#include "report/judge/remember.hpp"
#include "report/judge/verdict.hpp"
#include "report/own_threads.hpp"
#include "report/probe.hpp"
#include "report/snapshot.hpp"
#include "report/write/report_files.hpp"

namespace mallard::report {
namespace {

enum class Thread : std::uint8_t { kNone, kStarting, kRunning };

constinit Served g_served;
MALLARD_PART(served, g_served);
MALLARD_FORK_DATA constinit std::atomic<Thread> g_thread{Thread::kNone};
MALLARD_FORK_DATA constinit std::atomic<std::uint32_t> g_asked{0};
MALLARD_FORK_DATA constinit std::atomic<std::uint32_t> g_served_up_to{0};
MALLARD_FORK_DATA constinit std::atomic<bool> g_purge_asked{false};
MALLARD_FORK_DATA constinit Lock g_writing;  // the reporter thread and an exiting one
MALLARD_FORK_DATA constinit int g_number = 0;
MALLARD_PART(report_number, g_number);
MALLARD_FORK_DATA constinit std::atomic<std::uintptr_t> g_stack{0};

/// What the reporter's code needs.
constexpr std::size_t kStackBytes = 512 * 1024;

/// Callers hold g_writing.
void write_one(Reason reason, ProbeRequest probe) noexcept {
  record::InRecording in_recording;  // what libc or the backend allocates for us is not the host's
  Arena arena;
  Served served = g_served;
  served.reporter_stack = g_stack.load();
  Snapshot snapshot{};
  if (!take_snapshot(arena, own_process(), served, reason, &snapshot)) return;
  compare_and_remember(&snapshot);
  run_probe(probe, served, &snapshot);
  judge(arena, &snapshot);
  write_files(snapshot, &g_number);
}

/// Writes a report if one is asked for. Callers hold g_writing.
/// \param own_thread  false: a thread of the host that exits
void serve(bool own_thread) noexcept {
  const std::uint32_t asked = g_asked.load(std::memory_order_acquire);
  if (asked == g_served_up_to.load(std::memory_order_relaxed)) return;
  g_served_up_to.store(asked, std::memory_order_relaxed);  // everything asked until now is one report
  const bool purge = g_purge_asked.exchange(false);
  write_one(Reason::kSignal, {purge || options().probe == ProbeKind::kPurge, own_thread});
}

bool is_asked() noexcept { return g_asked.load() != g_served_up_to.load() || control_waits(); }

/// Lives for one burst of requests.
void* run(void*) noexcept {
  prctl(PR_SET_NAME, "mallard");
  g_stack.store(address_of(__builtin_frame_address(0)));
  // Descriptors of our own, of the host's only stderr: it may close all of its own meanwhile and open its
  // files under the numbers of ours. Anew for each burst, because stderr changes.
  os::call(SYS_close_range, 3, UINT32_MAX, CLOSE_RANGE_UNSHARE);
  do {
    {
      LockGuard guard(g_writing);
      serve(true);
    }
    serve_control(g_served, g_writing);
    if (is_asked()) continue;
    const std::uintptr_t stack = g_stack.exchange(0);
    g_thread.store(Thread::kNone);
    Thread none = Thread::kNone;
    if (!is_asked() || !g_thread.compare_exchange_strong(none, Thread::kRunning)) return nullptr;
    g_stack.store(stack);
  } while (true);
}

/// The exiting thread writes what is asked for, and waits for what is being written: it would be cut off by
/// the end of the process.
MALLARD_COLD void finish_reports(bool report_wanted) noexcept {
  SignalsBlocked blocked;  // a handler that forks or exits would meet the locks of the books
  WriteSignalsHeld held;
  // A report that is being written would be cut off by the end of the process. Bounded, because exit may have
  // been called from a signal handler that interrupted this very function.
  constexpr int kMaxWaitMs = 5000;
  for (int ms = 0; !g_writing.try_lock(); ++ms) {
    if (ms == kMaxWaitMs) return;
    const timespec one_ms{0, 1'000'000};
    os::call(SYS_nanosleep, os::arg(&one_ms));
  }
  // Descriptors that other threads cannot close under us; the host's stay open, for what it flushes later.
  if (report_wanted || is_asked()) os::call(SYS_unshare, CLONE_FILES);
  serve(false);  // asked in the last moment: the thread may not even be there yet
  if (report_wanted) write_one(Reason::kExit, {options().probe == ProbeKind::kPurge, false});
  g_writing.unlock();
}

}  // namespace

void configure(const Served& served) noexcept {
  g_served = served;
  TextBuffer(mallard_published.version, sizeof mallard_published.version).add(view_of(kVersion));
}

void request(bool purge) noexcept {
  if (purge) g_purge_asked.store(true);
  g_asked.fetch_add(1);
}

void request_control(std::uint32_t number, int sender) noexcept {
  if (options().control) note_control(number, sender);
}

bool needs_thread() noexcept { return g_thread.load() == Thread::kNone && is_asked(); }

bool has_thread() noexcept { return g_thread.load() != Thread::kNone; }

bool start_thread() noexcept {
  Thread none = Thread::kNone;
  if (!g_thread.compare_exchange_strong(none, Thread::kStarting)) return true;
  const bool started = create_own_thread(run, nullptr, own_stack_bytes(kStackBytes));
  if (!started) forget_requests();
  // It may have ended already: then there is nothing to say.
  Thread starting = Thread::kStarting;
  g_thread.compare_exchange_strong(starting, started ? Thread::kRunning : Thread::kNone);
  return started;
}

MALLARD_FORK_TEXT void forget_requests() noexcept {
  g_purge_asked.store(false);
  g_served_up_to.store(g_asked.load());
  forget_control();
}

MALLARD_FORK_TEXT void at_exit(bool report_wanted) noexcept {
  if (mallard_thread.in_recording != 0)
    return;  // exit() from a handler that interrupted recording: it holds locks
  if (report_wanted || is_asked() || g_thread.load() != Thread::kNone || g_writing.is_held())
    finish_reports(report_wanted);
}

MALLARD_FORK_TEXT void after_fork_in_child() noexcept {
  g_stack.store(0);
  g_thread.store(Thread::kNone);
  forget_requests();
  forget_reports();
  g_number = 0;
}

}  // namespace mallard::report
