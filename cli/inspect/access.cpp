// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/access.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/target.hpp"
#include "outside/other_process.hpp"

namespace mallard::cli {
namespace {

[[noreturn]] void fail_gone(int pid) {
  throw Error(kUnreadable, fmt::format("process {} cannot be read: No such process", pid),
              "it has ended, or runs where this command cannot see it; ps -e shows those that can be seen");
}

std::string state_of(int pid) {
  const std::vector<std::string> words = status_words(pid, "State");
  return words.empty() ? std::string() : words[0];
}

/// What lets this user look, where the kernel refused.
std::string remedy(const std::string& folder) {
  struct stat facts {};
  if (geteuid() == 0)
    return "this root lacks CAP_SYS_PTRACE, as in a container: docker run --cap-add SYS_PTRACE, or use the "
           "host's root";
  const bool other_user = stat(folder.c_str(), &facts) == 0 && facts.st_uid != geteuid();
  std::string scope;
  if (!other_user && read_whole("/proc/sys/kernel/yama/ptrace_scope", &scope) && scope != "0\n")
    return "kernel.yama.ptrace_scope allows it to root alone: run it by sudo, or sudo sysctl "
           "kernel.yama.ptrace_scope=0";
  return other_user ? "it is another user's, or has dropped its privileges: run it by sudo"
                    : "it may not be dumped, or has more privileges than this command: run it by sudo";
}

/// \return 0 or an errno
int try_to_read(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  char some[8];  // pagemap is read by entries
  const int error = read(fd, some, sizeof some) < 0 ? errno : 0;
  close(fd);
  return error;
}

}  // namespace

Access find_access(int pid, const char* command) {
  const std::string folder = fmt::format("/proc/{}", pid);
  std::string name;
  if (!read_whole(folder + "/comm", &name)) fail_gone(pid);
  while (name.ends_with('\n')) name.pop_back();
  Access access;
  access.who = fmt::format("process {} ('{}')", pid, printable(name));
  if (const auto leader = status_words(pid, "Tgid"); !leader.empty() && leader[0] != std::to_string(pid))
    throw Error(kUnreadable, fmt::format("{} is a thread of process {}", pid, leader[0]),
                fmt::format("mallard {} {}", command, leader[0]));
  if (pid == getpid()) throw Error(kUsage, "this is the command itself", "give the id of another process");
  if (is_kernel_thread(pid))
    throw Error(kUnreadable,
                fmt::format("{} is a thread of the kernel, and has no memory of its own", access.who));
  if (is_gone(pid))
    throw Error(kUnreadable, fmt::format("{} has ended, and has no memory any more", access.who),
                state_of(pid) == "Z" ? "it waits for its parent to take note" : "");
  for (const char* file : {"/maps", "/pagemap"}) {
    const int error = try_to_read(folder + file);
    if (error == 0) continue;
    if (error == ESRCH || error == ENOENT) fail_gone(pid);
    throw Error(kUnreadable, fmt::format("{} cannot be looked at: {}", access.who, std::strerror(error)),
                remedy(folder));
  }
  if (const int error = outside::OtherProcess(pid).why_not_copied(); error != 0) {
    if (error == ESRCH) fail_gone(pid);
    access.may_copy = false;
    access.why_not = std::strerror(error);
    access.remedy = error == ENOSYS ? "this kernel has no process_vm_readv" : remedy(folder);
  }
  return access;
}

}  // namespace mallard::cli
