// SPDX-License-Identifier: Apache-2.0
// Another process's memory, read through /proc/PID/mem: the process notices nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mallard::cli {

/// Whether a path is that of the object which `mallard attach` loads: from its file, or from one in memory.
bool is_attached_object(std::string_view path);

class MemoryFile {
 public:
  /// \param writes  it is also to be written
  explicit MemoryFile(int pid, bool writes = false);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  /// False: it may not be read; errno says why.
  bool is_open() const { return fd_ >= 0; }
  /// \return true if all bytes were copied; false also after the process began another program
  bool read(std::uint64_t from, void* to, std::size_t bytes) const;
  template <typename T>
  bool read(std::uint64_t from, T* to) const {
    return read(from, to, sizeof *to);
  }
  /// \return true if all bytes were written
  bool write(std::uint64_t to, const void* from, std::size_t bytes) const;
  /// The address of `mark` in the writable data of libmallard.so, or of what `mallard attach` loaded; 0 = it
  /// is not there.
  std::uint64_t find_in_library(std::string_view mark) const;

 private:
  int pid_, fd_;
};

}  // namespace mallard::cli
