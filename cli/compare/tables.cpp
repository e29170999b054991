// SPDX-License-Identifier: Apache-2.0
#include "cli/compare/tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <span>

#include "cli/compare/columns.hpp"
#include "cli/demangled.hpp"
#include "cli/units.hpp"
#include "report/model/causes.hpp"

namespace mallard::cli::compare {
namespace {

/// The median, with "=" where noise alone may part it from the first candidate's.
template <class Of>
std::string cell(const Summary& s, const Row& row, Of of, std::string (*text)(double)) {
  const Figure& figure = of(row);
  if (!figure.known) return "- ";
  const Figure& first = of(s.rows[0]);
  const bool equal = &row != &s.rows[0] && first.known && difference(first, figure) == Difference::kEqual;
  return fmt::format("{}{}", text(figure.median), equal ? "=" : " ");
}
std::string cell(const Summary& s, const Row& row, const Column& c) {
  return cell(
      s, row, [&c](const Row& r) -> const Figure& { return r.*c.figure; }, c.text);
}
std::string latency_cell(const Summary& s, const Row& row, std::size_t operation, std::size_t time) {
  return cell(
      s, row, [=](const Row& r) -> const Figure& { return r.latency[operation][time]; }, time_text);
}

bool has_latency(const Summary& s, std::size_t operation) {
  return std::any_of(s.rows.begin(), s.rows.end(), [operation](const Row& row) {
    return std::any_of(std::begin(row.latency[operation]), std::end(row.latency[operation]),
                       [](const Figure& f) { return f.known; });
  });
}

std::string command_text(const Plan& plan) {
  std::string out;
  for (const std::string& word : plan.command)
    out += fmt::format("{}{}", out.empty() ? "" : " ", printable(word));
  return out;
}

std::string runs_text(const Plan& plan) {
  return fmt::format("{} run{} of each", plan.rounds, plan.rounds == 1 ? "" : "s");
}

std::string who_serves(const Row& row) {
  std::string out = row.served.empty() ? "nobody knows who serves" : row.served;
  for (const auto& [name, value] : row.candidate.variables)
    out += fmt::format(", {}={}", name, printable(value));
  return out;
}

/// A row of the tables of ledgers: a cause, or another allocator.
struct LedgerLine {
  Bytes Ledger::*of;
  std::string name;

