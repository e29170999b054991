// SPDX-License-Identifier: Apache-2.0
#include "cli/inspect/inspection.hpp"

#include <fmt/format.h>

#include <memory>

#include "base/arena.hpp"
#include "cli/error.hpp"
#include "cli/inspect/access.hpp"
#include "cli/output.hpp"
#include "outside/heaps_found.hpp"
#include "outside/other_process.hpp"
#include "report/judge/verdict.hpp"
#include "report/snapshot.hpp"
#include "report/write/json.hpp"

namespace mallard::cli {
namespace {

long append(void* to, const char* bytes, std::size_t size) {
  static_cast<std::string*>(to)->append(bytes, size);
  return 0;
}

}  // namespace

void inspect_process(int pid, bool quiet, void (*use)(const report::Snapshot& snapshot, void* opaque),
                     void* opaque) {
  const Access access = find_access(pid);
  if (!access.may_copy && !quiet)
    tell("the heap of {} cannot be looked into: {}; {}", access.who, access.why_not, access.remedy);
  const outside::OtherProcess process(pid);
  Arena arena(std::size_t{2} << 30);
  const auto snapshot = std::make_unique<report::Snapshot>();
  const bool taken = report::take_snapshot(arena, process, outside::served_of_other_process(),
                                           report::Reason::kInspection, snapshot.get());
  if (!process.is_still_there())
    throw Error(kUnreadable,
                fmt::format("{} ended, or became another program, while it was looked at", access.who),
                "if it still runs, try again");
  if (!taken)
    throw Error(kUnreadable, fmt::format("{} has too much to look at for this machine's memory", access.who));
  report::judge(arena, snapshot.get());
  use(*snapshot, opaque);
}

std::string inspection_json(int pid) {
  std::string json;
  inspect_process(
      pid, false,
      [](const report::Snapshot& snapshot, void* to) {
        report::Sink sink(append, to);
        report::write_json(snapshot, sink);
        sink.flush();
      },
      &json);
  return json;
}

}  // namespace mallard::cli
