// SPDX-License-Identifier: Apache-2.0
// `mallard attach` and `mallard detach`: call sites of a process that runs, without a restart.
#include <fmt/format.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <optional>

#include "arch/borrow.hpp"
#include "base/options.hpp"
#include "base/times.hpp"
#include "cli/attach/attached_object.hpp"
#include "cli/attach/own_allocator.hpp"
#include "cli/commands.hpp"
#include "cli/demangled.hpp"
#include "cli/file.hpp"
#include "cli/inspect/access.hpp"
#include "cli/output.hpp"
#include "cli/process/attached.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/process.hpp"
#include "cli/process/report_outside.hpp"
#include "cli/process/target.hpp"
#include "cli/report/profile.hpp"
#include "cli/report/text_shown.hpp"
#include "cli/terminal_text.hpp"

namespace mallard::cli {
namespace {

constexpr double kReportSeconds = 30;

struct AttachRequest {
  std::string process, mode = "sample", duration;
};

std::string is_recording_mode(const std::string& word) {
  return word == "sample" || word == "exact"
             ? std::string()
             : fmt::format("'{}' is no mode: expected is sample or exact", word);
}

std::string is_duration(const std::string& word) {
  const char* expected = what_is_expected("ALLOC_INTERVAL", word);
  return expected || seconds_of(word) <= 0
             ? fmt::format("'{}' cannot be used: expected is a time as 30s or 5m", word)
             : std::string();
}

/// What forbids it that can be seen without touching the process. \return how messages name it
std::string check(int pid, bool is_detach) {
  const Access access = find_access(pid);
  const auto refuse = [&](const std::string& why, const std::string& hint = {}) {
    throw Error(kUnreadable, fmt::format("{} is left as it is: {}", access.who, why), hint);
  };
  if (!access.may_copy) refuse(fmt::format("its memory may not be read: {}", access.why_not), access.remedy);
  const Process process = read_process(pid);
  for (const ProcessObject& o : process.libraries)
    if (base_name(o.path).starts_with("libmallard.so"))
      refuse("it runs under mallard already",
             is_detach ? fmt::format("'mallard mode {} off' ends the recording", pid)
                       : fmt::format("'mallard mode {} sample' switches what is recorded", pid));
  if (const auto tracer = status_words(pid, "TracerPid"); !tracer.empty() && tracer[0] != "0")
    refuse(fmt::format("process {} traces it", tracer[0]), "a debugger or strace: end that first");
  if (is_stopped(pid)) refuse("it is stopped", fmt::format("let it go on: kill -CONT {}", pid));
  for (const std::string& feature : status_words(pid, arch::kThreadFeatures))
    if (feature == arch::kShadowStack)
      refuse("its threads have shadow stacks, which a borrowed thread would leave");
  return access.who;
}

AttachDoor act(int pid, const std::string& who, const OwnAllocator& own, AttachAction action, Mode mode) {
  const AttachDoor door = act_in(pid, who, own, action, mode);
  if (door.outcome == AttachOutcome::kRefused)
    throw Error(kUnreadable,
                fmt::format("{} is left as it is: {}{}", who, door.why,
                            own.is_there() && !own.is_possible() ? ", and " + own.why_not() : ""),
                fmt::format("'mallard inspect {}' looks at it from outside", pid));
  return door;
}

/// "7 entry points of its own malloc", "215 references in 4 objects", or both.
std::string what_leads_here(const AttachDoor& door, std::uint32_t entry_points, const std::string& kinds) {
  std::string text;
  if (door.slots > 0 || entry_points == 0)
    text = fmt::format("{} references in {} objects", door.slots, door.objects);
  if (entry_points > 0)
    text += fmt::format("{}{} entry points{}{} inside the executable", text.empty() ? "" : " and ", entry_points,
                        kinds.empty() ? "" : " of ", kinds);
  return text;
}

void detach_now(int pid, const std::string& who) {
  const std::optional<AttachDoor> before = read_door(pid);
  const AttachDoor door = act(pid, who, OwnAllocator(pid), AttachAction::kLeave, Mode::kOff);
  const std::uint32_t entries = before ? before->entry_points : 0;
  print("{}: detached; {} as they were\n", who, what_leads_here(door, entries, {}) + " are");
}

/// Waits, or until somebody ends this command.
void wait_for(double seconds) {
  sigset_t ending;
  sigemptyset(&ending);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&ending, number);
  const timespec time = timespec_of(static_cast<std::uint64_t>(seconds * kNsPerSecond));
  sigtimedwait(&ending, nullptr, &time);
}

/// Signals that end this command or stop it wait: what it has begun it ends, and no thread stands meanwhile. A reader
/// of its output that has gone is an error of that output.
void hold_ending_signals() {
  sigset_t ending;
  sigemptyset(&ending);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE})
    sigaddset(&ending, number);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
}

