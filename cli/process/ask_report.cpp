// SPDX-License-Identifier: Apache-2.0
#include "cli/process/ask_report.hpp"

#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <initializer_list>

#include "base/control_protocol.hpp"
#include "base/options.hpp"
#include "base/say.hpp"
#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"

namespace mallard::cli {
namespace {

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

/// Whether it is none of the process's files: in a directory where everybody may write, somebody else may
/// have put one of that name, or a FIFO that would hold us up.
bool is_foreign(const std::string& path, const std::vector<std::string>& users) {
  struct stat facts {
  }, above{};
  if (lstat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return true;
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  if (stat(directory.c_str(), &above) != 0 || !(above.st_mode & S_IWOTH)) return false;
  return facts.st_uid != 0 && facts.st_uid != geteuid() &&
         std::find(users.begin(), users.end(), std::to_string(facts.st_uid)) == users.end();
}

/// 0 where there is none
std::int64_t pid_of(const nlohmann::json& report) {
  const auto process = report.find("process");
  if (process == report.end() || !process->is_object()) return 0;
  const auto pid = process->find("pid");
  return pid != process->end() && pid->is_number_integer() ? pid->get<std::int64_t>() : 0;
}

constexpr const char* kFilterHint =
    "it has a seccomp filter, which may forbid what a report needs (a thread, files)";

}  // namespace

ReportWatch::ReportWatch(Target target)
    : target_(std::move(target)),
      memory_(target_.pid),
      seccomp_(seccomp_of(target_.pid)),
      users_(status_words(target_.pid, "Uid")) {
  const Target& t = target_;
  const ProcessOptions& options = t.options;
  if (memory_.is_open()) failure_at_ = memory_.find_in_library({say::kFailureMark, sizeof say::kFailureMark});
  const std::string file = options.report.substr(options.report.rfind('/') + 1);
  for (const std::string& path : {options.report, options.temporary_directory + "/" + file, "/tmp/" + file})
    patterns_.push_back((path.starts_with('/') ? t.root->path() : t.here->path() + "/") +
                        glob_pattern(path, t.own_pid));
}

ReportWatch::Seen ReportWatch::reports_now() const {
  Seen seen;
  for (const std::string& pattern : patterns_) {
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

/// \throws CannotAnswer with what the library has said since it was asked, BecameAnother if it is there no
/// more
void ReportWatch::look_for_failure() const {
  say::LastFailure failure{};
  if (failure_at_ == 0 || is_gone(target_.pid)) return;
  if (!memory_.read(failure_at_, &failure)) {
    if (!is_gone(target_.pid))
      throw BecameAnother(kUnreadable, fmt::format("{} became another program", target_.who()));
    return;
  }
  if (failure.count == failures_before_) return;
  failure.text[sizeof failure.text - 1] = '\0';
  throw CannotAnswer(kUnreadable,
                     fmt::format("{} has written no report: {}", target_.who(), printable(failure.text)));
}

void ReportWatch::send(bool purge) {
  before_ = reports_now();
  say::LastFailure failure{};
  if (failure_at_ != 0 && memory_.read(failure_at_, &failure)) failures_before_ = failure.count;
  send_request(target_, static_cast<std::uint32_t>(purge ? kPurgeRequest : kReportRequest));
}

std::string ReportWatch::shown_path(const std::string& path) const {
  namespace fs = std::filesystem;
  std::error_code none;
  const std::string root = target_.root->path(), here = target_.here->path() + "/";
  if (!fs::equivalent(root, "/", none)) return path;
  if (path.starts_with(root + "/")) return path.substr(root.size());
  const fs::path directory = fs::read_symlink(target_.here->path(), none);
  return none ? path : (directory / path.substr(here.size())).string();
}

/// The first complete report of the process that was not there when it was asked.
bool ReportWatch::find_new(NewReport* out) const {
  for (const auto& [path, inode] : reports_now()) {
    const auto old = before_.find(path);
    if (old != before_.end() && old->second == inode) continue;
    std::string text;
    if (is_foreign(path, users_)) continue;
    if (!read_whole(path, &text)) {
      if (errno != EACCES) continue;
      throw Error(kUnreadable,
                  fmt::format("the report '{}' cannot be read: Permission denied", shown_path(path)),
                  "run it as the user of that process, or as root");
    }
    if (!text.ends_with("}\n")) continue;  // it is being written
    nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object() || pid_of(json) != target_.own_pid) continue;
    *out = {path, std::move(text), std::move(json)};
    return true;
  }
  return false;
}

NewReport ReportWatch::ask(bool purge, double timeout_seconds, const std::atomic<bool>* stop) {
  const Target& t = target_;
  const double until = now_seconds() + timeout_seconds;
  send(purge);
  while (true) {
    NewReport report;
    const bool gone = is_gone(t.pid);  // before the look at its files: one written in the last moment counts
    if (find_new(&report)) {
      const auto probe = report.json.find("probe");
      if (!purge || (probe != report.json.end() && probe->is_object())) return report;
      // Somebody else's signal was pending already: the kernel dropped ours, and its value.
      send(purge);
      continue;
    }
    if (is_stopped(t.pid)) fail_stopped(t);
    look_for_failure();
    if (gone)
      throw Error(kUnreadable, fmt::format("{} ended before it had written a report", t.who()),
                  seccomp_ == Seccomp::kFilter ? kFilterHint : "");
    if (now_seconds() >= until || (stop && *stop)) break;
    usleep(10'000);
  }
  throw Error(
      kUnreadable, fmt::format("{} has written no report within {:g} s", t.who(), timeout_seconds),
      fmt::format("{}mallard check {} has what it said; it writes to '{}'{}, else to its temporary directory",
                  seccomp_ == Seccomp::kFilter ? std::string(kFilterHint) + "; " : "", t.pid,
                  t.options.report, t.options.report.starts_with('/') ? "" : " in its working directory"));
}

}  // namespace mallard::cli
