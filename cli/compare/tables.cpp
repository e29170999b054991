// SPDX-License-Identifier: Apache-2.0
#include "cli/compare/tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "base/numbers.hpp"
#include "cli/demangled.hpp"
#include "cli/html_page.hpp"
#include "cli/units.hpp"
#include "report/model/causes.hpp"

namespace mallard::cli::compare {
namespace {

std::string seconds_text(double seconds) { return fmt::format("{:.2f} s", seconds); }
std::string time_text(double ns) {
  FixedText<32> text;
  add_time(text, ns);
  return std::string(text.view());
}

struct Column {
  const char *words, *field;
  Figure Row::*figure;
  std::string (*text)(double);
  bool of_servers, of_batches;  ///< whose table of text has it
};

constexpr Column kColumns[] = {
    {"wall", "wall_seconds", &Row::wall, seconds_text, true, true},
    {"CPU", "cpu_seconds", &Row::cpu, seconds_text, true, true},
    {"metric", "metric", &Row::metric, count_text, true, false},
    {"faults", "page_faults", &Row::faults, count_text, false, true},
    {"peak RSS", "peak_bytes", &Row::peak, bytes_text, true, true},
    {"after load", "after_load_bytes", &Row::after_load, bytes_text, true, false},
    {"after idle", "after_idle_bytes", &Row::after_idle, bytes_text, true, false},
};

std::vector<const Column*> columns_of(const Plan& plan) {
  std::vector<const Column*> out;
  for (const Column& c : kColumns)
    if ((plan.is_server() ? c.of_servers : c.of_batches) &&
        (c.figure != &Row::metric || !plan.metric.empty()))
      out.push_back(&c);
  return out;
}

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

/// What is to be said beside a row's figures; empty = nothing.
std::string remark(const Plan& plan, const Row& row) {
  if (!row.failure.empty())
    return fmt::format("{} of {} runs failed: {}", row.failures, row.trials.size(), row.failure);
  if (!row.same_result)
    return plan.is_server() ? "--check printed something else than as shipped"
                            : "the program printed something else than as shipped";
  for (const Trial& t : row.trials)
    if (plan.times_calls && !t.inside.empty())
      return fmt::format("times of calls are not told: {} inside serves some that are not seen", t.inside);
  return "";
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
  std::vector<LedgerLine> causes, out;
  for (const report::CauseFacts& cause : report::kCauses)
    causes.push_back({&Ledger::lines, std::string(cause.name)});
  std::set<std::string> others;
  for (const Row& row : s.rows)
    for (const Trial& t : row.trials)
      for (const auto& [name, bytes] : (t.*when).others) others.insert(name);
  out = causes;
  for (const std::string& name : others) out.push_back({&Ledger::others, name});
  std::set<std::string> leading;
  for (const Row& row : s.rows) {
    double whole = 0;
    for (const LedgerLine& line : causes) whole += line.median(row, when);
    for (const LedgerLine& line : out)
      if (whole > 0 && line.median(row, when) >= whole / 100) leading.insert(line.name);
  }
  std::erase_if(out, [&](const LedgerLine& line) { return !leading.count(line.name); });
  return out;
}

const char* noise_words(const Plan& plan) {
  return plan.rounds == 1 ? "within 10 % of as shipped, which is taken for noise where there is one run"
                          : "noise alone may part it from as shipped";
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
    *out += fmt::format("\nHow long calls of {} took (one of 64 timed)\n", kTimedOperations[i]);
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

void add_latency_markdown(const Summary& s, std::string* out) {
  for (std::size_t i = 0; i < kTimedCount; ++i) {
    if (!has_latency(s, i)) continue;
    *out += fmt::format("\n\n| {} |", kTimedOperations[i]);
    for (const TimeFacts& time : kTimes) *out += fmt::format(" {} |", time.words);
    *out += "\n|---|";
    for (std::size_t k = 0; k < kTimeCount; ++k) *out += "---:|";
    for (const Row& row : s.rows) {
      *out += fmt::format("\n| {} |", row.candidate.name);
      for (std::size_t k = 0; k < kTimeCount; ++k) {
        std::string text = latency_cell(s, row, i, k);
        while (text.ends_with(' ')) text.pop_back();
        *out += fmt::format(" {} |", text);
      }
    }
  }
}

/// \param first  the first candidate's
nlohmann::ordered_json json_of(const Figure& f, const Figure& first) {
  constexpr std::string_view kDifferences[] = {"equal", "less", "more"};
  if (!f.known) return nullptr;
  return {{"median", f.median},
          {"least", f.least},
          {"most", f.most},
          {"than_first", first.known
                             ? nlohmann::ordered_json(kDifferences[static_cast<int>(difference(first, f))])
                             : nlohmann::ordered_json(nullptr)}};
}

/// At most so many points, each with the most that was resident since the one before.
nlohmann::ordered_json json_of(const std::vector<Moment>& curve) {
  constexpr std::size_t kMostPoints = 300;
  const std::size_t each = (curve.size() + kMostPoints - 1) / kMostPoints;
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < curve.size(); i += each) {
    const auto end = curve.begin() + static_cast<std::ptrdiff_t>(std::min(i + each, curve.size()));
    const Moment most = *std::max_element(curve.begin() + static_cast<std::ptrdiff_t>(i), end,
                                          [](const Moment& a, const Moment& b) { return a.bytes < b.bytes; });
    out.push_back({std::round(most.seconds * 100) / 100, std::llround(most.bytes)});
  }
  return out;
}

nlohmann::ordered_json json_of(const Ledger& ledger) {
  if (!ledger.known) return nullptr;
  const auto rounded = [](const Bytes& all) {
    nlohmann::ordered_json out = nlohmann::ordered_json::object();
    for (const auto& [name, bytes] : all) out[name] = std::llround(bytes);
    return out;
  };
  return {{"counts_bytes", std::llround(ledger.counts_bytes)},
          {"ledger", rounded(ledger.lines)},
          {"other_allocators", rounded(ledger.others)}};
}

/// \param of  the value of an operation's time
template <class Of>
nlohmann::ordered_json latency_json(Of of) {
  nlohmann::ordered_json j = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < kTimedCount; ++i)
    for (std::size_t k = 0; k < kTimeCount; ++k)
      j[std::string(kTimedOperations[i])][std::string(kTimes[k].field)] = of(i, k);
  return j;
}

nlohmann::ordered_json json_of(const Trial& t) {
  using nlohmann::ordered_json;
  ordered_json j = {{"failure", t.failure.empty() ? ordered_json(nullptr) : ordered_json(t.failure)},
                    {"wall_seconds", t.wall_seconds},
                    {"cpu_seconds", t.cpu_seconds},
                    {"metric", t.metric ? ordered_json(*t.metric) : ordered_json(nullptr)},
                    {"page_faults", t.faults},
                    {"peak_bytes", t.peak_bytes},
                    {"after_load_bytes", t.after_load_bytes},
                    {"after_idle_bytes", t.after_idle_bytes}};
  j["load_began_seconds"] = t.load_began_seconds;
  j["load_ended_seconds"] = t.load_ended_seconds;
  j["curve"] = json_of(t.curve);
  j["latency"] = latency_json([&t](std::size_t i, std::size_t k) {
    return t.latency[i][k] ? ordered_json(*t.latency[i][k]) : ordered_json(nullptr);
  });
  j["after_load"] = json_of(t.after_load);
  j["after_idle"] = json_of(t.after_idle);
  return j;
}

nlohmann::ordered_json document(const Plan& plan, const Summary& s) {
  using nlohmann::ordered_json;
  ordered_json j = {{"schema_version", 1}, {"command", plan.command}, {"rounds", plan.rounds}};
  j["server"] = plan.is_server();
  j["candidates"] = ordered_json::array();
  for (const Row& row : s.rows) {
    ordered_json& c = j["candidates"].emplace_back(ordered_json{
        {"name", row.candidate.name}, {"serves", row.served}, {"variables", row.candidate.variables}});
    c["remark"] = remark(plan, row);
    c["failures"] = row.failures;
    c["same_result"] = row.same_result;
    for (const Column& column : kColumns)
      c[column.field] = json_of(row.*column.figure, s.rows[0].*column.figure);
    c["latency"] = latency_json(
        [&](std::size_t i, std::size_t k) { return json_of(row.latency[i][k], s.rows[0].latency[i][k]); });
    c["runs"] = ordered_json::array();
    for (const Trial& t : row.trials) c["runs"].push_back(json_of(t));
  }
  j["best"] = s.rows[s.best].candidate.name;
  j["best_change"] = s.best_change();
  j["advice"] = s.advice;
  j["noise"] = noise_words(plan);
  return j;
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
  std::string out = fmt::format("`{}`: {}, in turns; medians\n\n| candidate | serves |", command_text(plan),
                                runs_text(plan));
  const auto columns = columns_of(plan);
  for (const Column* c : columns) out += fmt::format(" {} |", c->words);
  out += "\n|---|---|";
  for (std::size_t i = 0; i < columns.size(); ++i) out += "---:|";
  for (const Row& row : s.rows) {
    out += fmt::format("\n| {} | {} |", row.candidate.name, who_serves(row));
    for (const Column* c : columns) {
      std::string text = cell(s, row, *c);
      while (text.ends_with(' ')) text.pop_back();
      out += fmt::format(" {} |", text);
    }
  }
  add_latency_markdown(s, &out);
  out += fmt::format("\n\n= {}.\n", noise_words(plan));
  for (const Row& row : s.rows)
    if (const std::string note = remark(plan, row); !note.empty())
      out += fmt::format("\n{}: {}.\n", row.candidate.name, note);
  const auto when = plan.is_server() ? &Trial::after_idle : &Trial::after_load;
  out += fmt::format("\n| {} |", plan.is_server() ? "after idling" : "at the end");
  for (const Row& row : s.rows) out += fmt::format(" {} |", row.candidate.name);
  out += "\n|---|";
  for (std::size_t i = 0; i < s.rows.size(); ++i) out += "---:|";
  for (const LedgerLine& line : leading_lines(s, when)) {
    out += fmt::format("\n| {} |", line.words());
    for (const Row& row : s.rows)
      out += fmt::format(" {} |", row.went_through() ? bytes_text(line.median(row, when)) : "-");
  }
  return out + "\n\n" + s.advice + "\n";
}

std::string as_json(const Plan& plan, const Summary& s) {
  return document(plan, s).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string as_html(const Plan& plan, const Summary& s) {
  using nlohmann::ordered_json;
  ordered_json page{
      {"command", MALLARD_VERSION}, {"causes", causes_for_page()}, {"columns", ordered_json::array()}};
  for (const Column* c : columns_of(plan))
    page["columns"].push_back({c->field, c->words,
                               c->text == bytes_text     ? "bytes"
                               : c->text == seconds_text ? "seconds"
                                                         : "count"});
  page["comparison"] = document(plan, s);
  return html_page_of(page);
}

}  // namespace mallard::cli::compare
