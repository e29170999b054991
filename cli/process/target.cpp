// SPDX-License-Identifier: Apache-2.0
#include "cli/process/target.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <sstream>

#include "base/options.hpp"
#include "cli/decimal.hpp"
#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/attached.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/other_signal.hpp"
#include "cli/process/patient_thread.hpp"

namespace mallard::cli {
namespace {

std::string signal_name(int number) {
  FixedText<32> name;
  add_signal_name(name, number);
  return std::string(name.view());
}

/// The number that all of the word is, else 0.
int number_of(const std::string& word) {
  int number{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc() && end == word.data() + word.size() ? number : 0;
}

}  // namespace

Directory::Directory(const std::string& path) : fd_(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  if (fd_ < 0)
    throw Error(kUnreadable, fmt::format("'{}' cannot be opened: {}", path, std::strerror(errno)),
                "run it as the user of that process, or as root");
}
Directory::~Directory() { close(fd_); }
std::string Directory::path() const { return fmt::format("/proc/self/fd/{}", fd_); }

std::string Target::who() const { return fmt::format("process {} ('{}')", pid, name); }

std::vector<std::string> status_words(int pid, const std::string& name) {
  return words_behind(fmt::format("/proc/{}/status", pid), name);
}

Target look_at(int pid, const char* command) {
  const Process process = read_process(pid);
  const std::vector<std::string> leader = status_words(pid, "Tgid"), ids = status_words(pid, "NSpid");
  if (!leader.empty() && leader[0] != std::to_string(pid))
    throw Error(kUnreadable, fmt::format("{} is a thread of process {}", pid, leader[0]),
                fmt::format("mallard {} {}", command, leader[0]));
  Target t{pid, ids.empty() ? pid : std::stoi(ids.back()), {}, {}, {}, is_attached(pid), {}, {}};
  t.name = printable(process.name);
  bool loaded = t.is_attached;
  for (const ProcessObject& o : process.libraries)
    loaded = loaded || std::filesystem::path(o.path).filename().string().starts_with("libmallard.so");
  if (!loaded)
    throw NotPreloaded(
        kUnreadable, fmt::format("libmallard.so is not loaded in process {} ('{}')", pid, t.name),
        fmt::format("'mallard attach {0}' records it from now on; 'mallard inspect {0}' looks at it as it is", pid));
  t.signal = read_report_signal(pid);
  t.options = read_process_options(pid);
  t.root = std::make_shared<Directory>(fmt::format("/proc/{}/root", pid));
  t.here = std::make_shared<Directory>(fmt::format("/proc/{}/cwd", pid));
  return t;
}

void check_signal(const Target& t, const char* what) {
  const std::string name = signal_name(t.signal.number), who = t.who();
  if (seccomp_of(t.pid) == Seccomp::kStrict)
    throw CannotAnswer(kUnreadable, fmt::format("{} is in seccomp's strict mode: {} would end it", who, what),
                       fmt::format("mallard top {} reads it from outside", t.pid));
  if (t.is_attached)
    throw CannotAnswer(kUnreadable, fmt::format("{} was attached to, and answers no signal for {}", who, what),
                       fmt::format("mallard dump {0} and mallard top {0} read it from outside", t.pid));
  if (t.signal.number == 0)
    throw CannotAnswer(kUnreadable, fmt::format("no signal asks {} for {} (ALLOC_SIGNAL=none)", who, what),
                       "start it without ALLOC_SIGNAL=none, or with ALLOC_AT_EXIT=1");
  if (!t.signal.caught)
    throw CannotAnswer(
        kUnreadable, fmt::format("{} has no handler for {}, which would end it", who, name),
        "if it has just been started, try again; else " + signal_advice(t.pid, t.signal.number));
  if (t.signal.blocked)
    throw CannotAnswer(kUnreadable, blocked_words(t.pid, who, t.signal.number),
                       signal_advice(t.pid, t.signal.number));
  if (is_stopped(t.pid)) fail_stopped(t);
}

void fail_stopped(const Target& t) {
  const std::vector<std::string> state = status_words(t.pid, "State");
  throw Error(kUnreadable, fmt::format("{} is stopped, and cannot answer", t.who()),
              !state.empty() && state[0] == "t" ? "a debugger holds it"
                                                : fmt::format("let it go on: kill -CONT {}", t.pid));
}

void send_request(const Target& t, std::uint64_t value) {
  sigval with{};
  std::memcpy(&with, &value, sizeof with);
  // To a thread whose wait goes on afterwards, if there is one; the kernel's choice would be the main thread.
  if (const int thread = find_patient_thread(t.pid, t.signal.number)) {
    siginfo_t info{};
    info.si_signo = t.signal.number;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value = with;
    if (syscall(SYS_rt_tgsigqueueinfo, t.pid, thread, t.signal.number, &info) == 0) return;
  }
  if (sigqueue(t.pid, t.signal.number, with) == 0) return;
  const int error = errno;
  throw Error(
      kUnreadable,
      fmt::format("{} cannot be sent {}: {}", t.who(), signal_name(t.signal.number), std::strerror(error)),
      error == EPERM ? "run it as the user of that process, or as root" : "");
}

bool is_stopped(int pid) {
  const std::vector<std::string> state = status_words(pid, "State");
  return !state.empty() && (state[0] == "T" || state[0] == "t");
}

unsigned long long ProcessStat::number(Field field) const {
  return std::strtoull(fields[field].c_str(), nullptr, 10);
}

std::optional<ProcessStat> read_stat(int pid) {
  std::string text;
  if (!read_whole(fmt::format("/proc/{}/stat", pid), &text)) return {};
  // The name stands in brackets and may hold anything, brackets and blanks included.
  const std::size_t open = text.find('('), close = text.rfind(')');
  if (open == text.npos || close == text.npos || close < open) return {};
  std::istringstream words(text.substr(close + 1));
  ProcessStat stat{text.substr(open + 1, close - open - 1), {std::istream_iterator<std::string>(words), {}}};
  if (stat.fields.size() <= ProcessStat::kStartTicks) return {};
  return stat;
}

bool is_kernel_thread(int pid) {
  constexpr unsigned long long kKernelThread = 0x200000;  // PF_KTHREAD
  const std::optional<ProcessStat> stat = read_stat(pid);
  return stat && (stat->number(ProcessStat::kFlags) & kKernelThread) != 0;
}

bool is_gone(int pid) {
  const std::vector<std::string> state = status_words(pid, "State");
  if (state.empty() || state[0] == "Z" || state[0] == "X") return true;
  return status_words(pid, "VmSize").empty() && !is_kernel_thread(pid);
}

double now_seconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

double seconds_of(const std::string& word) {
  const double number = std::strtod(word.c_str(), nullptr);
  if (word.ends_with("ms")) return number / 1000;
  return number * (word.ends_with("m") ? 60 : word.ends_with("h") ? 3600 : 1);
}

std::string is_wait(const std::string& word) {
  double seconds;
  if (!read_decimal(word, &seconds)) seconds = 0;
  return seconds > 0 && std::isfinite(seconds) ? ""
                                               : fmt::format("'{}' is no number of seconds above 0", word);
}

void add_pid(CLI::App* command, std::string* word, const std::string& which) {
  const auto is_process = [](const std::string& given) {
    const bool is_name = !given.empty() && given[0] != '-' && !is_number(given);
    return is_name || number_of(given) > 0 ? "" : fmt::format("'{}' is no process id", given);
  };
  command->add_option("PID|NAME", *word, which + ": its id, or its name where that is the only one")
      ->required()
      ->check(is_process, "");
}

void add_timeout(CLI::App* command, double* seconds, const std::string& for_what) {
  command->add_option("--timeout", *seconds, fmt::format("How long to wait for the {}, in seconds", for_what))
      ->check(is_wait, "POSITIVE")
      ->capture_default_str();
}

}  // namespace mallard::cli