  std::string words() const {
    return of == &Ledger::lines ? std::string(report::words_of_cause(name)) : "held by " + name;
  }
  /// Its median over the runs of a candidate.
  double median(const Row& row, Ledger Trial::*when) const {
    std::vector<double> values;
    for (const Trial& t : row.trials)
      if (t.failure.empty() && (t.*when).known) {
        const Bytes& bytes = (t.*when).*of;
        const auto found = bytes.find(name);
        values.push_back(found == bytes.end() ? 0 : found->second);
      }
    return figure_of(std::move(values)).median;
  }
};

/// What comes to a hundredth of a candidate's ledger: causes, then what other allocators have of these.
std::vector<LedgerLine> leading_lines(const Summary& s, Ledger Trial::*when) {
  std::vector<LedgerLine> lines;
  for (const report::CauseFacts& cause : report::kCauses)
    lines.push_back({&Ledger::lines, std::string(cause.name)});
  std::vector<double> wholes;
  std::set<std::string> others;
  for (const Row& row : s.rows) {
    double& whole = wholes.emplace_back(0);
    for (const LedgerLine& line : lines) whole += line.median(row, when);
    for (const Trial& t : row.trials)
      for (const auto& [name, bytes] : (t.*when).others) others.insert(name);
  }
  for (const std::string& name : others) lines.push_back({&Ledger::others, name});
  std::erase_if(lines, [&](const LedgerLine& line) {
    for (std::size_t i = 0; i < wholes.size(); ++i)
      if (wholes[i] > 0 && line.median(s.rows[i], when) >= wholes[i] / 100) return false;
    return true;
  });
  return lines;
}

constexpr std::size_t kNameColumns = 12, kCellColumns = 11;

void add_row(std::string* out, const std::string& name, const std::vector<std::string>& cells,
             std::size_t width) {
  // A longer name has a line of its own.
  if (name.size() > kNameColumns) *out += fmt::format("  {}\n  {:<{}}", name, "", kNameColumns);
  else *out += fmt::format("  {:<{}}", name, kNameColumns);
  for (const std::string& text : cells) *out += fmt::format("{:>{}}", text, width);
  while (out->ends_with(' ')) out->pop_back();
  *out += '\n';
}

/// Some candidates beside one another, as many as fit into 80 columns.
void add_ledger(std::span<const Row> rows, const std::vector<LedgerLine>& lines, Ledger Trial::*when,
                std::string* out) {
  constexpr std::size_t kCauseColumns = 26, kByteColumns = 13;
  *out += fmt::format("  {:{}}", "cause", kCauseColumns);
  for (const Row& row : rows) *out += fmt::format("{:>{}}", row.candidate.name.substr(0, 12), kByteColumns);
  *out += '\n';
  for (const LedgerLine& line : lines) {
    *out += fmt::format("  {:{}}", line.words(), kCauseColumns);
    for (const Row& row : rows)
      *out +=
          fmt::format("{:>{}}", row.went_through() ? bytes_text(line.median(row, when)) : "-", kByteColumns);
    *out += '\n';
  }
}

void add_ledgers(const Summary& s, Ledger Trial::*when, const char* heading, std::string* out) {
  constexpr std::size_t kBeside = 4;
  const auto lines = leading_lines(s, when);
  if (lines.empty()) return;
  *out += fmt::format("\n{}\n", heading);
  const std::span<const Row> rows(s.rows);
  for (std::size_t i = 0; i < rows.size(); i += kBeside)
    add_ledger(rows.subspan(i, std::min(kBeside, rows.size() - i)), lines, when, out);
}

/// A table for each operation.
void add_latency(const Summary& s, std::string* out) {
  for (std::size_t i = 0; i < kTimedCount; ++i) {
    if (!has_latency(s, i)) continue;
    *out += fmt::format("\nHow long calls of {} took ({})\n", kTimedOperations[i], timed_words(s));
    std::vector<std::string> cells;
    for (const TimeFacts& time : kTimes) cells.push_back(fmt::format("{} ", time.words));
    add_row(out, "", cells, kCellColumns);
    for (const Row& row : s.rows) {
      cells.clear();
      for (std::size_t k = 0; k < kTimeCount; ++k) cells.push_back(latency_cell(s, row, i, k));
      add_row(out, row.candidate.name, cells, kCellColumns);
    }
  }
}

using Cells = std::vector<std::string>;

std::string markdown_line(const Cells& cells) {
  std::string out = "\n|";
  for (std::string text : cells) {
    while (text.ends_with(' ')) text.pop_back();
    out += fmt::format(" {} |", text);
  }
  return out;
}

/// \param words  so many columns at the left are of words, the others of figures
std::string markdown_head(const Cells& heads, std::size_t words) {
  std::string out = markdown_line(heads) + "\n|";
  for (std::size_t i = 0; i < heads.size(); ++i) out += i < words ? "---|" : "---:|";
  return out;
}

std::string markdown_of_latency(const Summary& s) {
  std::string out;
  for (std::size_t i = 0; i < kTimedCount; ++i) {
    if (!has_latency(s, i)) continue;
    Cells heads{std::string(kTimedOperations[i])};
    for (const TimeFacts& time : kTimes) heads.emplace_back(time.words);
    out += "\n" + markdown_head(heads, 1);
    for (const Row& row : s.rows) {
      Cells cells{row.candidate.name};
      for (std::size_t k = 0; k < kTimeCount; ++k) cells.push_back(latency_cell(s, row, i, k));
      out += markdown_line(cells);
    }
  }
  return out;
}

std::string markdown_of_ledgers(const Plan& plan, const Summary& s) {
  const auto when = plan.is_server() ? &Trial::after_idle : &Trial::after_load;
  const auto lines = leading_lines(s, when);
  if (lines.empty()) return "";
  Cells heads{plan.is_server() ? "after idling" : "at the end"};
  for (const Row& row : s.rows) heads.push_back(row.candidate.name);
  std::string out = markdown_head(heads, 1);
  for (const LedgerLine& line : lines) {
    Cells cells{line.words()};
    for (const Row& row : s.rows)
      cells.push_back(row.went_through() ? bytes_text(line.median(row, when)) : "-");
    out += markdown_line(cells);
  }
  return out + "\n";
}

}  // namespace

std::string as_text(const Plan& plan, const Summary& s) {
  std::string out = fmt::format("{}\n  {}, in turns; medians\n\n", command_text(plan), runs_text(plan));
  const auto columns = columns_of(plan);
  std::vector<std::string> cells;
  for (const Column* c : columns) cells.push_back(fmt::format("{} ", c->words));
  add_row(&out, "", cells, kCellColumns);
  for (const Row& row : s.rows) {
    cells.clear();
    for (const Column* c : columns) cells.push_back(cell(s, row, *c));
    add_row(&out, row.candidate.name, cells, kCellColumns);
  }
  out += fmt::format("  = {}\n\nWho serves\n", noise_words(plan));
  for (const Row& row : s.rows) {
    out += fmt::format("  {:<{}}  {}\n", row.candidate.name, kNameColumns, who_serves(row));
    if (const std::string note = remark(plan, row); !note.empty()) out += fmt::format("    {}\n", note);
  }
  add_latency(s, &out);
  add_ledgers(s, plan.is_server() ? &Trial::after_idle : &Trial::after_load,
              plan.is_server() ? "Where the resident memory is after idling"
                               : "Where the resident memory is at the end",
              &out);
  return out + "\n" + s.advice + "\n";
}

std::string as_markdown(const Plan& plan, const Summary& s) {
  const auto columns = columns_of(plan);
  Cells heads{"candidate", "serves"};
  for (const Column* c : columns) heads.emplace_back(c->words);
  std::string out = fmt::format("`{}`: {}, in turns; medians\n{}", command_text(plan), runs_text(plan),
                                markdown_head(heads, 2));
  for (const Row& row : s.rows) {
    Cells cells{row.candidate.name, who_serves(row)};
    for (const Column* c : columns) cells.push_back(cell(s, row, *c));
    out += markdown_line(cells);
  }
  out += fmt::format("{}\n\n= {}.\n", markdown_of_latency(s), noise_words(plan));
  for (const Row& row : s.rows)
    if (const std::string note = remark(plan, row); !note.empty())
      out += fmt::format("\n{}: {}.\n", row.candidate.name, note);
  return out + markdown_of_ledgers(plan, s) + "\n" + s.advice + "\n";
}

}  // namespace mallard::cli::compare
