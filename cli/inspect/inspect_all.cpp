// SPDX-License-Identifier: Apache-2.0
// `mallard inspect --all`: which process has what, a line for each, the largest first.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <vector>

#include "cli/demangled.hpp"
#include "cli/inspect/inspect.hpp"
#include "cli/inspect/inspection.hpp"
#include "cli/output.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {
namespace {

using report::Cause;

/// The causes that a column adds up.
struct Column {
  const char* heading;
  std::vector<Cause> causes;
  bool is_divided = false;  ///< not told of a heap that is not divided
};

const std::vector<Column>& columns() {
  static const std::vector<Column> all = {
      {"live", {Cause::kLive, Cause::kRounding}, true},
      {"holes", {Cause::kHoles}, true},
      {"retained", {Cause::kRetained}, true},
      {"other",
       {Cause::kMetadata, Cause::kUndivided, Cause::kAnonymous, Cause::kLazilyFreed, Cause::kStacks,
        Cause::kPastMallard, Cause::kOwn}},
      {"files", {Cause::kFiles, Cause::kFileCopies}},
      {"shared", {Cause::kShared}}};
  return all;
}

/// "12.3M": a screen of 80 columns has room for eight such.
std::string short_bytes(double bytes) {
  constexpr char kUnits[] = "KMGT";
  double value = bytes / 1024;
  std::size_t unit = 0;
  for (; value >= 1000 && unit + 2 < sizeof kUnits; ++unit) value /= 1024;
  if (bytes <= 0) return "0";
  return value < 100 ? fmt::format("{:.1f}{}", value, kUnits[unit])
                     : fmt::format("{:.0f}{}", value, kUnits[unit]);
}

struct Row {
  int pid;
  std::string name;
  double proportional;
  std::vector<std::string> cells;
};

Row row_of(const report::Snapshot& s) {
  Row row{s.process.pid, printable(s.process.name), static_cast<double>(s.charge.proportional), {}};
  for (const Column& column : columns()) {
    double bytes = 0;
    for (const Cause cause : column.causes) bytes += s.ledger.lines[static_cast<int>(cause)].bytes.value;
    row.cells.push_back(column.is_divided && !s.ledger.divided ? "-" : short_bytes(bytes));
  }
  return row;
}

/// Processes that have memory of their own, this command aside.
std::vector<int> all_processes() {
  std::vector<int> found;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", gone)) {
    const std::string word = entry.path().filename();
    if (!is_number(word) || std::stoi(word) == getpid()) continue;
    if (!is_gone(std::stoi(word)) && !status_words(std::stoi(word), "VmSize").empty())
      found.push_back(std::stoi(word));
  }
  return found;
}

}  // namespace

ExitStatus inspect_all() {
  std::vector<Row> rows;
  std::size_t refused = 0;
  for (const int pid : all_processes()) {
    try {
      inspect_process(
          pid, true, {},
          [](const report::Snapshot& s, void* to) {
            static_cast<std::vector<Row>*>(to)->push_back(row_of(s));
          },
          &rows);
    } catch (const Error&) {
      ++refused;
    }
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.proportional > b.proportional; });
  print("{:>7} {:<11} {:>6}", "PID", "NAME", "PSS");
  for (const Column& column : columns()) print(" {:>8}", column.heading);
  print("\n");
  for (const Row& row : rows) {
    print("{:>7} {:<11.11} {:>6}", row.pid, row.name, short_bytes(row.proportional));
    for (const std::string& cell : row.cells) print(" {:>8}", cell);
    print("\n");
  }
  if (refused > 0) tell("{} more may not be looked at by this user; sudo shows them", refused);
  return kDone;
}

}  // namespace mallard::cli
