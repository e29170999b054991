// SPDX-License-Identifier: Apache-2.0
// Gives readers of files the fuzzer's bytes as a file.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace mallard::fuzz {

/// One file in memory for all inputs.
class InputFile {
 public:
  InputFile() : fd_(memfd_create("input", MFD_CLOEXEC)) {
    if (fd_ < 0) std::abort();
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }
  int fd() const { return fd_; }
  void set(const std::uint8_t* data, std::size_t size) const {
    if (ftruncate(fd_, 0) != 0 || pwrite(fd_, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  }

 private:
  int fd_;
};

}  // namespace mallard::fuzz
