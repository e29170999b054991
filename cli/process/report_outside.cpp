// SPDX-License-Identifier: Apache-2.0
#include "cli/process/report_outside.hpp"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/arena.hpp"
#include "base/options.hpp"
#include "base/say.hpp"
#include "cli/demangled.hpp"
#include "cli/inspect/stopped_threads.hpp"
#include "cli/process/apart.hpp"
#include "cli/process/memory_file.hpp"
#include "cli/process/remembered.hpp"
#include "outside/lost_blocks.hpp"
#include "outside/other_process.hpp"
#include "outside/recorded_process.hpp"
#include "record/published.hpp"
#include "report/judge/remember.hpp"
#include "report/judge/verdict.hpp"
#include "report/snapshot.hpp"
#include "report/write/json.hpp"
#include "report/write/report_files.hpp"

namespace mallard::cli {
namespace {

constexpr std::size_t kMostMemory = std::size_t{4} << 30;

/// What the process of its own tells: a line each, and the report behind them.
enum class Outcome : char { kTaken = 't', kGone = 'g', kCannot = 'c', kOdd = 'o' };

[[noreturn]] void end(const Told& told, Outcome outcome, std::string_view why) {
  told.line(std::string(1, static_cast<char>(outcome)));
  told.line(why);
  _exit(0);
}

long append(void* to, const char* bytes, std::size_t size) {
  static_cast<std::string*>(to)->append(bytes, size);
  return 0;
}

bool is_same_folder(const std::string& a, const char* b) {
  struct stat one {
  }, other{};
  return stat(a.c_str(), &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

/// Goes where the process is, and becomes who it is, as far as that is permitted. What it could not write
/// this command does not write for it, and its files are its own.
/// \return what an absolute path of the process begins with here
std::string become_like(const Target& target) {
  const bool is_elsewhere = !is_same_folder(target.root->path(), "/");
  const std::vector<std::string> users = status_words(target.pid, "Uid");
  const std::vector<std::string> groups = status_words(target.pid, "Gid");
  const std::vector<std::string> others = status_words(target.pid, "Groups");
  if (fchdir(open(target.here->path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) != 0) return {};
  bool is_there = !is_elsewhere;
  const int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (is_elsewhere && geteuid() == 0)
    is_there = chroot(target.root->path().c_str()) == 0 && fchdir(here) == 0;
  constexpr std::size_t kOfFiles = 3;  // real, effective, saved, of files
  if (geteuid() == 0 && users.size() > kOfFiles && groups.size() > kOfFiles) {
    std::vector<gid_t> ids;
    for (const std::string& id : others) ids.push_back(static_cast<gid_t>(std::stoul(id)));
    const auto user = static_cast<uid_t>(std::stoul(users[kOfFiles]));
    const auto group = static_cast<gid_t>(std::stoul(groups[kOfFiles]));
    static_cast<void>(setgroups(ids.size(), ids.data()) == 0 && setresgid(group, group, group) == 0 &&
                      setresuid(user, user, user) == 0);
  }
  return is_there ? "" : target.root->path();
}

/// Where the process's own reports would go. \return the path without extension, or nothing
std::string write_files(const Target& target, report::Snapshot* snapshot, int last_number,
                        std::string* why_not) {
  const std::string root = become_like(target);
  if (!root.empty()) {
    Options moved = options();
    const std::string report = options().report, directory = options().temporary_directory;
    if (report.starts_with('/')) TextBuffer(moved.report, sizeof moved.report).add(root + report);
    TextBuffer(moved.temporary_directory, sizeof moved.temporary_directory).add(root + directory);
    set_options(moved);
  }
  FixedText<2048> base;
  if (report::write_files(*snapshot, &last_number, &base)) return std::string(base.view());
  *why_not = say::last_failure();
  return {};
}

/// What is asked before each look of a search for lost blocks.
struct Books {
  const Target& target;
  std::uintptr_t published;
  outside::RecordedProcess process{target.pid};

  const char* adopt() {
    return target.is_attached ? process.adopt_attached(published) : process.adopt(published);
  }
  static const report::Served* read(void* self) {
    auto& books = *static_cast<Books*>(self);
    return books.adopt() ? nullptr : &books.process.served();
  }
};

/// The search ends with the books as they are then.
void search(Arena& arena, Books& books, const LeakSearch& leaks, report::LostBlocks* lost) {
  if (!leaks.asked) return;
  StoppedThreads threads(books.target.pid, !leaks.stops_nothing);
  const outside::LostBooks source{Books::read, &books};
  outside::find_lost_blocks(arena, books.process, threads.source(),
                            static_cast<std::uint64_t>(leaks.again_seconds * 1e9), &source, lost);
}

[[noreturn]] void take(const Target& target, std::uintptr_t published, const OutsideRequest& request,
                       const Told& told) {
  Books books{target, published};
  outside::RecordedProcess& process = books.process;
  if (const char* const why = books.adopt()) {
    if (!process.is_still_there() || is_gone(target.pid)) end(told, Outcome::kGone, "");
    end(told, Outcome::kCannot, why);
  }
  if (!target.is_attached) report::reports_adopt(process.parts());
  const Remembered remembered(target.pid);  // after it: whichever of the two knows a later report
  remembered.recall();
  Arena arena(kMostMemory);
  const auto snapshot = std::make_unique<report::Snapshot>();
  search(arena, books, request.leaks, &snapshot->lost);
  if (!report::take_snapshot(arena, process, process.served(), report::Reason::kDump, snapshot.get()))
    end(told, Outcome::kOdd, "there is not enough memory for it");
  snapshot->recording.skipped_live += process.torn_samples();
  report::compare_and_remember(snapshot.get());
  if (!process.is_still_there() || is_gone(target.pid)) end(told, Outcome::kGone, "");
  report::judge(arena, snapshot.get());
  remembered.keep();
  told.line(std::string(1, static_cast<char>(Outcome::kTaken)));
  std::string why_not, json;
  // One that was attached to did not ask for files, and knows no place for them.
  told.line(target.is_attached || !request.writes_files
                ? ""
                : write_files(target, snapshot.get(), process.last_report_number(), &why_not));
  told.line(why_not);
  report::Sink sink(append, &json);
  report::write_json(*snapshot, sink);
  sink.flush();
  told.write(json);
  _exit(0);
}

/// A path of the process, as this command can open it.
std::string path_here(const Target& target, const std::string& base) {
  if (!base.starts_with('/')) return target.here->path() + "/" + base;
  return base.starts_with(target.root->path() + "/") ? base : target.root->path() + base;
}

void read_told(const Target& target, std::string text, OutsideReport* out) {
  const std::string outcome = take_line(&text), first = take_line(&text);
  switch (static_cast<Outcome>(outcome.empty() ? '\0' : outcome[0])) {
    case Outcome::kTaken:
      out->no_file = take_line(&text);
      if (!first.empty()) out->path = path_here(target, first) + ".json";
      out->json = std::move(text);
      out->taken = out->json.ends_with("}\n");
      break;
    case Outcome::kGone:
      out->became_another = true;
      break;
    case Outcome::kCannot:
      out->why_not = first;
      break;
    case Outcome::kOdd:
      out->why_not = first;
      out->is_odd = true;
  }
}

}  // namespace

OutsideReport report_from_outside(const Target& target, const OutsideRequest& request) {
  OutsideReport out;
  const int refused = outside::OtherProcess(target.pid).why_not_copied();
  const MemoryFile memory(target.pid);
  if (refused != 0 || !memory.is_open()) {
    out.why_not = fmt::format("its memory may not be read: {}", std::strerror(refused ? refused : EACCES));
    return out;
  }
  const std::uint64_t published = memory.find_in_library({kPublishedMark, sizeof kPublishedMark});
  if (published == 0) {
    out.why_not = "its libmallard.so is of another build than this command";
    return out;
  }
  Apart apart = run_apart([&](const Told& told) { take(target, published, request, told); },
                          request.timeout_seconds, request.ended);
  if (!apart.in_time) {
    out.why_not = fmt::format("it took longer than {:g} s", request.timeout_seconds);
    out.is_odd = true;
    return out;
  }
  if (apart.is_whole && !apart.text.empty()) read_told(target, std::move(apart.text), &out);
  else if (is_gone(target.pid)) out.became_another = true;
  if (!out.taken && !out.became_another && out.why_not.empty()) {
    out.why_not = "it could not be read in one piece";
    out.is_odd = true;
  }
  return out;
}

}  // namespace mallard::cli
