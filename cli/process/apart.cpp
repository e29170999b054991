// SPDX-License-Identifier: Apache-2.0
#include "cli/process/apart.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/os.hpp"
#include "cli/file.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {
namespace {

/// Waits for the end of a process. \return false if it takes longer, or nobody waits for it any more
bool wait_for(int pid, double timeout_seconds, const std::atomic<bool>* ended, int* status) {
  constexpr int kSliceMs = 100;
  const double until = now_seconds() + timeout_seconds;
  const auto goes_on = [&] { return now_seconds() < until && !(ended && *ended); };
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd >= 0) {
    pollfd waits{fd, POLLIN, 0};
    while (goes_on() && poll(&waits, 1, kSliceMs) < 1) {
    }
    close(fd);
  }
  while (waitpid(pid, status, WNOHANG) == 0) {
    if (!goes_on()) return false;
    usleep(2'000);
  }
  return true;
}

}  // namespace

void Told::write(std::string_view text) const { os::write_all(fd_, text.data(), text.size()); }
void Told::line(std::string_view text) const { write(std::string(text) + '\n'); }

Apart run_apart(const std::function<void(const Told& told)>& work, double timeout_seconds,
                const std::atomic<bool>* ended) {
  Apart out;
  const Descriptor told(memfd_create("report", MFD_CLOEXEC));
  const int parent = getpid(), child = told.get() < 0 ? -1 : fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);  // it ended before that
    try {
      work(Told(told.get()));
    } catch (...) {
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  if (child > 0 && !wait_for(child, timeout_seconds, ended, &status)) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return out;
  }
  out.in_time = true;
  out.is_whole = child > 0 && WIFEXITED(status);
  read_whole(fmt::format("/proc/self/fd/{}", told.get()), &out.text);
  return out;
}

std::string take_line(std::string* text) {
  const std::size_t end = std::min(text->find('\n'), text->size());
  const std::string line = text->substr(0, end);
  text->erase(0, end + 1);
  return line;
}

}  // namespace mallard::cli
