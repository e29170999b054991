// SPDX-License-Identifier: Apache-2.0
// `mallard dump`: asks a running process for a report, waits for it and prints it.
#include <fcntl.h>
#include <fmt/format.h>
#include <glob.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/options.hpp"
#include "cli/commands.hpp"
#include "cli/file.hpp"
#include "cli/process.hpp"

namespace mallard::cli {
namespace {

using Json = nlohmann::json;

struct Request {
  int pid = 0;
  bool purge = false, json = false;
  double timeout_seconds = 30;
};

/// A directory of the process, usable even after it has ended.
class Directory {
 public:
  explicit Directory(const std::string& path) : fd_(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    if (fd_ < 0)
      throw Error(kUnreadable, fmt::format("'{}' cannot be opened: {}", path, std::strerror(errno)),
                  "run it as the user of that process, or as root");
  }
  ~Directory() { close(fd_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  std::string path() const { return fmt::format("/proc/self/fd/{}", fd_); }

 private:
  int fd_;
};

struct Target {
  int pid;
  int own_pid;  ///< the id that the process itself sees, which may be another namespace's
  std::string name;
  ReportSignal signal;
  std::vector<std::string>
      patterns;            ///< for glob: where its JSON reports may appear, as this command sees them
  std::string own_report;  ///< ALLOC_REPORT, for messages
  std::shared_ptr<Directory> root, here;
};

std::string signal_name(int number) {
  FixedText<32> name;
  add_signal_name(name, number);
  return std::string(name.view());
}

/// The words behind "Name:" in a status file.
std::vector<std::string> status_words(int pid, const std::string& name) {
  std::string text;
  read_whole(fmt::format("/proc/{}/status", pid), &text);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(name + ":", 0) != 0) continue;
    std::istringstream words(line.substr(name.size() + 1));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

/// ALLOC_REPORT as a pattern of glob. %e is any name: a program may be started under another one than its
/// file's.
std::string glob_pattern(const std::string& report, int own_pid) {
  std::string pattern;
  for (std::size_t i = 0; i < report.size(); ++i) {
    const char next = i + 1 < report.size() ? report[i + 1] : '\0';
    if (report[i] != '%' || next == '\0') {
      if (std::strchr("*?[\\", report[i])) pattern += '\\';
      pattern += report[i];
      continue;
    }
    ++i;
    if (next == 'e') pattern += '*';
    else if (next == 'p') pattern += std::to_string(own_pid);
    else if (next == 'n' || next == 't') pattern += "[0-9]*";
    else if (next == '%') pattern += '%';
    else pattern += fmt::format("%{}", next);
  }
  return pattern + ".json";
}

Target look_at(int pid) {
  const Process process = read_process(pid);
  const std::vector<std::string> leader = status_words(pid, "Tgid"), ids = status_words(pid, "NSpid");
  if (!leader.empty() && leader[0] != std::to_string(pid))
    throw Error(kUnreadable, fmt::format("{} is a thread of process {}", pid, leader[0]),
                fmt::format("mallard dump {}", leader[0]));
  Target t{pid, ids.empty() ? pid : std::stoi(ids.back()), {}, {}, {}, {}, {}, {}};
  t.name = std::filesystem::path(process.executable).filename();
  bool loaded = false;
  for (const ProcessObject& o : process.libraries)
    loaded = loaded || std::filesystem::path(o.path).filename().string().starts_with("libmallard.so");
  if (!loaded)
    throw Error(
        kUnreadable, fmt::format("libmallard.so is not loaded in process {} ('{}')", pid, t.name),
        fmt::format("start the program with 'mallard run'; 'mallard check {}' says what it would see", pid));
  t.signal = read_report_signal(pid);
  const ProcessOptions options = read_process_options(pid);
  t.own_report = options.report;
  t.root = std::make_shared<Directory>(fmt::format("/proc/{}/root", pid));
  t.here = std::make_shared<Directory>(fmt::format("/proc/{}/cwd", pid));
  const std::string file = options.report.substr(options.report.rfind('/') + 1);
  for (const std::string& path : {options.report, options.temporary_directory + "/" + file, "/tmp/" + file})
    t.patterns.push_back((path.starts_with('/') ? t.root->path() : t.here->path() + "/") +
                         glob_pattern(path, t.own_pid));
  return t;
}

/// A signal that nobody handles would end the process: all of this is checked before it is sent.
void check_signal(const Target& t) {
  const std::string name = signal_name(t.signal.number),
                    who = fmt::format("process {} ('{}')", t.pid, t.name);
  if (t.signal.number == 0)
    throw Error(kUnreadable, fmt::format("no signal asks {} for a report (ALLOC_SIGNAL=none)", who),
                "start it without ALLOC_SIGNAL=none, or with ALLOC_AT_EXIT=1");
  if (!t.signal.caught)
    throw Error(kUnreadable, fmt::format("{} has no handler for {}, which would end it", who, name),
                "if it has just been started, try again; else start it with ALLOC_SIGNAL=SIGRTMIN+5");
  if (t.signal.blocked)
    throw Error(kUnreadable, fmt::format("every thread of {} blocks {}", who, name),
                "start it with another signal: ALLOC_SIGNAL=SIGRTMIN+5");
  const std::vector<std::string> state = status_words(t.pid, "State");
  if (!state.empty() && (state[0] == "T" || state[0] == "t"))
    throw Error(kUnreadable, fmt::format("{} is stopped, and cannot answer", who),
                state[0] == "T" ? fmt::format("let it go on: kill -CONT {}", t.pid) : "a debugger holds it");
}

using Seen = std::map<std::string, ino_t>;

/// Reports that are there, by path; the inode tells a new file of an old name.
Seen reports_of(const Target& t) {
  Seen seen;
  for (const std::string& pattern : t.patterns) {
    glob_t found{};
    if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
      for (std::size_t i = 0; i < found.gl_pathc; ++i) {
        struct stat facts {};
        if (stat(found.gl_pathv[i], &facts) == 0) seen[found.gl_pathv[i]] = facts.st_ino;
      }
    globfree(&found);
  }
  return seen;
}

void send(const Target& t, bool purge) {
  sigval value{};
  value.sival_int = purge ? kPurgeRequest : kReportRequest;
  if (sigqueue(t.pid, t.signal.number, value) == 0) return;
  const int error = errno;
  throw Error(kUnreadable,
              fmt::format("process {} ('{}') cannot be sent {}: {}", t.pid, t.name,
                          signal_name(t.signal.number), std::strerror(error)),
              error == EPERM ? "run it as the user of that process, or as root" : "");
}

/// A path as people write it here, where the process sees the same files as this command.
std::string shown_path(const Target& t, const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code none;
  const std::string root = t.root->path(), here = t.here->path() + "/";
  if (!fs::equivalent(root, "/", none)) return path;
  if (path.starts_with(root + "/")) return path.substr(root.size());
  const fs::path directory = fs::read_symlink(t.here->path(), none);
  return none ? path : (directory / path.substr(here.size())).string();
}

struct Report {
  std::string path, text;
  Json json;
};

/// The first complete report of the process that is not among `before`.
bool find_new(const Target& t, const Seen& before, Report* out) {
  for (const auto& [path, inode] : reports_of(t)) {
    const auto old = before.find(path);
    if (old != before.end() && old->second == inode) continue;
    std::string text;
    if (!read_whole(path, &text)) {
      if (errno != EACCES) continue;
      throw Error(kUnreadable,
                  fmt::format("the report '{}' cannot be read: Permission denied", shown_path(t, path)),
                  "run it as the user of that process, or as root");
    }
    if (!text.ends_with("}\n")) continue;  // it is being written
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_object() || json.value("/process/pid"_json_pointer, 0) != t.own_pid) continue;
    *out = {path, std::move(text), std::move(json)};
    return true;
  }
  return false;
}

bool is_gone(int pid) {
  const std::vector<std::string> state = status_words(pid, "State");
  return state.empty() || state[0] == "Z" || state[0] == "X";
}

double now_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

Report ask(const Target& t, const Request& request) {
  Seen before = reports_of(t);
  const double until = now_seconds() + request.timeout_seconds;
  send(t, request.purge);
  while (true) {
    Report report;
    const bool gone = is_gone(t.pid);  // before the look at its files: one written in the last moment counts
    if (find_new(t, before, &report)) {
      const auto probe = report.json.find("probe");
      if (!request.purge || (probe != report.json.end() && probe->is_object())) return report;
      // Somebody else's signal was pending already: the kernel dropped ours, and its value.
      before = reports_of(t);
      send(t, request.purge);
      continue;
    }
    if (gone)
      throw Error(kUnreadable,
                  fmt::format("process {} ('{}') ended before it had written a report", t.pid, t.name));
    if (now_seconds() >= until) break;
    usleep(10'000);
  }
  throw Error(kUnreadable,
              fmt::format("process {} ('{}') has written no report within {:g} s", t.pid, t.name,
                          request.timeout_seconds),
              fmt::format("its standard error says why; it writes to '{}'{}, else to its temporary directory",
                          t.own_report, t.own_report.starts_with('/') ? "" : " in its working directory"));
}

std::string is_process_id(const std::string& word) {
  int id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error == std::errc() && end == word.data() + word.size() && id > 0) return {};
  return fmt::format("'{}' is no process id", word);
}

ExitStatus dump(const Request& request) {
  const Target target = look_at(request.pid);
  check_signal(target);
  const Report report = ask(target, request);
  if (request.json) {
    fmt::print("{}", report.text);
  } else {
    const std::string path = report.path.substr(0, report.path.size() - strlen(".json")) + ".txt";
    std::string text;
    if (!read_whole(path, &text))
      throw Error(kUnreadable, fmt::format("the report '{}' cannot be read: {}", shown_path(target, path),
                                           std::strerror(errno)));
    fmt::print("{}", text);
  }
  fmt::print(stderr, "mallard: {} (and .txt)\n", shown_path(target, report.path));
  return kDone;
}

}  // namespace

void add_dump(CLI::App& app, Run* run) {
  auto request = std::make_shared<Request>();
  CLI::App* command = app.add_subcommand("dump", "Ask a running process for a report and print it");
  command->add_option("PID", request->pid, "A process with libmallard.so loaded")
      ->required()
      ->check(is_process_id, "POSITIVE");
  command->add_flag(
      "--purge", request->purge,
      "Have the allocator asked to give back its free pages, after the report's figures are taken");
  command->add_flag("--json", request->json, "Print JSON instead of text");
  command->add_option("--timeout", request->timeout_seconds, "How long to wait for the report, in seconds")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->footer(
      "The report's path goes to standard error. --purge may hold the program up: glibc's malloc_trim keeps "
      "the\n"
      "arenas locked, up to seconds on large heaps.\n"
      "Examples:\n"
      "  mallard dump 4711\n"
      "  mallard dump --purge --json 4711\n"
      "Exit status: 0 done, 2 usage, 3 no such process, not preloaded, not permitted, or no answer");
  command->callback([request, run] { *run = [request] { return dump(*request); }; });
}

}  // namespace mallard::cli
