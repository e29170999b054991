// SPDX-License-Identifier: Apache-2.0
#include "cli/process/remembered.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "base/parts.hpp"
#include "cli/file.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/target.hpp"
#include "report/judge/remember.hpp"
#include "report/model/model.hpp"

namespace mallard::cli {
namespace {

namespace fs = std::filesystem;

/// The globals that remember (base/parts.hpp).
std::vector<Part> parts_that_remember() {
  std::vector<Part> found;
  const OwnParts own = own_parts();
  for (const std::string_view name :
       {"first_report", "previous_report", "trend", "reports", "past_points", "past_count", "thread_times"})
    for (const Part* part = own.begin; part != own.end; ++part)
      if (name == part->name) found.push_back(*part);
  return found;
}

struct Header {
  char which[96];
  char version[24];
  std::uint64_t bytes;    ///< of what follows
  std::uint64_t last_ns;  ///< when the last of the reports was taken, CLOCK_MONOTONIC
};

std::uint64_t bytes_of(const std::vector<Part>& parts) {
  std::uint64_t sum = 0;
  for (const Part& part : parts) sum += part.bytes;
  return sum;
}

/// The pid, when it began, and this run of the machine.
std::string which_process(int pid) {
  std::string boot;
  const std::optional<ProcessStat> stat = read_stat(pid);
  if (!stat || !read_whole("/proc/sys/kernel/random/boot_id", &boot)) return {};
  return fmt::format("{} {} {}", pid, stat->fields[ProcessStat::kStartTicks], boot.substr(0, boot.find('\n')));
}

/// A folder of this user's alone. \return empty: there is none
std::string own_folder() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const std::string folder = runtime && runtime[0] == '/' ? fmt::format("{}/mallard", runtime)
                                                          : fmt::format("/tmp/mallard-{}", geteuid());
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return {};
  struct stat facts {};
  const bool is_own = lstat(folder.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode) &&
                      facts.st_uid == geteuid() && (facts.st_mode & 077) == 0;
  return is_own ? folder : std::string();
}

void forget_ended(const std::string& folder) {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename();
    if (is_number(name) && name.size() < 10 && is_gone(std::stoi(name))) fs::remove(entry.path(), none);
  }
}

Header header_of(const std::string& which, std::uint64_t bytes) {
  Header header{};
  std::strncpy(header.which, which.c_str(), sizeof header.which - 1);
  std::strncpy(header.version, report::kVersion, sizeof header.version - 1);
  header.bytes = bytes;
  header.last_ns = report::last_report_ns();
  return header;
}

/// Writes what is not zero; the rest is a hole in the file.
bool write_sparse(int fd, const char* from, std::size_t bytes, off_t at) {
  static constexpr char kZeros[4096] = {};
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t n = std::min(sizeof kZeros, bytes - done);
    if (std::memcmp(from + done, kZeros, n) != 0 &&
        pwrite(fd, from + done, n, at + static_cast<off_t>(done)) != static_cast<ssize_t>(n))
      return false;
    done += n;
  }
  return true;
}

}  // namespace

Remembered::Remembered(int pid) : which_(which_process(pid)) {
  const std::string folder = which_.empty() ? std::string() : own_folder();
  if (folder.empty()) return;
  forget_ended(folder);
  path_ = fmt::format("{}/{}", folder, pid);
}

void Remembered::recall() const {
  if (path_.empty()) return;
  const Descriptor file(open(path_.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  const std::vector<Part> parts = parts_that_remember();
  Header header{};
  if (file.get() < 0 || read(file.get(), &header, sizeof header) != static_cast<ssize_t>(sizeof header))
    return;
  const Header wanted = header_of(which_, bytes_of(parts));
  if (std::memcmp(header.which, wanted.which, sizeof header.which) != 0 ||
      std::memcmp(header.version, wanted.version, sizeof header.version) != 0 ||
      header.bytes != wanted.bytes || header.last_ns <= wanted.last_ns)
    return;
  std::vector<char> all(header.bytes);
  if (pread(file.get(), all.data(), all.size(), sizeof header) != static_cast<ssize_t>(all.size())) return;
  std::size_t at = 0;
  for (const Part& part : parts) {
    std::memcpy(const_cast<void*>(part.at), all.data() + at, part.bytes);
    at += part.bytes;
  }
}

void Remembered::keep() const {
  if (path_.empty()) return;
  const std::string fresh = fmt::format("{}.{}", path_, getpid());
  const Descriptor file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.get() < 0) return;
  const std::vector<Part> parts = parts_that_remember();
  const Header header = header_of(which_, bytes_of(parts));
  bool is_kept = pwrite(file.get(), &header, sizeof header, 0) == static_cast<ssize_t>(sizeof header) &&
                 ftruncate(file.get(), static_cast<off_t>(sizeof header + header.bytes)) == 0;
  off_t at = sizeof header;
  for (const Part& part : parts) {
    is_kept = is_kept && write_sparse(file.get(), static_cast<const char*>(part.at), part.bytes, at);
    at += static_cast<off_t>(part.bytes);
  }
  if (!is_kept || rename(fresh.c_str(), path_.c_str()) != 0) unlink(fresh.c_str());
}

}  // namespace mallard::cli
