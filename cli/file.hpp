// SPDX-License-Identifier: Apache-2.0
// A regular file, read at offsets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace mallard::cli {

/// What follows the last slash.
inline std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

class File {
 public:
  /// \param shown  the path that messages name
  /// \throws Error if it cannot be opened or is no regular file
  File(const std::string& path, const std::string& shown);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int fd() const { return fd_; }
  std::uint64_t size() const { return size_; }
  bool holds(std::uint64_t offset, std::uint64_t bytes) const;
  /// As many bytes as the file has there. \throws Error if it cannot be read
  std::string read(std::uint64_t offset, std::size_t bytes) const;

 private:
  std::string shown_;
  int fd_;
  std::uint64_t size_ = 0;
};

/// Closes a descriptor at its end, unless that is -1.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  /// It is the caller's to close from now on.
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// All of a file that has no size, as in /proc. \return false if it cannot be read; errno says why
bool read_whole(const std::string& path, std::string* out);

}  // namespace mallard::cli
