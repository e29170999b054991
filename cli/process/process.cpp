// SPDX-License-Identifier: Apache-2.0
#include "cli/process/process.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>

#include "base/options.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/memory_file.hpp"
#include "elf/auxiliary_vector.hpp"
#include "elf/maps.hpp"
#include "outside/other_process.hpp"

namespace mallard::cli {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

[[noreturn]] void fail(int pid, int error) {
  if (error == ENOENT || error == ESRCH)
    throw Error(kUnreadable, fmt::format("process {} cannot be read: No such process", pid),
                "it has ended, or runs where this command cannot see it; ps -e shows those that can be seen");
  throw Error(kUnreadable, fmt::format("process {} cannot be read: {}", pid, std::strerror(error)),
              "run it as the user of that process, or as root");
}

/// A path to the file of a mapping: its own if it still has it, else the mapping's link.
std::string open_path_of(int pid, const elf::Mapping& m, const std::string& path) {
  struct stat facts {};
  const std::string by_path = fmt::format("/proc/{}/root{}", pid, path);
  if (!m.deleted && stat(by_path.c_str(), &facts) == 0 && facts.st_ino == m.inode) return by_path;
  const std::string by_link = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, m.begin, m.end);
  return access(by_link.c_str(), R_OK) == 0 ? by_link : std::string();
}

/// What the kernel was asked to start; empty where the memory may not be read.
std::string started_path(int pid) {
  const outside::OtherProcess process(pid);
  const std::uintptr_t at = elf::auxiliary_value(process, AT_EXECFN);
  std::string path;
  char c = 0;
  while (at != 0 && path.size() < PATH_MAX && process.get(at + path.size(), &c) && c != '\0') path += c;
  return path;
}

/// redis-server is a link to redis-check-rdb, and is not called so by anybody. It has put its address behind
/// its name, too, into what was its command line: "redis-server *:6379".
std::string name_of(int pid, const std::string& executable) {
  constexpr std::size_t kTitleBytes = 15;
  const auto last_part = [](const std::string& path) { return path.substr(path.rfind('/') + 1); };
  std::string words, title;
  if (!read_whole(fmt::format("/proc/{}/cmdline", pid), &words) ||
      !read_whole(fmt::format("/proc/{}/comm", pid), &title))
    return last_part(executable);
  const std::string first = words.c_str();
  for (const std::string& name : {last_part(first), last_part(first.substr(0, first.find_first_of(": "))),
                                  last_part(started_path(pid))})
    if (!name.empty() && title == name.substr(0, kTitleBytes) + "\n") return name;
  return last_part(executable);
}

}  // namespace

Process read_process(int pid) {
  const std::string folder = fmt::format("/proc/{}", pid);
  struct stat facts {};
  if (stat(folder.c_str(), &facts) != 0) fail(pid, errno);
  Process process;
  process.pid = pid;
  process.executable_open = folder + "/exe";
  char target[4096];
  const ssize_t length = readlink(process.executable_open.c_str(), target, sizeof target);
  if (length < 0 && errno == ENOENT)
    throw Error(kUnreadable, fmt::format("process {} cannot be read: it has no program", pid),
                "kernel threads and ended processes have none");
  if (length < 0) fail(pid, errno);
  process.executable.assign(target, static_cast<std::size_t>(length));
  if (process.executable.ends_with(kDeleted))
    process.executable.resize(process.executable.size() - kDeleted.size());
  process.name = name_of(pid, process.executable);

  std::string maps;
  if (!read_whole(folder + "/maps", &maps)) fail(pid, errno);
  std::set<std::string> seen = {process.executable};
  for (std::string_view rest = maps; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const std::optional<elf::Mapping> m = elf::parse_mapping(line);
    if (m && m->inode == 0 && m->executable && (m->path.empty() || m->path.starts_with("[anon")))
      process.generated_code.push_back({m->begin, m->end, ""});
    if (!m || m->inode == 0) continue;
    std::string path(m->path);
    path.resize(elf::unescape_path(m->path, path.data()));
    if (m->offset == 0) process.first_pages.try_emplace(path, m->begin);
    if (!m->executable) continue;
    process.code.push_back({m->begin, m->end, path});
    if (path.starts_with('/') && seen.insert(path).second)
      process.libraries.push_back({path, open_path_of(pid, *m, path)});
  }
  return process;
}

