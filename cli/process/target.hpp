// SPDX-License-Identifier: Apache-2.0
// A process with libmallard.so that is to be asked something: who it is, where its files are, and whether its
// signal can be sent without harm.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/error.hpp"
#include "cli/process/process.hpp"

namespace CLI {
class App;
}

namespace mallard::cli {

/// A directory of the process, usable even after it has ended.
class Directory {
 public:
  explicit Directory(const std::string& path);
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  int fd() const { return fd_; }
  std::string path() const;

 private:
  int fd_;
};

struct Target {
  int pid;
  int own_pid;  ///< the id that the process itself sees, which may be another namespace's
  std::string name;
  ReportSignal signal;
  ProcessOptions options;
  bool is_attached;  ///< recorded by what `mallard attach` loaded, which answers no signal
  std::shared_ptr<Directory> root, here;

  /// The process as messages name it: "process 4711 ('redis-server')".
  std::string who() const;
};

/// libmallard.so is not loaded in the process.
struct NotPreloaded : Error {
  using Error::Error;
};

/// It is there and goes on, but cannot be asked, or cannot do what it is asked for; from outside it can be
/// looked at.
struct CannotAnswer : Error {
  using Error::Error;
};

/// \throws Error if there is no such process, it may not be read, or libmallard.so is not loaded in it
/// \param command  the subcommand, for hints
Target look_at(int pid, const char* command);

/// A signal that nobody handles would end the process: all of this is checked before it is sent.
/// \param what  that the signal asks for: "a report" \throws CannotAnswer if it cannot be sent, Error if the
/// process is stopped
void check_signal(const Target& target, const char* what);

/// look_at() and check_signal() of a process that may be starting: waits for it as long as it shows that it
/// is about to become a program with mallard. \throws Error as these do
/// \param what  nullptr: that its signal cannot be sent is no error
Target wait_for_start(int pid, const char* command, const char* what, double timeout_seconds);

/// Sends the report signal with a value. \throws Error if that is not permitted, or the process is gone
void send_request(const Target& target, std::uint64_t value);

/// The words behind "Name:" in a status file; none if the process is gone.
std::vector<std::string> status_words(int pid, const std::string& name);

/// /proc/PID/stat.
struct ProcessStat {
  enum Field : std::size_t {  ///< of `fields`
    kState = 0,
    kFlags = 6,
    kMinorFaults = 7,
    kMajorFaults = 9,
    kUserTicks = 11,
    kSystemTicks = 12,
    kThreads = 17,
    kStartTicks = 19,
  };
  std::string name;
  std::vector<std::string> fields;  ///< those behind the name
  unsigned long long number(Field field) const;
};
/// \return none if the process is gone
std::optional<ProcessStat> read_stat(int pid);

bool is_kernel_thread(int pid);
/// Whether it has ended. One that is ending, and has given back its memory, has.
bool is_gone(int pid);
bool is_stopped(int pid);  ///< by a signal or a debugger
/// \throws Error, with what lets it go on
[[noreturn]] void fail_stopped(const Target& target);

double now_seconds();  ///< CLOCK_MONOTONIC

/// Adds what a subcommand takes that asks a process: PID, --timeout. The word becomes a process by
/// process_of().
void add_pid(CLI::App* command, std::string* word, const std::string& which);
void add_timeout(CLI::App* command, double* seconds, const std::string& for_what);
/// Parses the number part of an interval ("30s", "5m"), which what_is_expected("ALLOC_INTERVAL") has nothing
/// against.
double seconds_of(const std::string& word);
/// The complaint for CLI11 about a word that is no finite number of seconds above 0; empty if it is one. The
/// checks of CLI11 let "nan" pass.
std::string is_wait(const std::string& word);

}  // namespace mallard::cli
