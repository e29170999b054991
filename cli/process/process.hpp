// SPDX-License-Identifier: Apache-2.0
// A running process, as /proc shows it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mallard::cli {

struct ProcessObject {
  std::string path;       ///< as the process sees it
  std::string open_path;  ///< where this command can open the very file; empty = nowhere any more
};

/// Executable memory, of a file or, with an empty path, of none.
struct ProcessRange {
  std::uintptr_t begin, end;
  std::string path;
};

struct Process {
  int pid;
  std::string executable;       ///< path as the process sees it
  std::string executable_open;  ///< /proc/PID/exe
  std::string name;             ///< under which it was started, if it still bears it; else the file's
  std::vector<ProcessObject> libraries;               ///< mapped executable, without the executable itself
  std::vector<ProcessRange> code;                     ///< of files
  std::vector<ProcessRange> generated_code;           ///< of no file: what a just-in-time compiler has made
  std::map<std::string, std::uintptr_t> first_pages;  ///< path -> where offset 0 of the file is mapped
};

/// \throws Error if there is no such process, it may not be read, or it has no program (kernel thread,
/// zombie)
Process read_process(int pid);

/// Its threads; none if it is gone.
std::vector<pid_t> threads_of(int pid);

/// The words behind "Name:" in a status file; none if the process is gone.
std::vector<std::string> words_behind(const std::string& status_path, const std::string& name);

/// A set of signals, bit 0 for signal 1, from a line such as "SigCgt:\t0000000000000800"; 0 if the process is
/// gone.
std::uint64_t signal_set(const std::string& status_path, const std::string& name);

/// What the kernel lets a process call (seccomp(2)).
enum class Seccomp { kNone, kStrict, kFilter };
Seccomp seccomp_of(int pid);

/// The options of libmallard.so in a running process.
struct ProcessOptions {
  int signal;          ///< 0 = none
  std::string report;  ///< ALLOC_REPORT
  std::string temporary_directory;
  bool control;             ///< ALLOC_CONTROL
  bool certain;             ///< read from the library's own memory
  std::string backend;      ///< who serves, or, in its environment, ALLOC_BACKEND; empty = not known
  std::string wrappers{};   ///< ALLOC_WRAPPERS
  std::string requested{};  ///< ALLOC_BACKEND
};

/// Read from the library's own memory, or, where that is not permitted, from the environment, which a program
/// may have overwritten. \throws Error if the process is gone or may not be read
ProcessOptions read_process_options(int pid);

/// The signal that asks a process for a report, and whether it gets through.
struct ReportSignal {
  int number;    ///< of ALLOC_SIGNAL in its environment, or the default; 0 = none
  bool caught;   ///< some handler is installed
  bool blocked;  ///< by every thread
};

/// \throws Error if the process is gone or may not be read
ReportSignal read_report_signal(int pid);

}  // namespace mallard::cli
