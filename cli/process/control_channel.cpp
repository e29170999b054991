// SPDX-License-Identifier: Apache-2.0
#include "cli/process/control_channel.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/control_protocol.hpp"
#include "cli/error.hpp"
#include "cli/process/control_socket.hpp"

namespace mallard::cli {
namespace {

constexpr double kFirstRepeatSeconds = 0.25;

volatile sig_atomic_t g_interrupted = 0;

/// The socket must not stay behind when the user presses Ctrl-C: the signal is taken at the end of the scope.
class Interruptible {
 public:
  Interruptible() {
    struct sigaction action {};
    action.sa_handler = [](int signal) { g_interrupted = signal; };
    for (int i = 0; i < kSignals; ++i) sigaction(kWhich[i], &action, &before_[i]);
  }
  ~Interruptible() {
    for (int i = 0; i < kSignals; ++i) sigaction(kWhich[i], &before_[i], nullptr);
  }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  static constexpr int kSignals = 3;
  static constexpr int kWhich[kSignals] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction before_[kSignals];
};

struct Interrupted {};

/// \return whether the descriptor is ready before `until`
bool wait_for(int fd, short events, double until) {
  while (true) {
    if (g_interrupted) throw Interrupted{};
    const double left = until - now_seconds();
    if (left <= 0) return false;
    pollfd wait{fd, events, 0};
    // In slices, because a signal may come just before the call.
    if (poll(&wait, 1, static_cast<int>(std::min(left * 1000 + 1, 200.0))) == 1) return true;
  }
}

/// A connection of this very process; others could only come from the same user or root.
int accept_from(const ControlSocket& socket, const Target& t) {
  const int fd = accept4(socket.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return -1;
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 && peer.pid == t.pid) return fd;
  close(fd);
  return -1;
}

[[noreturn]] void fail_no_answer(const Target& t, double timeout_seconds, bool connected) {
  if (is_gone(t.pid)) throw Error(kUnreadable, fmt::format("{} ended before it had answered", t.who()));
  if (connected)
    throw Error(
        kUnreadable,
        fmt::format("{} has taken the request, but not answered within {:g} s", t.who(), timeout_seconds),
        "what was asked for may still be done; --timeout waits longer");
  throw Error(kUnreadable, fmt::format("{} has not answered within {:g} s", t.who(), timeout_seconds),
              t.options.certain
                  ? "it must be allowed to create a thread and a Unix socket (ulimit -u, seccomp), and to "
                    "search the directory of the socket"
                  : "its options cannot be read by this user: was it started with 'mallard run', or with "
                    "ALLOC_CONTROL=1?");
}

/// Sends the signal until the process comes: a signal of that number that was pending has swallowed ours.
int wait_for_connection(const ControlSocket& socket, const Target& t, double until) {
  double repeat = kFirstRepeatSeconds;
  while (now_seconds() < until && !is_gone(t.pid)) {
    send_request(t, socket.signal_value());
    const double until_repeat = std::min(until, now_seconds() + repeat);
    while (wait_for(socket.fd(), POLLIN, until_repeat))
      if (const int fd = accept_from(socket, t); fd >= 0) return fd;
    repeat *= 2;
  }
  return -1;
}

std::string read_line(int fd, double until) {
  std::string line;
  while (line.size() < kMaxControlAnswer && !line.ends_with('\n') && wait_for(fd, POLLIN, until)) {
    char piece[kMaxControlAnswer];
    const ssize_t n = read(fd, piece, kMaxControlAnswer - line.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) break;
    line.append(piece, static_cast<std::size_t>(n));
  }
  return line;
}

std::string exchange(const Target& t, const std::string& request, double timeout_seconds) {
  const double until = now_seconds() + timeout_seconds;
  const ControlSocket socket(t);
  const int fd = wait_for_connection(socket, t, until);
  if (fd < 0) fail_no_answer(t, timeout_seconds, false);
  const std::string line = fmt::format("mallard 1 {}\n", request);
  std::string answer;
  if (send(fd, line.data(), line.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(line.size()))
    answer = read_line(fd, until);
  close(fd);
  if (!answer.ends_with('\n')) fail_no_answer(t, timeout_seconds, true);
  answer.pop_back();
  return answer;
}

}  // namespace

ControlAnswer ask_control(const Target& t, const std::string& request, double timeout_seconds) {
  if (!t.options.control && t.options.certain)
    throw Error(kUnreadable, fmt::format("{} takes no control: ALLOC_CONTROL is not 1", t.who()),
                "start it with 'mallard run', or with ALLOC_CONTROL=1");
  check_signal(t, "this");
  ControlAnswer answer;
  try {
    const Interruptible scope;
    answer.text = exchange(t, request, timeout_seconds);
  } catch (const Interrupted&) {
    raise(g_interrupted);
    throw Error(kUnreadable, "interrupted");
  }
  answer.json = nlohmann::json::parse(answer.text, nullptr, false);
  if (!answer.json.is_object() || !answer.json.contains("done"))
    throw Error(kUnreadable, fmt::format("{} has sent an answer that is not understood", t.who()),
                "the command and the libmallard.so of the process are of different versions");
  return answer;
}

}  // namespace mallard::cli
