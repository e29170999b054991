// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/core_input.hpp"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "cli/demangled.hpp"
#include "cli/error.hpp"

extern char** environ;

namespace mallard::cli {
namespace {

struct Format {
  std::string_view magic;
  const char* command;
};
constexpr Format kFormats[] = {
    {"\x28\xb5\x2f\xfd", "zstd"}, {"\x04\x22\x4d\x18", "lz4"}, {"\xfd\x37zXZ", "xz"}, {"\x1f\x8b", "gzip"}};

std::string beginning_of(int fd) {
  char bytes[sizeof(Elf64_Ehdr)];
  const ssize_t n = pread(fd, bytes, sizeof bytes, 0);
  return {bytes, n > 0 ? static_cast<std::size_t>(n) : 0};
}

const Format* format_of(std::string_view beginning) {
  for (const Format& format : kFormats)
    if (beginning.starts_with(format.magic)) return &format;
  return nullptr;
}

[[noreturn]] void fail(const std::string& path, const std::string& why, const std::string& hint = "") {
  throw Error(kUnreadable, fmt::format("core file '{}' cannot be read: {}", printable(path), why), hint);
}

int unnamed_file(const std::string& path) {
  const char* wished = std::getenv("TMPDIR");
  for (const char* folder : {wished && *wished ? wished : "/var/tmp", "/tmp"}) {
    std::string name = fmt::format("{}/mallard-core-XXXXXX", folder);
    const int fd = mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0) continue;
    unlink(name.c_str());
    return fd;
  }
  fail(path, fmt::format("no temporary file for what it decompresses to: {}", std::strerror(errno)),
       "TMPDIR names a folder with room");
}

/// Copies what comes; blocks of zeros become holes. \return bytes, or a negated errno
long copy_sparse(int from, int to) {
  constexpr std::size_t kBlock = 64 << 10;
  std::vector<char> block(kBlock);
  long size = 0;
  for (;;) {
    std::size_t have = 0;
    while (have < kBlock) {
      const ssize_t n = read(from, block.data() + have, kBlock - have);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return -errno;
      if (n == 0) break;
      have += static_cast<std::size_t>(n);
    }
    const auto end = block.begin() + static_cast<std::ptrdiff_t>(have);
    const bool zeros = std::all_of(block.begin(), end, [](char c) { return c == 0; });
    for (std::size_t done = 0; !zeros && done < have;) {
      const ssize_t n = pwrite(to, block.data() + done, have - done, size + static_cast<long>(done));
      if (n <= 0) return n < 0 ? -errno : -EIO;
      done += static_cast<std::size_t>(n);
    }
    size += static_cast<long>(have);
    if (have < kBlock) return ftruncate(to, size) == 0 ? size : -errno;
  }
}

/// Runs the command over the file. \return the descriptor of what it wrote
int decompressed(const std::string& path, int in, const char* command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail(path, std::strerror(errno));
  Descriptor out(ends[0]), into(ends[1]);
  Descriptor file(unnamed_file(path));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, into.get(), 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  std::string name = command, options = "-dc";
  char* arguments[] = {name.data(), options.data(), nullptr};
  pid_t child;
  const int error = posix_spawnp(&child, command, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    fail(path,
         fmt::format("it is compressed, and the command '{}' cannot be run: {}", command,
                     std::strerror(error)),
         fmt::format("install {}, or decompress the file first", command));
  close(into.release());
  const long size = copy_sparse(out.get(), file.get());
  close(out.release());
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (size < 0)
    fail(path,
         fmt::format("what it decompresses to cannot be stored: {}", std::strerror(static_cast<int>(-size))),
         "TMPDIR names a folder with room");
  constexpr int kWarning = 2;  // of gzip and xz: all of it was there, and something else behind it
  const bool done = WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kWarning);
  if (size == 0 || !done)
    fail(path,
         fmt::format("'{}' cannot decompress {} of it: it is cut short or damaged", command,
                     size == 0 ? "any" : "all"),
         size == 0 ? ""
                   : fmt::format("decompress what there is of it by '{} -dc', and inspect that", command));
  return file.release();
}

/// \return a descriptor of the core itself
int open_core(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) fail(path, std::strerror(errno));
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) fail(path, "it is no regular file");
  const Format* format = format_of(beginning_of(file.get()));
  return format ? decompressed(path, file.get(), format->command) : file.release();
}

}  // namespace

CoreInput::CoreInput(const std::string& path) : file_(open_core(path)) {}

bool names_core(const std::string& word) {
  if (word.find('/') != word.npos) return true;
  const Descriptor file(open(word.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat facts {};
  if (file.get() < 0 || fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return false;
  const std::string beginning = beginning_of(file.get());
  if (format_of(beginning)) return true;
  Elf64_Ehdr header;
  if (beginning.size() < sizeof header || !beginning.starts_with(ELFMAG)) return false;
  std::memcpy(&header, beginning.data(), sizeof header);
  return header.e_type == ET_CORE;
}

}  // namespace mallard::cli
