// SPDX-License-Identifier: Apache-2.0
// `mallard top`: a live view of a process's memory, read from outside of it.
#include <fmt/format.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/options.hpp"
#include "cli/commands.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/target.hpp"
#include "cli/top/session.hpp"

namespace mallard::cli {
namespace {

std::string is_interval(const std::string& word) {
  const char* expected = what_is_expected("ALLOC_INTERVAL", word);
  return expected ? fmt::format("'{}' cannot be used: expected is {}", word, expected) : std::string();
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
  add_pid(command, &words->process, "A process with libmallard.so loaded");
  command->add_flag("-b,--batch", request.batch, "Print text, for scripts, instead of using the terminal");
  command->add_option("-n,--iterations", request.iterations, "End after so many readings; 0: never")
      ->check(CLI::Range(0, 1'000'000'000));
  command->add_option("-d,--delay", request.delay_seconds, "Time between two readings, in seconds")
      ->check(CLI::Range(0.1, 86400.0))
      ->check(is_wait, "")
      ->capture_default_str();
  command->add_option("--rows", request.rows, "Call sites that --batch prints; 0: all")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command->add_option("--sort", words->sort, "live, growth, allocated, count or resident")
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(kTopSortNames), std::end(kTopSortNames))), "")
      ->capture_default_str();
  command
      ->add_option("--ledger", words->ledger,
                   "Take a report every so often, for the ledger: 30s, 5m; 0: only on key l")
      ->check(is_interval, "")
      ->capture_default_str();
  add_wrappers(command, &request.wrappers);
  command->footer(
      "Reads the process's memory from outside, which costs it nothing, the ledger as well. Where the memory "
      "may not be read, a report every 30 s takes its place, by the report signal, and its files stay. Keys: h shows them, q quits. NO_COLOR is respected.\n\n"
      "Examples:\n"
      "  mallard top 4711\n"
      "  mallard top -b -n 2 -d 5 --rows 10 4711\n\n"
      "Exit status: 0 done, 2 usage, 3 no such process, not preloaded, or not permitted");
  command->callback([words, run] {
    *run = [words] {
      TopRequest asked = words->request;
      asked.pid = process_of(words->process, "top");
      asked.ledger_seconds = seconds_of(words->ledger);
      const auto sort = std::find(std::begin(kTopSortNames), std::end(kTopSortNames), words->sort);
      asked.sort = static_cast<TopSort>(sort - std::begin(kTopSortNames));
      return TopSession(asked).run();
    };
  });
}

}  // namespace mallard::cli
