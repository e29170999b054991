// SPDX-License-Identifier: Apache-2.0
// A command that is run for a comparison: in a process group of its own, with what it prints in files.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace mallard::cli::compare {

/// Thrown where a signal asked the command to end.
struct Interrupted {};

/// Takes SIGINT, SIGTERM and SIGHUP while it lives: each asks the comparison to end, which stops what it
/// started and prints what it has.
class InterruptWatch {
 public:
  InterruptWatch();
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;
  /// \throws Interrupted if a signal has come
  static void check();
};

/// How a command ended.
struct Ending {
  bool exited = false;  ///< else by a signal, `number`
  int number = 0;
  double cpu_seconds = 0;
  double peak_bytes = 0;  ///< resident, as the kernel counts it
  std::uint64_t faults = 0;

  bool is_success() const { return exited && number == 0; }
  std::string text() const;  ///< "ended with status 1", "was killed by signal 11 (Segmentation fault)"
};

class Child {
 public:
  /// \param output  a file that gets standard output; standard error goes to one beside it
  /// \throws Error if it cannot be started
  Child(const std::vector<std::string>& command,
        const std::vector<std::pair<std::string, std::string>>& variables, const std::string& output);
  /// Kills the whole group if it has not been waited for.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int pid() const { return pid_; }
  std::string printed() const;  ///< on standard output
  std::string errors() const;   ///< on standard error
  /// What it printed last, or what mallard complained of in it, for a message: `: "..."`; empty if nothing.
  std::string last_words() const;
  /// \return true if it has ended, and then how
  bool has_ended(Ending* out);
  /// Sends the signal, and SIGKILL to its group after some seconds. \return false if it had to be killed
  bool stop(int signal, double seconds);

 private:
  void kill_group();

  int pid_;
  bool ended_ = false;
  Ending ending_;
  std::string output_;
};

}  // namespace mallard::cli::compare
