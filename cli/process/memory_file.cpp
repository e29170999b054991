// SPDX-License-Identifier: Apache-2.0
#include "cli/process/memory_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>

#include "elf/maps.hpp"

namespace mallard::cli {

bool is_attached_object(std::string_view path) {
  return path.find("/libmallard-attach.so") != path.npos ||
         path.find("memfd:libmallard-attach.so") != path.npos;
}

MemoryFile::MemoryFile(int pid, bool writes)
    : pid_(pid),
      fd_(open(fmt::format("/proc/{}/mem", pid).c_str(), (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC)) {}
MemoryFile::~MemoryFile() {
  if (fd_ >= 0) close(fd_);
}

bool MemoryFile::read(std::uint64_t from, void* to, std::size_t bytes) const {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t n = pread(fd_, at, bytes, static_cast<off_t>(from));
    if (n <= 0) return false;
    at += n;
    from += static_cast<std::uint64_t>(n);
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

bool MemoryFile::write(std::uint64_t to, const void* from, std::size_t bytes) const {
  return pwrite(fd_, from, bytes, static_cast<off_t>(to)) == static_cast<ssize_t>(bytes);
}

std::uint64_t MemoryFile::find_in_library(std::string_view mark) const {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid_));
  for (std::string line; std::getline(maps, line);) {
    const std::optional<elf::Mapping> m = elf::parse_mapping(line);
    if (!m || !m->writable) continue;
    if (m->path.find("/libmallard.so") == m->path.npos && !is_attached_object(m->path)) continue;
    std::string data(m->end - m->begin, '\0');
    const ssize_t n = pread(fd_, data.data(), data.size(), static_cast<off_t>(m->begin));
    if (n <= 0) continue;
    data.resize(static_cast<std::size_t>(n));
    if (const std::size_t at = data.find(mark); at != data.npos) return m->begin + at;
  }
  return 0;
}

}  // namespace mallard::cli
