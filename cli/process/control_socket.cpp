// SPDX-License-Identifier: Apache-2.0
#include "cli/process/control_socket.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "base/control_protocol.hpp"
#include "base/older.hpp"
#include "cli/error.hpp"

namespace mallard::cli {
namespace {

/// Acts as the user of the process, if this is root: what is made then belongs to that user, also in a user
/// namespace where root is nobody.
class AsUserOf {
 public:
  explicit AsUserOf(int pid) : before_(geteuid()) {
    const std::vector<std::string> ids = status_words(pid, "Uid");
    if (before_ == 0 && ids.size() > 1) switched_ = seteuid(static_cast<uid_t>(std::stoul(ids[1]))) == 0;
    mask_ = umask(0077);
  }
  ~AsUserOf() {
    umask(mask_);
    if (switched_ && seteuid(before_) != 0) std::abort();  // never go on as somebody else
  }
  AsUserOf(const AsUserOf&) = delete;
  AsUserOf& operator=(const AsUserOf&) = delete;

 private:
  uid_t before_;
  mode_t mask_;
  bool switched_ = false;
};

/// Opens a directory as the process sees it: its symbolic links begin at its own root.
int open_in_root(const Directory& root, const char* path) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT;
  const long fd = syscall(SYS_openat2, root.fd(), path, &how, sizeof how);
  if (fd >= 0 || errno != ENOSYS) return static_cast<int>(fd);
  return openat(root.fd(), path + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

}  // namespace

ControlSocket::ControlSocket(const Target& t) {
  while (number_ == 0)
    if (getrandom(&number_, sizeof number_, 0) != sizeof number_)
      throw Error(kUnreadable, "the kernel gives no random numbers");
  FixedText<64> name;
  add_control_name(name, t.own_pid, number_);
  name_ = std::string(name.view());
  Options options;
  std::snprintf(options.temporary_directory, sizeof options.temporary_directory, "%s",
                t.options.temporary_directory.c_str());
  for (int i = 0; const char* directory = control_directory(options, i); ++i) {
    if (make_in(t, directory)) return;
    why_not_ += fmt::format("{}'{}': {}", why_not_.empty() ? "" : ", ", directory, std::strerror(errno));
    remove();
  }
  throw Error(kUnreadable, fmt::format("no directory can hold a socket for {}: {}", t.who(), why_not_),
              "give the process a directory that its user may write: TMPDIR");
}

ControlSocket::~ControlSocket() { remove(); }

bool ControlSocket::make_in(const Target& t, const char* directory) {
  above_ = open_in_root(*t.root, directory);
  if (above_ < 0) return false;
  const AsUserOf user(t.pid);
  if (mkdirat(above_, name_.c_str(), 0700) != 0) {
    const int error = errno;
    close(above_);  // what is there is not ours to remove
    above_ = -1;
    errno = error;
    return false;
  }
  directory_ = openat(above_, name_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat facts {};
  if (directory_ < 0 || fstat(directory_, &facts) != 0) return false;
  if (facts.st_uid != geteuid() || (facts.st_mode & 077) != 0) {
    errno = EPERM;
    return false;
  }
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return false;
  sockaddr_un address{AF_UNIX, {}};
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory_, kControlSocket);
  umask(0177);  // put back with the user
  // Whoever connects sees the user of this moment: the process's own.
  return bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && listen(fd_, 4) == 0;
}

void ControlSocket::remove() {
  if (directory_ >= 0) unlinkat(directory_, kControlSocket, 0);
  if (above_ >= 0) unlinkat(above_, name_.c_str(), AT_REMOVEDIR);
  for (int* fd : {&fd_, &directory_, &above_}) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
}

std::uint64_t ControlSocket::signal_value() const {
  return std::uint64_t{number_} << 32 | static_cast<std::uint32_t>(kControlRequest);
}

}  // namespace mallard::cli
