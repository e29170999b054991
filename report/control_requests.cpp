// SPDX-License-Identifier: Apache-2.0
#include "report/control_requests.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <atomic>

#include "base/control_protocol.hpp"
#include "base/os.hpp"
#include "base/signal_mask.hpp"
#include "base/times.hpp"
#include "record/thread_state.hpp"
#include "report/write/sections.hpp"
#include "report/probe.hpp"

namespace mallard::report {
namespace {

/// Commands that wait: number in the high half, sender's process id in the low one; 0 = none.
constexpr int kMaxWaiting = 16;
MALLARD_FORK_DATA constinit std::atomic<std::uint64_t> g_waiting[kMaxWaiting] = {};

class [[nodiscard]] Descriptor {
 public:
  explicit Descriptor(long fd) noexcept : fd_(static_cast<int>(fd)) {}
  ~Descriptor() {
    if (fd_ >= 0) os::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

bool is_trusted(unsigned user) noexcept {
  return user == 0 || user == static_cast<unsigned>(os::call(SYS_geteuid));
}

/// Nobody but its owner, this user or root, may use it.
bool is_private(const char* path, mode_t kind) noexcept {
  struct stat facts;
  return os::call(SYS_newfstatat, AT_FDCWD, os::arg(path), os::arg(&facts), AT_SYMLINK_NOFOLLOW) == 0 &&
         (facts.st_mode & S_IFMT) == kind && (facts.st_mode & 077) == 0 && is_trusted(facts.st_uid);
}

/// The listener is the one that sent the signal, and the same user or root. Both ids are 0 for a command
/// outside of this process's namespace.
bool is_the_sender(int fd, int sender) noexcept {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  return os::call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, os::arg(&peer), os::arg(&bytes)) == 0 &&
         is_trusted(peer.uid) && peer.pid == sender;
}

/// \return a connected descriptor, or a negative number
long connect_to(const char* directory, std::uint32_t number, int sender) noexcept {
  FixedText<sizeof(sockaddr_un::sun_path)> path;
  path.add(view_of(directory)).add('/');
  add_control_name(path, os::process_id(), number);
  if (path.cut() || !is_private(path.c_str(), S_IFDIR)) return -ENOENT;
  path.add('/').add(kControlSocket);
  if (path.cut() || !is_private(path.c_str(), S_IFSOCK)) return -ENOENT;
  sockaddr_un to{AF_UNIX, {}};
  memcpy(to.sun_path, path.c_str(), path.size() + 1);
  const long fd = os::call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fd;
  if (os::call(SYS_connect, fd, os::arg(&to), sizeof to) == 0 && is_the_sender(static_cast<int>(fd), sender))
    return fd;
  os::close(static_cast<int>(fd));
  return -EPERM;
}

/// Reads until a newline, the end, or the end of patience. \return bytes read
std::size_t read_line(int fd, char (&line)[kMaxControlRequest]) noexcept {
  const std::uint64_t until = os::monotonic_ns() + kControlPatienceNs;
  std::size_t have = 0;
  while (have < sizeof line && (have == 0 || line[have - 1] != '\n')) {
    const std::uint64_t now = os::monotonic_ns();
    if (now >= until) break;
    const timespec left = timespec_of(until - now);
    pollfd wait{fd, POLLIN, 0};
    const long ready = os::call(SYS_ppoll, os::arg(&wait), 1, os::arg(&left), 0, sizeof(SignalSet));
    if (ready < 0 && ready != -EINTR) break;
    if (ready <= 0) continue;
    const long n = os::read(fd, line + have, sizeof line - have);
    if (n <= 0 && n != -EAGAIN) break;
    if (n > 0) have += static_cast<std::size_t>(n);
  }
  return have;
}

void answer_mode(const ControlRequest& request, const Served& served, Json& json) noexcept {
  const Mode was = served.mode ? served.mode() : options().mode;
  const char* why_not = "mallard's backend does not serve this process";
  bool done = !request.switches || request.mode == was ||
              (served.switch_mode && served.switch_mode(request.mode, &why_not));
  if (request.timing != Timing::kAsItIs)
    done = served.switch_timing && served.switch_timing(request.timing == Timing::kBegins, &why_not);
  json.key("done").flag(done);
  if (!done) json.key("why_not").text(view_of(why_not));
  json.key("was").text(mode_name(was));
  json.key("mode").text(mode_name(served.mode ? served.mode() : was));
  json.key("latency").flag(served.is_timing && served.is_timing());
}

void answer_purge(const Served& served, Json& json) noexcept {
  const Probe p = purge(served, true);
  json.key("done").flag(p.done);
  if (!p.done) json.key("why_not").text(view_of(p.why_not));
  json.key("allocator").text(view_of(served.backend->name));
  if (p.done) write_purge_json(p, json);
}

void serve_one(int fd, const Served& served, Lock& writing) noexcept {
  char line[kMaxControlRequest];
  const std::size_t bytes = read_line(fd, line);
  ControlRequest request;
  const char* why_not;
  WriteSignalsHeld held;  // the command may be gone
  Sink sink(fd);          // what it holds is less than a socket takes at once: writing never waits
  Json json(sink);
  json.open('{').key("pid").number(static_cast<std::uint64_t>(os::process_id()));
  if (!parse_control({line, bytes}, &request, &why_not)) {
    json.key("done").flag(false).key("why_not").text(view_of(why_not));
  } else {
    LockGuard guard(writing);
    record::InRecording in_recording;  // what libc or the backend allocates for us is not the host's
    if (request.verb == ControlVerb::kPurge) answer_purge(served, json);
    else answer_mode(request, served, json);
  }
  json.close('}').line();
  sink.flush();
}

}  // namespace

void note_control(std::uint32_t number, int sender) noexcept {
  if (number == 0) return;
  const std::uint64_t waiting = std::uint64_t{number} << 32 | static_cast<std::uint32_t>(sender);
  for (auto& slot : g_waiting)
    if (slot.load() == waiting) return;  // sent again, because it has waited for long
  for (auto& slot : g_waiting) {
    std::uint64_t none = 0;
    if (slot.compare_exchange_strong(none, waiting)) return;
  }
}

MALLARD_FORK_TEXT bool control_waits() noexcept {
  for (const auto& slot : g_waiting)
    if (slot.load() != 0) return true;
  return false;
}

MALLARD_FORK_TEXT void forget_control() noexcept {
  for (auto& slot : g_waiting) slot.store(0);
}

void serve_control(const Served& served, Lock& writing) noexcept {
  for (auto& slot : g_waiting) {
    const std::uint64_t waiting = slot.exchange(0);
    if (waiting == 0) continue;
    for (int i = 0; const char* directory = control_directory(options(), i); ++i) {
      const Descriptor fd(
          connect_to(directory, static_cast<std::uint32_t>(waiting >> 32), static_cast<int>(waiting)));
      if (fd.get() < 0) continue;
      serve_one(fd.get(), served, writing);
      break;
    }
  }
}

}  // namespace mallard::report
