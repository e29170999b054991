// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/inspection.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/arena.hpp"
#include "base/times.hpp"
#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/inspect/access.hpp"
#include "cli/inspect/core_input.hpp"
#include "cli/inspect/stopped_threads.hpp"
#include "cli/output.hpp"
#include "cli/process/memory_file.hpp"
#include "outside/core_file.hpp"
#include "outside/heaps_found.hpp"
#include "outside/lost_blocks.hpp"
#include "outside/other_process.hpp"
#include "outside/recorded_process.hpp"
#include "record/published.hpp"
#include "report/judge/verdict.hpp"
#include "report/snapshot.hpp"
#include "report/write/json.hpp"

namespace mallard::cli {
namespace {

long append(void* to, const char* bytes, std::size_t size) {
  static_cast<std::string*>(to)->append(bytes, size);
  return 0;
}

constexpr std::size_t kMostMemory = std::size_t{2} << 30;

void write_to(std::string* json, const report::Snapshot& snapshot) {
  report::Sink sink(append, json);
  report::write_json(snapshot, sink);
  sink.flush();
}

/// Takes the report of a process that stands still or not. \return false if there is not enough memory for it
bool take(Arena& arena, const ProcessMemory& process, const report::Served& served,
          const report::LostBlocks& lost, report::Snapshot* to) {
  if (!report::take_snapshot(arena, process, served, report::Reason::kInspection, to)) return false;
  to->lost = lost;
  for (const report::OtherAllocator& a : to->other_allocators.allocators)
    if (a.is_managed) to->lost.runtime = a.name;
  return true;
}

std::uint64_t modified_ns(const std::string& path) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) return 0;
  return ns_of(facts.st_mtim);
}

}  // namespace

void inspect_process(int pid, bool quiet, const LeakSearch& leaks,
                     void (*use)(const report::Snapshot& snapshot, void* opaque), void* opaque) {
  const Access access = find_access(pid);
  if (!access.may_copy && !quiet)
    tell("the heap of {} cannot be looked into: {}; {}", access.who, access.why_not, access.remedy);
  outside::RecordedProcess process(pid);
  Arena arena(kMostMemory);
  const auto snapshot = std::make_unique<report::Snapshot>();
  report::LostBlocks lost{};
  if (leaks.asked) {
    StoppedThreads threads(pid, !leaks.stops_nothing);
    outside::find_lost_blocks(arena, process, threads.source(),
                              static_cast<std::uint64_t>(leaks.again_seconds * 1e9), nullptr, &lost);
  }
  process.adopt_own(MemoryFile(pid).find_in_library({kPublishedMark, sizeof kPublishedMark}));
  const bool taken = take(arena, process, process.served(), lost, snapshot.get());
  if (!process.is_still_there())
    throw Error(kUnreadable,
                fmt::format("{} ended, or became another program, while it was looked at", access.who),
                "if it still runs, try again");
  if (!taken)
    throw Error(kUnreadable, fmt::format("{} has too much to look at for this machine's memory", access.who));
  report::judge(arena, snapshot.get());
  use(*snapshot, opaque);
}

std::string core_json(const CoreSearch& core, const LeakSearch& leaks) {
  const std::string who = fmt::format("core file '{}'", printable(core.path));
  const CoreInput input(core.path);
  outside::CoreFile process;
  if (const char* why = process.open(input.fd()))
    throw Error(kUnreadable, fmt::format("{} cannot be read: {}", who, why));
  const char* which = "";
  if (const int error = process.find_files(core.executable.c_str(), core.sysroot.c_str(), &which))
    throw Error(kUnreadable,
                fmt::format("'{}' cannot be opened: {}", printable(which), std::strerror(error)));
  if (!process.has_executable()) {
    tell("the executable of {} is not here: {}", who,
         process.executable().empty() ? "the core does not name it" : printable(process.executable()));
    tell("--exe FILE names it, --sysroot DIR where its files are");
  } else if (const char* why = process.drop_other_executable()) {
    tell("'{}' is not used: {}",
         core.executable.empty() ? printable(process.executable()) : printable(core.executable), why);
  }
  Arena arena(kMostMemory);
  const auto snapshot = std::make_unique<report::Snapshot>();
  report::LostBlocks lost{};
  if (leaks.asked)
    outside::find_lost_blocks(arena, process,
                              {[](void* self, void (*visit)(const outside::ThreadState&, void*), void* opaque,
                                  report::LostBlocks* out) {
                                 static_cast<const outside::CoreFile*>(self)->each_thread(visit, opaque, out);
                               },
                               &process},
                              0, nullptr, &lost);
  if (!take(arena, process, outside::served_of_other_process(), lost, snapshot.get()))
    throw Error(kUnreadable, fmt::format("{} has too much to look at for this machine's memory", who));
  snapshot->core = {core.path, process.missing_bytes(), process.left_out_bytes()};
  snapshot->process.taken_at_ns = modified_ns(core.path);
  if (!process.executable().empty()) snapshot->process.executable = process.executable();
  snapshot->charge.sharing = {};
  snapshot->charge.sharing_why_not = snapshot->charge.proportional_why_not = "a core file does not tell";
  report::judge(arena, snapshot.get());
  std::string json;
  write_to(&json, *snapshot);
  return json;
}

std::string inspection_json(int pid, bool quiet, const LeakSearch& leaks) {
  std::string json;
  inspect_process(
      pid, quiet, leaks,
      [](const report::Snapshot& snapshot, void* to) { write_to(static_cast<std::string*>(to), snapshot); },
      &json);
  return json;
}

}  // namespace mallard::cli