/// The report, as long as it can be taken: detaching ends that.
void show_report(int pid) {
  try {
    const OutsideReport taken = report_from_outside(look_at(pid, "attach"), {kReportSeconds});
    if (!taken.taken)
      throw Error(kUnreadable,
                  taken.why_not.empty() ? std::string("it has changed meanwhile") : taken.why_not);
    ReportFile report = parse_report(taken.json, fmt::format("the report of process {}", pid));
    name_sites(&report, "");
    print_report_text(text_shown(&report, false,
                                 fmt::format("all call sites: without --for, mallard dump --full {}", pid)));
  } catch (const Error& e) {
    tell("the report cannot be shown: {}", e.what());
  }
}

ExitStatus attach(const AttachRequest& request) {
  const int pid = process_of(request.process, "attach");
  const std::string who = check(pid, false);
  const bool was_attached = is_attached(pid);
  const Mode mode = request.mode == "exact" ? Mode::kExact : Mode::kSample;
  OwnAllocator own(pid);
  if (own.is_there() && !own.is_possible() && own.has_malloc())
    throw Error(kUnreadable, fmt::format("{} is left as it is: {} inside the executable cannot be watched: {}", who,
                                         own.kinds(), own.why_not()),
                own.next());
  hold_ending_signals();
  const AttachDoor door = act(pid, who, own, AttachAction::kRecord, mode);
  print("{}: recorded in mode {}{}, by {}; malloc is {}\n", who, request.mode,
        was_attached ? " (it was attached to already)" : "", what_leads_here(door, door.entry_points, own.kinds()),
        door.allocator[0] == '\0' ? "the program's own" : "that of " + printable(door.allocator));
  if (own.is_there() && !own.is_possible())
    print("calls of {} inside the executable are not recorded: {}\n", own.kinds(), own.why_not());
  if (door.elsewhere > 0)
    print("{} references lead to other functions of the same names, and are left alone\n", door.elsewhere);
  if (request.duration.empty()) {
    tell("mallard dump {0} and mallard top {0} show the call sites, mallard detach {0} ends it", pid);
    return kDone;
  }
  std::fflush(stdout);
  wait_for(seconds_of(request.duration));
  if (is_gone(pid)) {
    tell("{} has ended", who);
    return kDone;
  }
  // What it has become would have the object loaded only to leave it.
  if (is_attached(pid)) show_report(pid);
  if (is_attached(pid)) detach_now(pid, who);
  else tell("{} has become another program, or was detached from meanwhile", who);
  return kDone;
}

ExitStatus detach(const std::string& word) {
  const int pid = process_of(word, "detach");
  const std::string who = check(pid, true);
  // A child that was forked off such a process is not recorded, and its calls pass through the object all the
  // same.
  if (const std::optional<AttachDoor> door = read_door(pid); !door || (!door->is_on && door->entry_points == 0))
    throw Error(kUnreadable, fmt::format("{} is not attached to", who),
                fmt::format("mallard attach {}", pid));
  hold_ending_signals();
  detach_now(pid, who);
  return kDone;
}

}  // namespace

void add_attach(CLI::App& app, Run* run) {
  auto request = std::make_shared<AttachRequest>();
  CLI::App* command = app.add_subcommand("attach", "Record the call sites of a process that runs already");
  add_pid(command, &request->process, "A process of glibc that was started without mallard");
  command->add_option("--mode", request->mode, "sample, or exact: every allocation")
      ->check(is_recording_mode, "")
      ->capture_default_str();
  command
      ->add_option("--for", request->duration,
                   "Print the report after so long (60s, 5m), and detach; else 'mallard detach' ends it")
      ->type_name("TIME")
      ->check(is_duration, "");
  command->footer(
      "One of its threads is borrowed for some milliseconds, in a place where it holds no lock, and loads "
      "libmallard-attach.so; then calls of malloc and its family lead there, and on to the process's own "
      "allocator. Where the executable has an allocator inside, all threads stand for about a millisecond while its "
      "entry points are changed. "
      "Blocks that were allocated before are not in the books. All is done or nothing.\n\n"
      "Examples:\n"
      "  mallard attach 4711\n"
      "  mallard attach --mode exact --for 60s redis-server\n\n"
      "Exit status: 0 done, 2 usage, 3 no such process, not permitted, or refused: then with the reason");
  command->callback([request, run] { *run = [request] { return attach(*request); }; });
}

void add_detach(CLI::App& app, Run* run) {
  auto word = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("detach", "End what 'mallard attach' began");
  add_pid(command, word.get(), "A process that was attached to");
  command->footer(
      "Every reference leads again where it led before, and changed code is as it was. What was loaded stays, and does nothing until the "
      "process is "
      "attached to again.\n\n"
      "Examples:\n"
      "  mallard detach 4711\n\n"
      "Exit status: 0 done, 2 usage, 3 no such process, not attached to, not permitted, or refused");
  command->callback([word, run] { *run = [word] { return detach(*word); }; });
}

}  // namespace mallard::cli
