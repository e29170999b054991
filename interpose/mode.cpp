// SPDX-License-Identifier: Apache-2.0
#include "interpose/mode.hpp"

#include "base/lock.hpp"
#include "base/threads.hpp"
#include "elf/loaded_objects.hpp"
#include "interpose/patch.hpp"
#include "record/exact/exact.hpp"
#include "record/latency.hpp"
#include "record/published.hpp"
#include "record/record.hpp"

namespace mallard::interpose {

constinit std::atomic<std::uint32_t> duties{kCounts};

namespace {

constinit std::atomic<Mode> g_mode{Mode::kSample};
constinit std::atomic<const char*> g_why_off{nullptr};
constinit const char* g_why_never = nullptr;  ///< why this process stays in its mode; nullptr = it need not
MALLARD_FORK_DATA constinit Lock g_lock;      ///< held while a mode is put in force

constexpr const char* kNoCode = "the kernel does not let code be changed";
constexpr const char* kNoBooks =
    "the kernel gave no address space for the books (ulimit -v should be 1 GiB more)";
constexpr const char* kNoTimes = "the kernel gave no memory for the times (ulimit -v)";
constexpr const char* kOffByOption = "no call sites, as ALLOC_MODE asks; 'mallard mode PID sample' begins";
constexpr const char* kOffByCommand =
    "switched off while the program ran; 'mallard mode PID sample' begins anew";
constexpr const char* kOffForNoBooks = "there was no address space for the books; raise ulimit -v by 128 MiB";
constexpr const char* kOffByFork =
    "this process was forked by a signal handler in the middle of recording; exec ends that";

/// The duties of frees begin before the exports change and end after it, those of allocations begin after it
/// and end before.
bool put_in_force(Mode to) noexcept {
  const std::uint32_t before = duties.load(), timing = before & kTimes,
                      after = record::duties_of(to) | timing;
  duties.store(record::duties_between(before, after));
  if (!patch_mode(to, timing != 0)) {
    duties.store(before);
    return false;
  }
  duties.store(after);
  g_mode.store(to);
  return true;
}

bool switch_locked(Mode to, const char** why_not) noexcept {
  const Mode from = g_mode.load();
  if (to == from) return true;
  *why_not = g_why_never;
  if (g_why_never) return false;
  *why_not = kNoBooks;
  if (to == Mode::kExact && !record::exact_prepare()) return false;
  if (from == Mode::kOff && !record::resume(options().sample_bytes)) return false;
  if (to == Mode::kExact) record::exact_begin(false);
  if (!put_in_force(to)) {
    if (to == Mode::kExact) record::exact_end();
    if (from == Mode::kOff) record::pause();
    *why_not = kNoCode;
    return false;
  }
  if (from == Mode::kExact) record::exact_end();
  g_why_off.store(to == Mode::kOff ? kOffByCommand : nullptr);
  if (to == Mode::kOff) record::pause();
  *why_not = nullptr;
  return true;
}

/// The kernel's own clock, which it provides to each program in an object of its own.
record::KernelClock* kernel_clock() noexcept {
  constexpr const char* kName = "__vdso_clock_gettime";
  const link_map* vdso = elf::find_definer(elf::first_object(), kName);
  return vdso ? elf::find_function<int(clockid_t, timespec*)>(vdso, kName) : nullptr;
}

bool begin_timing() noexcept { return record::latency_begin(options().latency_every.calls, kernel_clock()); }

/// What the fork in progress did about g_lock.
enum class ToFork : std::uint8_t {
  /// The lock is not taken: the thread interrupted recording, and whoever holds g_lock may wait for a lock of
  /// the books that the thread has.
  kInterrupted,
  kAlone,  ///< not taken: there is no other thread
  kHeld,
};
constinit __thread ToFork t_to_fork __attribute__((tls_model("initial-exec"))) = ToFork::kInterrupted;

}  // namespace

Mode mode() noexcept { return g_mode.load(std::memory_order_relaxed); }

const char* why_off() noexcept { return mode() == Mode::kOff ? g_why_off.load() : nullptr; }

bool switch_mode(Mode to, const char** why_not) noexcept {
  LockGuard guard(g_lock);
  return switch_locked(to, why_not);
}

bool is_timing() noexcept { return has_duty(kTimes); }

bool switch_timing(bool on, const char** why_not) noexcept {
  LockGuard guard(g_lock);
  *why_not = nullptr;
  if (on == is_timing()) return true;
  *why_not = g_why_never;
  if (g_why_never) return false;
  *why_not = kNoTimes;
  if (on && !begin_timing()) return false;
  *why_not = kNoCode;
  if (!patch_mode(g_mode.load(), on)) {
    record::latency_end();
    return false;
  }
  if (on) duties.fetch_or(kTimes);
  else duties.fetch_and(~std::uint32_t{kTimes});
  if (!on) record::latency_end();
  *why_not = nullptr;
  return true;
}

bool start_mode(Mode wanted, bool serves, const char** why_not, const char** why_untimed) noexcept {
  Mode first = wanted;
  *why_not = *why_untimed = nullptr;
  if (!serves) g_why_never = "malloc of this process belongs to another object";
  if (!serves || !record::is_recording()) first = Mode::kOff;
  if (first == Mode::kOff)
    g_why_off.store(wanted == Mode::kOff ? kOffByOption : serves ? kOffForNoBooks : nullptr);
  if (first == Mode::kExact && !record::exact_prepare()) {
    *why_not = kNoBooks;
    first = Mode::kSample;
  }
  if (first == Mode::kExact) record::exact_begin(true);
  bool timed = options().latency && serves && begin_timing();
  if (options().latency && !timed) *why_untimed = serves ? kNoTimes : g_why_never;
  if (!patch_at_start(first, timed)) {
    if (!g_why_never) g_why_never = kNoCode;
    if (timed) {
      record::latency_end();
      *why_untimed = kNoCode;
    }
    timed = false;
    if (first == Mode::kExact) {
      record::exact_end();
      *why_not = kNoCode;
      first = Mode::kSample;
    }
  }
  duties.store(record::duties_of(first) | (timed ? std::uint32_t{kTimes} : 0));
  g_mode.store(first);
  mallard_published.mode_at = address_of(&g_mode);
  mallard_published.why_off_at = address_of(&g_why_off);
  return *why_not == nullptr;
}

MALLARD_FORK_TEXT void mode_before_fork() noexcept {
  if (mallard_thread.in_recording != 0) return;
  t_to_fork = single_threaded() ? ToFork::kAlone : ToFork::kHeld;
  if (t_to_fork == ToFork::kHeld) g_lock.lock();
}

MALLARD_FORK_TEXT void mode_after_fork_in_parent() noexcept {
  if (t_to_fork == ToFork::kHeld) g_lock.unlock();
  t_to_fork = ToFork::kInterrupted;
}

MALLARD_FORK_TEXT void mode_after_fork_in_child() noexcept {
  if (t_to_fork != ToFork::kInterrupted) return mode_after_fork_in_parent();
  // A signal handler forked in the middle of recording: locks of the books may be held by threads that are no
  // more, and a mode may be half in force. This child is not recorded, and stays so.
  g_why_never = "this process was forked in the middle of recording";
  if (patch_mode(Mode::kOff, false)) {
    record::latency_end();
    duties.store(0);
    g_why_off.store(kOffByFork);
    g_mode.store(Mode::kOff);
  }
}

}  // namespace mallard::interpose