std::vector<pid_t> threads_of(int pid) {
  std::vector<pid_t> found;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), gone))
    if (const std::string word = entry.path().filename(); is_number(word)) found.push_back(std::stoi(word));
  return found;
}

std::vector<std::string> words_behind(const std::string& status_path, const std::string& name) {
  std::ifstream file(status_path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name + ":")) continue;
    std::istringstream words(line.substr(name.size() + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

std::uint64_t signal_set(const std::string& status_path, const std::string& name) {
  const std::vector<std::string> words = words_behind(status_path, name);
  return words.empty() ? 0 : std::stoull(words[0], nullptr, 16);
}

Seccomp seccomp_of(int pid) {
  const std::vector<std::string> words = words_behind(fmt::format("/proc/{}/status", pid), "Seccomp");
  if (words.empty() || words[0] == "0") return Seccomp::kNone;
  return words[0] == "1" ? Seccomp::kStrict : Seccomp::kFilter;
}

namespace {

std::string variable_of(int pid, const std::string& name) {
  std::ifstream file(fmt::format("/proc/{}/environ", pid), std::ios::binary);
  for (std::string entry; std::getline(file, entry, '\0');)
    if (entry.rfind(name + "=", 0) == 0) return entry.substr(name.size() + 1);
  return "";
}

bool is_text(const char* text, std::size_t bytes) { return std::memchr(text, '\0', bytes) != nullptr; }

/// Looks for OptionsInForce in the writable data of libmallard.so.
bool find_options(int pid, ProcessOptions* out) {
  const MemoryFile memory(pid);
  OptionsInForce copy;
  const std::uint64_t at = memory.is_open() ? memory.find_in_library({kOptionsMark, sizeof kOptionsMark}) : 0;
  if (at == 0 || !memory.read(at, &copy)) return false;
  const Options& o = copy.options;
  if (copy.bytes != sizeof copy || o.signal < 0 || o.signal > 64) return false;
  if (!is_text(o.report, sizeof o.report) || !is_text(o.temporary_directory, sizeof o.temporary_directory) ||
      !is_text(o.backend, sizeof o.backend) || !is_text(copy.serves, sizeof copy.serves) ||
      !is_text(o.wrappers, sizeof o.wrappers))
    return false;
  *out = {o.signal,   o.report, o.temporary_directory,
          o.control,  true,     *copy.serves ? copy.serves : o.backend,
          o.wrappers, o.backend};
  return true;
}

}  // namespace

ProcessOptions read_process_options(int pid) {
  ProcessOptions options{};
  if (find_options(pid, &options)) return options;
  const std::string signal = variable_of(pid, "ALLOC_SIGNAL"), report = variable_of(pid, "ALLOC_REPORT"),
                    directory = variable_of(pid, "TMPDIR");
  const Options preset;
  const int parsed = signal.empty() ? -1 : parse_signal(signal);
  options.signal = parsed < 0 ? preset.signal : parsed;
  options.report = report.empty() ? preset.report : report;
  options.backend = variable_of(pid, "ALLOC_BACKEND");
  options.requested = options.backend;
  options.wrappers = variable_of(pid, "ALLOC_WRAPPERS");
  options.control = variable_of(pid, "ALLOC_CONTROL") == "1";
  options.temporary_directory = directory.empty() ? preset.temporary_directory : directory;
  return options;
}

ReportSignal read_report_signal(int pid) {
  ReportSignal signal{read_process_options(pid).signal, false, true};
  if (signal.number == 0) return signal;
  const std::uint64_t bit = std::uint64_t{1} << (signal.number - 1);
  signal.caught = (signal_set(fmt::format("/proc/{}/status", pid), "SigCgt") & bit) != 0;
  for (const pid_t thread : threads_of(pid))
    signal.blocked = signal.blocked &&
                     (signal_set(fmt::format("/proc/{}/task/{}/status", pid, thread), "SigBlk") & bit) != 0;
  return signal;
}

}  // namespace mallard::cli
