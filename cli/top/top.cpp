// SPDX-License-Identifier: Apache-2.0
// `mallard top`: a live view of a process's memory, read from outside of it.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/options.hpp"
#include "cli/commands.hpp"
#include "cli/inspect/access.hpp"
#include "cli/output.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/target.hpp"
#include "cli/top/inspected_session.hpp"
#include "cli/top/session.hpp"
#include "cli/top/terminal.hpp"

namespace mallard::cli {
namespace {

std::string is_interval(const std::string& word) {
  const char* expected = what_is_expected("ALLOC_INTERVAL", word);
  return expected ? fmt::format("'{}' cannot be used: expected is {}", word, expected) : std::string();
}

/// \throws Error if the process cannot be looked at
std::unique_ptr<LiveView> view_of(TopRequest& request) {
  try {
    return std::make_unique<TopSession>(request);
  } catch (const NotPreloaded&) {
  } catch (const Error&) {
    find_access(request.pid, "top");  // has the better words where it may not be looked at at all
    throw;
  }
  return std::make_unique<InspectedSession>(request);
}

ExitStatus watch(TopRequest request) {
  std::unique_ptr<LiveView> view = view_of(request);
  std::unique_ptr<Terminal> terminal;
  if (!request.batch) terminal = std::make_unique<Terminal>();
  LiveView::State state = LiveView::State::kTurned;
  std::string who;
  while (view) {
    who = view->who();
    try {
      state = terminal ? view->run_terminal(*terminal) : view->run_batch();
      view.reset();  // one at a time: a ledger may still be taken for it
      if (state != LiveView::State::kTurned) break;
      view = view_of(request);
    } catch (const Error&) {
      if (!is_gone(request.pid)) throw;
      state = LiveView::State::kGone;  // in the middle of a reading
      view.reset();
    }
  }
  const int number = terminal ? Terminal::ending_signal() : 0;
  terminal.reset();
  if (state == LiveView::State::kGone) tell("{} has ended", who);
  if (number != 0) {
    signal(number, SIG_DFL);
    raise(number);
  }
  return kDone;
}

}  // namespace

void add_top(CLI::App& app, Run* run) {
  struct Words {
    TopRequest request;
    std::string process, ledger = "0", sort = "live";
  };
  auto words = std::make_shared<Words>();
  TopRequest& request = words->request;
  CLI::App* command = app.add_subcommand("top", "Watch the memory of a running process");
  add_pid(command, &words->process, "Any process, with call sites where it has mallard");
  command->add_flag("-b,--batch", request.batch, "Print text, for scripts, instead of using the terminal");
  command->add_option("-n,--iterations", request.iterations, "End after so many readings; 0: never")
      ->check(CLI::Range(0, 1'000'000'000));
  command->add_option("-d,--delay", request.delay_seconds, "Time between two readings, in seconds")
      ->check(CLI::Range(0.1, 86400.0))
      ->check(is_wait, "")
      ->capture_default_str();
  command->add_option("--rows", request.rows, "Call sites, or causes, that --batch prints; 0: all")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command->add_option("--sort", words->sort, "live, growth, allocated, count or resident")
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(kTopSortNames), std::end(kTopSortNames))), "")
      ->capture_default_str();
  command
      ->add_option("--ledger", words->ledger,
                   "Take a report every so often, for the ledger: 30s, 5m; 0: on key l, or, without mallard, at each reading")
      ->check(is_interval, "")
      ->capture_default_str();
  add_wrappers(command, &request.wrappers);
  command->footer(
      "Reads the process's memory from outside, which costs it nothing, the ledger as well. Of a process without "
      "mallard the ledger is all there is: its causes, at each reading. Where the memory of one with mallard may "
      "not be read, a report every 30 s takes its place, by the report signal, and its files stay. Keys: h shows "
      "them, q quits. NO_COLOR is respected.\n\n"
      "Examples:\n"
      "  mallard top 4711\n"
      "  mallard top -b -n 2 -d 5 --rows 10 4711\n"
      "  mallard top redis-server\n\n"
      "Exit status: 0 done, 2 usage, 3 no such process, or not permitted");
  command->callback([words, run] {
    *run = [words] {
      TopRequest asked = words->request;
      asked.pid = process_of(words->process, "top");
      asked.ledger_seconds = seconds_of(words->ledger);
      const auto sort = std::find(std::begin(kTopSortNames), std::end(kTopSortNames), words->sort);
      asked.sort = static_cast<TopSort>(sort - std::begin(kTopSortNames));
      return watch(asked);
    };
  });
}

}  // namespace mallard::cli
