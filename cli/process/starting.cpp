// SPDX-License-Identifier: Apache-2.0
// A process that was started a moment ago: a shell's fork, `mallard run` before it becomes the program, a
// program whose libraries are being loaded. `mallard run ... & mallard dump $!` asks such a one.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {
namespace {

constexpr double kYoungSeconds = 30;   // older than that, a process starts no more
constexpr double kLoadingSeconds = 5;  // from the first look on; a busy machine takes some tenths
constexpr double kForkedSeconds = 1;   // what is no shell and has not become another program by then is a worker
constexpr double kHeldSeconds = 1;     // `mallard run` holds the signal back until its handler is there
constexpr double kChangingSeconds =
    0.5;  // in the middle of exec it shows neither what it was nor what it will be
constexpr unsigned kForkedOnly = 0x40;  // PF_FORKNOEXEC of the kernel: it runs the program of its parent

struct Age {
  double seconds = kYoungSeconds + 1;
  bool is_forked_only = false;
};

Age age_of(int pid) {
  std::string uptime;
  Age age;
  const std::optional<ProcessStat> stat = read_stat(pid);
  if (!stat || !read_whole("/proc/uptime", &uptime)) return age;
  age.is_forked_only = (stat->number(ProcessStat::kFlags) & kForkedOnly) != 0;
  age.seconds = std::stod(uptime) - static_cast<double>(stat->number(ProcessStat::kStartTicks)) /
                                        static_cast<double>(sysconf(_SC_CLK_TCK));
  return age;
}

/// Whether it runs a shell, whose forks may do something else before they become the program that they were made for.
bool is_shell(int pid) {
  std::error_code none;
  const std::string name = std::filesystem::read_symlink(fmt::format("/proc/{}/exe", pid), none).filename();
  constexpr std::string_view kShells[] = {"ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "sh", "zsh"};
  return std::find(std::begin(kShells), std::end(kShells), name) != std::end(kShells);
}

/// `mallard run`, which becomes the program in the next moment.
bool is_about_to_run(int pid) {
  std::string words;
  if (!read_whole(fmt::format("/proc/{}/cmdline", pid), &words) ||
      words.find(std::string_view("\0run\0", 5)) == words.npos)
    return false;
  struct stat own {
  }, its{};
  return stat("/proc/self/exe", &own) == 0 && stat(fmt::format("/proc/{}/exe", pid).c_str(), &its) == 0 &&
         own.st_ino == its.st_ino && own.st_dev == its.st_dev;
}

bool is_told_to_preload(int pid) {
  std::string environment;
  if (!read_whole(fmt::format("/proc/{}/environ", pid), &environment)) return false;
  environment.insert(0, 1, '\0');
  const std::size_t at = environment.find(std::string_view("\0LD_PRELOAD=", 12));
  return at != environment.npos && environment.find("libmallard.so", at) < environment.find('\0', at + 1);
}

/// Whether a process that cannot be asked may be ready soon. A worker that was forked by a server and blocks
/// the signal looks like a shell's fork, but for the handler.
bool may_be_starting(int pid, const std::optional<Target>& target, double waited_seconds) {
  if (is_about_to_run(pid)) return true;
  if (target && target->is_attached) return false;  // a server's worker that was forked a moment ago
  if (target && target->signal.caught && waited_seconds >= kHeldSeconds) return false;
  const Age age = age_of(pid);
  if (age.seconds > kYoungSeconds || is_gone(pid)) return false;
  if (waited_seconds < kChangingSeconds) return true;
  if (age.is_forked_only) return waited_seconds < (is_shell(pid) ? kYoungSeconds : kForkedSeconds);
  return (target || is_told_to_preload(pid)) && waited_seconds < kLoadingSeconds;
}

}  // namespace

Target wait_for_start(int pid, const char* command, const char* what, double timeout_seconds) {
  const double began = now_seconds();
  while (true) {
    std::optional<Target> target;
    try {
      target = look_at(pid, command);
      check_signal(*target, what ? what : "this");
      return *target;
    } catch (const Error&) {
      const double waited = now_seconds() - began;
      const bool waits = !is_stopped(pid) && waited < timeout_seconds && may_be_starting(pid, target, waited);
      if (!waits && target && !what) return *target;
      if (!waits) throw;
    }
    usleep(10'000);
  }
}

}  // namespace mallard::cli
