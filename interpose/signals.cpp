// SPDX-License-Identifier: Apache-2.0
// The host's view of our signal is kept here; the kernel only ever sees our handler. The handler asks the
// reporter and runs the host's own. If the reporter thread does not exist yet, it is created from the
// handler, but only where pthread_create is harmless (safe_point.hpp); elsewhere a timer brings us back 1 ms
// later.
#include "interpose/lifecycle.hpp"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iterator>

#include "arch/stack_switch.hpp"
#include "base/control_protocol.hpp"
#include "base/lock.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "base/signal_mask.hpp"
#include "base/started.hpp"
#include "base/two_copies.hpp"
#include "elf/loaded_objects.hpp"
#include "interpose/alone_again.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/safe_point.hpp"
#include "interpose/signal_timers.hpp"
#include "report/interval.hpp"
#include "report/reporter.hpp"

namespace mallard::interpose {
namespace {

using Action = struct sigaction;
using SigactionFunction = int(int, const Action*, Action*);

constinit SigactionFunction* g_real_sigaction = nullptr;
constinit bool g_installed = false;
MALLARD_FORK_DATA constinit int g_process_id = 0;
/// A child that was asked before its fork handlers had run. Its own id, not a flag: a vfork child writes into
/// its parent's memory. Negative if it is to purge.
MALLARD_FORK_DATA constinit std::atomic<int> g_asked_early{0};

/// What the host wants done: written under the lock with signals blocked, read without it by the handler.
constinit Lock g_host_lock;
constinit TwoCopies<Action> g_host_action;

constexpr int kEndingSignals[] = {SIGTERM, SIGINT, SIGHUP};

MALLARD_FORK_TEXT int real_sigaction(int signal, const Action* action, Action* old) noexcept {
  if (!g_real_sigaction)
    g_real_sigaction = elf::find_function<SigactionFunction>(elf::libc_object(), "sigaction");
  if (g_real_sigaction) return g_real_sigaction(signal, action, old);
  errno = ENOSYS;
  return -1;
}

bool is_function(const Action& action) noexcept {
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

/// Whether the host has one handler for whatever may end it, as bash has for its EXIT trap and LLVM for files
/// that it would leave behind: it takes every signal for the end.
bool catches_all(const Action& host) noexcept {
  return std::any_of(std::begin(kEndingSignals), std::end(kEndingSignals), [&host](int signal) noexcept {
    Action other{};
    return signal != options().signal && real_sigaction(signal, nullptr, &other) == 0 &&
           other.sa_sigaction == host.sa_sigaction;
  });
}

/// Not inlined, like meaning_of: alternate stacks are small, and neither is needed while a thread is created.
__attribute__((noinline)) void call_host(int signal, siginfo_t* info, void* context) noexcept {
  const Action host = g_host_action.read();
  if (!is_function(host)) return;  // SIG_DFL would end the process: not for a signal that asks for a report
  if (host.sa_flags & static_cast<int>(SA_RESETHAND)) {
    SignalsBlocked blocked;
    LockGuard guard(g_host_lock);
    Action reset{};
    g_host_action.write(reset);
  }
  if (host.sa_flags & SA_SIGINFO) host.sa_sigaction(signal, info, context);
  else host.sa_handler(signal);
}

bool is_queued(const siginfo_t* info, int value) noexcept {
  return info && info->si_code == SI_QUEUE && info->si_value.sival_int == value;
}

bool asks_for_purge(const siginfo_t* info) noexcept { return is_queued(info, kPurgeRequest); }

/// Sent by the command or by a timer of ours: nothing that the host's handler expects.
bool is_mallards(const siginfo_t* info) noexcept {
  return is_timer(info, kRetryCookie) || is_timer(info, kIntervalCookie) || is_queued(info, kPurgeRequest) ||
         is_queued(info, kReportRequest) || is_queued(info, kControlRequest);
}

/// What a signal is for. A host with a handler that sends itself the signal, by a timer or a queue of its
/// own, too, means its handler; what somebody else sends by `kill` may be meant for both, but not for a
/// handler that would end the host.
struct Meaning {
  bool request, hosts;
};
__attribute__((noinline)) Meaning meaning_of(const siginfo_t* info, int process_id) noexcept {
  if (is_mallards(info)) return {true, false};
  const Action host = g_host_action.read();
  if (!is_function(host)) return {true, false};
  const bool by_somebody_else =
      info && (info->si_code == SI_USER || info->si_code == SI_TKILL) && info->si_pid != process_id;
  return {by_somebody_else, !by_somebody_else || !catches_all(host)};
}

MALLARD_FORK_DATA constinit int g_interval_timer = kNoTimer;

void take_request(const siginfo_t* info) noexcept {
  if (is_queued(info, kControlRequest))
    report::request_control(static_cast<std::uint32_t>(address_of(info->si_value.sival_ptr) >> 32),
                            info->si_pid);
  else report::request(asks_for_purge(info));
}

// --- coming back later, when the reporter thread could not be created at once ---

// Some 15 s: one attempt every 1 to 2 ms. A program that does little but allocate, and is sampled often, is
// at a safe point at one attempt of several hundred.
constexpr std::uint32_t kMaxRetries = 10'000;
MALLARD_FORK_DATA constinit std::atomic<std::uint32_t> g_retries{0};
MALLARD_FORK_DATA constinit std::atomic<int> g_timer{kNoTimer};

void drop_timer() noexcept {
  const int timer = g_timer.exchange(kNoTimer);
  if (timer != kNoTimer) os::call(SYS_timer_delete, timer);
}

void retry_soon(int signal) noexcept {
  const std::uint32_t tries = g_retries.fetch_add(1);
  if (tries >= kMaxRetries) {
    g_retries.store(0);
    report::forget_requests();
    say::reporter_not_started("the process was inside libc or the allocator at every attempt");
    return;
  }
  if (g_timer.load() != kNoTimer) return;  // one is on its way
  const int timer = make_timer(CLOCK_MONOTONIC, signal, kRetryCookie);
  if (timer == kNoTimer) {
    report::forget_requests();
    say::reporter_not_started("the kernel gave no timer");
    return;
  }
  int none = kNoTimer;
  if (!g_timer.compare_exchange_strong(none, timer)) {  // another thread's handler was faster
    os::call(SYS_timer_delete, timer);
    return;
  }
  set_timer(timer, 1'000'000 + 10'000 * (tries % 100));  // drifts, so as not to beat in time with the host
}

/// On a stack of its own: alternate stacks are small, Rust's have 8 KiB, and in exact mode the stacks of what
/// libc allocates for a thread are captured. Signals are blocked: the kernel would put a handler's frame over
/// those of ours, seeing that the alternate stack is not in use.
/// \param create  true if it created a thread
bool create_on_own_stack(bool (*create)() noexcept) noexcept {
  constexpr std::size_t kStackBytes = 64 << 10;
  SignalsBlocked blocked;
  struct Call {
    bool (*create)() noexcept;
    bool created;
  } call{create, false};
  const auto start = [](void* to) noexcept {
    auto* c = static_cast<Call*>(to);
    c->created = c->create();
  };
  void *stack = os::map(kStackBytes), *way_out;
  if (stack) {
    mallard_call_on_stack(start, &call, static_cast<char*>(stack) + kStackBytes, &way_out);
    os::unmap(stack, kStackBytes);
  } else {
    start(&call);
  }
  return call.created;
}

bool start_reporter() noexcept {
  const AloneBefore alone;
  const bool started = create_on_own_stack(report::start_thread);
  if (started) alone.thread_created();
  return started;
}

void look_again_after(std::uint64_t ran_ns) noexcept { set_timer(g_interval_timer, ran_ns); }

/// The timer counts while the process runs, so its signal ends no sleep.
void begin_interval() noexcept {
  if (!g_installed || !report::interval_begins()) return;
  g_interval_timer = make_timer(CLOCK_PROCESS_CPUTIME_ID, options().signal, kIntervalCookie);
  if (g_interval_timer == kNoTimer) say::reporter_not_started("the kernel gave no timer for ALLOC_INTERVAL");
  else look_again_after(report::kIntervalSoonNs);
}

/// \return whether a timer of wall-clock time may bring us back: it would end a sleep, and the process hardly sleeps
bool look_whether_due(bool is_safe) noexcept {
  if (report::has_thread()) {
    look_again_after(report::kIntervalSoonNs);
    return false;
  }
  const report::IntervalLook look = report::look_at_interval();
  if (look.ask) report::request(false);
  if (look.create_thread && is_safe) create_on_own_stack(report::start_interval_thread);
  const bool comes_back = look.create_thread || (report::needs_thread() && !look.busy);
  if (comes_back && !is_safe) look_again_after(report::kIntervalSoonNs);
  else if (look.next_ns != 0) look_again_after(look.next_ns);
  else os::call(SYS_timer_delete, g_interval_timer);
  return look.busy;
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const bool retry = is_timer(info, kRetryCookie);
  const int process_id = os::process_id();
  const Meaning meaning = meaning_of(info, process_id);
  if (process_id != g_process_id) {  // a vfork child, which shares our memory, or a fork's first moment
    if (meaning.request && !is_queued(info, kControlRequest))  // its command sends it again
      g_asked_early.store(asks_for_purge(info) ? -process_id : process_id);
  } else {
    const bool is_safe = is_safe_point(static_cast<const ucontext_t*>(context));
    bool may_retry = true;
    if (is_timer(info, kIntervalCookie)) may_retry = look_whether_due(is_safe);
    else if (retry) drop_timer();
    else if (meaning.request) take_request(info);
    if (report::needs_thread()) {
      if (is_safe && start_reporter()) g_retries.store(0);
      else if (!is_safe && may_retry) retry_soon(signal);
    }
  }
  if (meaning.hosts) call_host(signal, info, context);
  errno = saved;
}

/// Our handler with the host's mask and flags, so that its handler runs as it expects.
bool install() noexcept {
  const Action host = g_host_action.read();
  Action ours{};
  ours.sa_sigaction = on_signal;
  ours.sa_flags = SA_SIGINFO;
  if (is_function(host)) {
    ours.sa_mask = host.sa_mask;
    ours.sa_flags |= host.sa_flags & (SA_ONSTACK | SA_RESTART | SA_NODEFER);
  } else {
    ours.sa_flags |= SA_ONSTACK | SA_RESTART;
  }
  return g_real_sigaction(options().signal, &ours, nullptr) == 0;
}

bool is_ours(int signal) noexcept {
  return g_installed && signal == options().signal && os::process_id() == g_process_id;
}

int host_sigaction(const Action* action, Action* old) noexcept {
  SignalsBlocked blocked;
  LockGuard guard(g_host_lock);
  const Action before = g_host_action.read();
  if (action) {
    g_host_action.write(*action);
    if (!install()) {
      g_host_action.write(before);
      return -1;
    }
  }
  if (old) *old = before;
  return 0;
}

int any_sigaction(int signal, const Action* action, Action* old) noexcept {
  return is_ours(signal) ? host_sigaction(action, old) : real_sigaction(signal, action, old);
}

using Handler = void (*)(int);

/// signal() and its variants differ in flags only.
Handler set_handler(int signal, Handler handler, int flags) noexcept {
  Action action{}, old{};
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (!(flags & SA_NODEFER) && signal > 0 && signal < NSIG) sigaddset(&action.sa_mask, signal);
  return host_sigaction(&action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

template <typename Function, typename... Arguments>
auto forward(const char* name, Arguments... arguments) noexcept {
  return elf::find_function<Function>(elf::libc_object(), name)(arguments...);
}

/// `mallard run` has blocked the signal of its program for as long as nobody was there to take it. Blanked,
/// so that what this process becomes by another exec keeps the mask that it is given.
void let_held_signal_in() noexcept {
  char* word =
      const_cast<char*>(find_variable(environ, kStartedVariable));  // the stack's, where the kernel put it
  const Started started = parse_started(view_of(word));
  if (started.held_signal == 0 || started.process_id != g_process_id) return;
  for (word += view_of(word).find(kHeldMark); *word; ++word) *word = ' ';
  const SignalSet held = signal_bit(started.held_signal);
  os::call(SYS_rt_sigprocmask, SIG_UNBLOCK, os::arg(&held), 0, sizeof held);
}

void install_first() noexcept {
  Action inherited{};
  if (options().signal == 0 || real_sigaction(options().signal, nullptr, &inherited) != 0) return;
  g_host_action.write(inherited);
  safe_point_init(backend().object);
  g_installed = install();
}

}  // namespace

void signals_start() noexcept {
  g_process_id = os::process_id();
  install_first();
  begin_interval();
  let_held_signal_in();
}

MALLARD_FORK_TEXT void signals_after_fork_in_child() noexcept {
  g_retries.store(0);
  g_timer.store(kNoTimer);  // a child inherits no timers
  g_process_id = os::process_id();
  begin_interval();
  const int asked_early = g_asked_early.exchange(0);
  if (asked_early != g_process_id && asked_early != -g_process_id) return;
  report::request(asked_early < 0);
  retry_soon(options().signal);
}

}  // namespace mallard::interpose

using namespace mallard;
using namespace mallard::interpose;

// Shells put their handlers back in each child.
MALLARD_EXPORT MALLARD_FORK_TEXT int sigaction(int signal, const Action* action, Action* old) noexcept {
  return any_sigaction(signal, action, old);
}
MALLARD_EXPORT int __sigaction(int signal, const Action* action, Action* old) {
  return any_sigaction(signal, action, old);
}

MALLARD_EXPORT Handler signal(int number, Handler handler) noexcept {
  if (is_ours(number)) return set_handler(number, handler, SA_RESTART);
  return forward<Handler(int, Handler)>("signal", number, handler);
}
MALLARD_EXPORT __attribute__((alias("signal"))) Handler bsd_signal(int number, Handler handler) noexcept;
MALLARD_EXPORT __attribute__((alias("signal"))) Handler ssignal(int number, Handler handler) noexcept;

MALLARD_EXPORT Handler __sysv_signal(int number, Handler handler) noexcept {
  if (is_ours(number)) return set_handler(number, handler, static_cast<int>(SA_RESETHAND) | SA_NODEFER);
  return forward<Handler(int, Handler)>("__sysv_signal", number, handler);
}
MALLARD_EXPORT __attribute__((alias("__sysv_signal"))) Handler sysv_signal(int number,
                                                                           Handler handler) noexcept;

MALLARD_EXPORT int sigignore(int number) noexcept {
  return is_ours(number) ? (set_handler(number, SIG_IGN, 0) == SIG_ERR ? -1 : 0)
                         : forward<int(int)>("sigignore", number);
}

/// The function sigset also changes the signal's mask; SIG_HOLD only blocks.
MALLARD_EXPORT Handler sigset(int number, Handler handler) noexcept {
  if (!is_ours(number)) return forward<Handler(int, Handler)>("sigset", number, handler);
  sigset_t set, old_mask;
  sigemptyset(&set);
  sigaddset(&set, number);
  Action before{};
  if (handler == SIG_HOLD) {
    sigprocmask(SIG_BLOCK, &set, &old_mask);
    host_sigaction(nullptr, &before);
  } else {
    before.sa_handler = set_handler(number, handler, 0);
    sigprocmask(SIG_UNBLOCK, &set, &old_mask);
  }
  return sigismember(&old_mask, number) ? SIG_HOLD : before.sa_handler;
}
