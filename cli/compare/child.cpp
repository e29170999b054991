// SPDX-License-Identifier: Apache-2.0
#include "cli/compare/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli::compare {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;
struct sigaction g_before[3];
constexpr int kEnding[3] = {SIGINT, SIGTERM, SIGHUP};

void on_signal(int) { g_interrupted = 1; }

double seconds_of(const timeval& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
}

[[noreturn]] void become(const std::vector<std::string>& command,
                         const std::vector<std::pair<std::string, std::string>>& variables, int output,
                         int errors) {
  for (int signal : kEnding) std::signal(signal, SIG_DFL);
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, 0);
  dup2(output, 1);
  dup2(errors, 2);
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execvp(words[0], words.data());
  _exit(127);
}

constexpr const char* kErrors = ".errors";

int new_file(const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file >= 0) return file;
  throw Error(kUnreadable, fmt::format("'{}' cannot be written: {}", path, std::strerror(errno)),
              "make room there, or name another directory with --keep");
}

std::string all_of(const std::string& path) {
  std::string text;
  read_whole(path, &text);
  return text;
}

}  // namespace

InterruptWatch::InterruptWatch() {
  g_interrupted = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (int i = 0; i < 3; ++i) sigaction(kEnding[i], &action, &g_before[i]);
}

InterruptWatch::~InterruptWatch() {
  for (int i = 0; i < 3; ++i) sigaction(kEnding[i], &g_before[i], nullptr);
}

void InterruptWatch::check() {
  if (g_interrupted) throw Interrupted{};
}

std::string Ending::text() const {
  if (exited) return fmt::format("ended with status {}", number);
  return fmt::format("was killed by signal {} ({})", number, strsignal(number));
}

Child::Child(const std::vector<std::string>& command,
             const std::vector<std::pair<std::string, std::string>>& variables, const std::string& output)
    : output_(output) {
  const int file = new_file(output), errors = new_file(output + kErrors);
  pid_ = fork();
  if (pid_ == 0) become(command, variables, file, errors);
  const int why = errno;
  close(file);
  close(errors);
  if (pid_ < 0)
    throw Error(kUnreadable, fmt::format("'{}' cannot be started: {}", command[0], std::strerror(why)));
  setpgid(pid_, pid_);  // whoever comes first
}

std::string Child::printed() const { return all_of(output_); }
std::string Child::errors() const { return all_of(output_ + kErrors); }

std::string Child::last_words() const {
  const std::string theirs = errors();
  const std::size_t ours = theirs.rfind("mallard: error: ");
  for (std::string text :
       {ours == theirs.npos ? theirs : theirs.substr(ours, theirs.find('\n', ours) - ours), printed()}) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    const std::string line = printable(text.substr(text.rfind('\n') + 1));
    if (!line.empty()) return fmt::format(": \"{}\"", line.substr(0, 160));
  }
  return "";
}

Child::~Child() {
  if (ended_) return;
  kill_group();
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Child::kill_group() { kill(-pid_, SIGKILL); }

bool Child::has_ended(Ending* out) {
  if (!ended_) {
    int status = 0;
    rusage used{};
    siginfo_t info{};
    if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
      return false;
    kill_group();  // what it left behind, as long as nobody else can have its id
    if (wait4(pid_, &status, WNOHANG, &used) != pid_) return false;
    ended_ = true;
    ending_.exited = WIFEXITED(status);
    ending_.number = ending_.exited ? WEXITSTATUS(status) : WTERMSIG(status);
    ending_.cpu_seconds = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
    ending_.peak_bytes = static_cast<double>(used.ru_maxrss) * 1024;
    ending_.faults = static_cast<std::uint64_t>(used.ru_minflt + used.ru_majflt);
  }
  *out = ending_;
  return true;
}

bool Child::stop(int signal, double seconds) {
  const double until = now_seconds() + seconds;
  Ending how;
  if (has_ended(&how)) return true;
  kill(pid_, signal);
  while (!has_ended(&how)) {
    if (now_seconds() > until) {
      kill_group();
      while (!has_ended(&how)) usleep(1000);
      return false;
    }
    usleep(5000);
  }
  return true;
}

}  // namespace mallard::cli::compare
