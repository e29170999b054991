// SPDX-License-Identifier: Apache-2.0
// A buffered writer that remembers its first error: to a descriptor, or to whatever takes bytes.
#pragma once

#include <string.h>

#include <string_view>

#include "base/os.hpp"
#include "base/text.hpp"

namespace mallard::report {

class Sink {
 public:
  /// Takes bytes. \return 0 or a negated errno
  using Take = long (*)(void* to, const char* bytes, std::size_t size);

  explicit Sink(int fd) noexcept : fd_(fd) {}
  Sink(Take take, void* to) noexcept : take_(take), to_(to) {}
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  Sink& add(std::string_view text) noexcept {
    while (!text.empty()) {
      if (size_ == sizeof buffer_) flush();
      const std::size_t room = sizeof buffer_ - size_;
      const std::size_t n = text.size() < room ? text.size() : room;
      memcpy(buffer_ + size_, text.data(), n);
      size_ += n;
      text.remove_prefix(n);
    }
    return *this;
  }
  Sink& add(char c) noexcept { return add(std::string_view(&c, 1)); }
  Sink& add_spaces(std::size_t n) noexcept {
    for (; n > 0; --n) add(' ');
    return *this;
  }

  /// Lines that were ended so far.
  std::size_t lines() const noexcept { return lines_ + lines_in_buffer(); }

  /// \return 0, or the first negated errno
  long flush() noexcept {
    lines_ += lines_in_buffer();
    if (error_ == 0 && size_ > 0)
      error_ = take_ ? take_(to_, buffer_, size_) : os::write_all(fd_, buffer_, size_);
    size_ = 0;
    return error_;
  }

 private:
  std::size_t lines_in_buffer() const noexcept {
    std::size_t n = 0;
    for (char c : std::string_view(buffer_, size_)) n += c == '\n';
    return n;
  }

  int fd_ = -1;
  Take take_ = nullptr;
  void* to_ = nullptr;
  long error_ = 0;
  std::size_t size_ = 0, lines_ = 0;
  char buffer_[8192];
};

}  // namespace mallard::report
