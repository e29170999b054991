// SPDX-License-Identifier: Apache-2.0
#include "cli/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cli/error.hpp"

namespace mallard::cli {

File::File(const std::string& path, const std::string& shown) : shown_(shown) {
  // O_NONBLOCK: a FIFO must not hold us up.
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0)
    throw Error(kUnreadable, fmt::format("'{}' cannot be opened: {}", shown, std::strerror(errno)),
                errno == EACCES ? "run it as a user who may read the file" : "");
  struct stat facts {};
  const int error = fstat(fd_, &facts) != 0 ? errno : S_ISDIR(facts.st_mode) ? EISDIR : 0;
  if (error == 0 && S_ISREG(facts.st_mode)) {
    size_ = static_cast<std::uint64_t>(facts.st_size);
    return;
  }
  ::close(fd_);
  if (error == 0) throw Error(kUnreadable, fmt::format("'{}' cannot be read: Not a regular file", shown));
  throw Error(kUnreadable, fmt::format("'{}' cannot be read: {}", shown, std::strerror(error)));
}

File::~File() { ::close(fd_); }

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

bool File::holds(std::uint64_t offset, std::uint64_t bytes) const {
  return offset <= size_ && bytes <= size_ - offset;
}

std::string File::read(std::uint64_t offset, std::size_t bytes) const {
  if (offset >= size_) return {};
  std::string to(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, size_ - offset)), '\0');
  std::size_t have = 0;
  while (have < to.size()) {
    const ssize_t r = pread(fd_, to.data() + have, to.size() - have, static_cast<off_t>(offset + have));
    if (r < 0 && errno == EINTR) continue;
    if (r < 0) throw Error(kUnreadable, fmt::format("'{}' cannot be read: {}", shown_, std::strerror(errno)));
    if (r == 0) break;
    have += static_cast<std::size_t>(r);
  }
  to.resize(have);
  return to;
}

bool read_whole(const std::string& path, std::string* out) {
  out->clear();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  char buffer[65536];
  ssize_t r;
  while ((r = ::read(fd, buffer, sizeof buffer)) > 0 || (r < 0 && errno == EINTR))
    if (r > 0) out->append(buffer, static_cast<std::size_t>(r));
  const int error = errno;
  ::close(fd);
  errno = error;
  return r == 0;
}

}  // namespace mallard::cli
