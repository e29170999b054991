// SPDX-License-Identifier: Apache-2.0
// `mallard compare`: runs a program under several allocators and settings in turns, and says which one keeps
// least memory and at what cost.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "cli/commands.hpp"
#include "cli/compare/child.hpp"
#include "cli/compare/plan.hpp"
#include "cli/compare/summary.hpp"
#include "cli/compare/tables.hpp"
#include "cli/compare/trial.hpp"
#include "cli/html_page.hpp"
#include "cli/output.hpp"
#include "cli/process/target.hpp"
#include "cli/terminal_text.hpp"
#include "cli/units.hpp"
#include "report/model/remedy_model.hpp"

namespace mallard::cli {
namespace {

using namespace compare;

struct CompareRequest {
  Plan plan;
  std::string backends = "system,jemalloc,mimalloc", stop = "TERM", format = "text", fail_on, keep, html;
  std::vector<std::string> tries;
};

/// A directory for reports and output, which vanishes with the comparison unless it was asked for.
class Folder {
 public:
  explicit Folder(const std::string& asked) : keeps_(!asked.empty()) {
    if (keeps_) {
      std::error_code why;
      std::filesystem::create_directories(asked, why);
      if (why || access(asked.c_str(), W_OK) != 0)
        throw Error(kUnreadable, fmt::format("--keep '{}' cannot be written to", asked),
                    "name a directory of yours");
      path_ = std::filesystem::absolute(asked).string();
      return;
    }
    const char* above = std::getenv("TMPDIR");
    path_ = std::string(above && *above ? above : "/tmp") + "/mallard-compare-XXXXXX";
    if (!mkdtemp(path_.data()))
      throw Error(kUnreadable, fmt::format("no directory can be made in '{}'", above ? above : "/tmp"),
                  "set TMPDIR to one that can be written to");
  }
  ~Folder() {
    std::error_code none;
    if (!keeps_) std::filesystem::remove_all(path_, none);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  bool keeps_;
  std::string path_;
};

/// "best<-10%" as 0.1; 0 for none. \throws Error (kUsage)
double parse_fail_on(const std::string& text) {
  if (text.empty()) return 0;
  constexpr std::string_view kBefore = "best<-";
  char* end = nullptr;
  const double value = text.starts_with(kBefore) ? std::strtod(text.c_str() + kBefore.size(), &end) : 0;
  if (value > 0 && value < 100 && end && std::string_view(end) == "%") return value / 100;
  throw Error(kUsage, fmt::format("--fail-on '{}' is no condition of a comparison", text),
              "expected is 'best<-10%': some candidate has 10 % less resident memory than as shipped");
}

/// Says on a terminal what runs now.
class Status {
 public:
  explicit Status(std::size_t runs)
      : shows_(isatty(STDERR_FILENO) != 0), runs_(runs), began_(now_seconds()) {}
  ~Status() { clear(); }
  Status(const Status&) = delete;
  Status& operator=(const Status&) = delete;

  void begin() { ++run_; }
  void add_runs(std::size_t more) { runs_ += more; }
  void say(const std::string& candidate, const std::string& what) const {
    if (!shows_) return;
    const double spent = now_seconds() - began_, done = static_cast<double>(run_ - 1);
    const std::string left =
        run_ > 1 ? fmt::format(", some {} to go",
                               duration_text(spent / done * (static_cast<double>(runs_) - done)))
                 : "";
    show_status(fmt::format("run {} of {}: {}, {}{}", run_, runs_, candidate.substr(0, 30), what, left));
  }

 private:
  void clear() const {
    if (shows_) show_status("");
  }
  bool shows_;
  std::size_t runs_, run_ = 0;
  double began_;
};

/// What a candidate's first run suggests, and no huge pages, as candidates of their own.
std::vector<Candidate> suggested_by(const Row& row, bool is_first) {
  std::vector<std::pair<std::string, std::string>> lines;
  const std::string_view huge = report::facts_of(report::RemedyKind::kHugePages).name;
  if (!row.trials[0].failure.empty()) return {};
  for (const auto& [name, line] : row.trials[0].settings) {
    std::string words = name;
    std::replace(words.begin(), words.end(), '_', ' ');
    if (name != huge) lines.emplace_back(words, line);
  }
  lines.emplace_back("no huge pages", "ALLOC_HUGE_PAGES=off");
  return tuned(row.candidate, is_first, lines);
}

/// Every candidate once a round, every other round in reverse: what drifts hits all alike.
/// \return false if it was interrupted
bool run_all(const Plan& plan, std::vector<Row>* rows) {
  const InterruptWatch watch;
  Status status(plan.candidates.size() * static_cast<std::size_t>(plan.rounds));
  for (const Candidate& candidate : plan.candidates) rows->push_back({.candidate = candidate});
  const auto run = [&](std::size_t at, int round) {
    InterruptWatch::check();
    status.begin();
    const std::string name = (*rows)[at].candidate.name;
    const auto progress = [&](const std::string& what) { status.say(name, what); };
    (*rows)[at].trials.push_back(run_once(plan, (*rows)[at].candidate, round + 1, progress));
  };
  try {
    for (int round = 0; round < plan.rounds; ++round) {
      const std::size_t count = rows->size();
      for (std::size_t i = 0; i < count; ++i) run(round % 2 == 0 ? i : count - 1 - i, round);
      if (!plan.tune || round > 0) continue;
      for (std::size_t i = 0; i < count; ++i)
        for (Candidate& candidate : suggested_by((*rows)[i], i == 0)) {
          rows->push_back({.candidate = std::move(candidate)});
          status.add_runs(static_cast<std::size_t>(plan.rounds));
        }
      for (std::size_t i = count; i < rows->size(); ++i) run(i, round);
    }
  } catch (const Interrupted&) {
    return false;
  }
  return true;
}

void print(const std::string& format, const Plan& plan, const Summary& summary) {
  if (format == "json") print_json(as_json(plan, summary));
  else if (format == "markdown") print_text(as_markdown(plan, summary));
  else print_report_text(as_text(plan, summary));
}

ExitStatus compare_all(CompareRequest request) {
  Plan& plan = request.plan;
  plan.candidates = parse_candidates(request.backends, request.tries);
  plan.stop_signal = parse_stop_signal(request.stop);
  check_plan(plan);
  const double least_gain = parse_fail_on(request.fail_on);
  if (!request.html.empty()) {
    require_html();
    check_writable(request.html);
  }
  const Folder folder(request.keep);
  plan.folder = folder.path();
  std::vector<Row> rows;
  const bool complete = run_all(plan, &rows);
  const Summary summary = summarize(plan, std::move(rows));
  print(request.format, plan, summary);
  // What was measured is printed by now, whatever becomes of files.
  if (!request.html.empty()) write_file(request.html, as_html(plan, summary));
  if (!request.keep.empty()) {
    write_file(folder.path() + "/comparison.json", clean_json(as_json(plan, summary)));
    write_file(folder.path() + "/comparison.md", clean_lines(as_markdown(plan, summary)));
  }
  if (!complete)
    throw Error(kUnreadable, "the comparison was interrupted: the figures are of the runs before");
  if (!summary.rows[0].went_through())
    throw Error(kUnreadable, fmt::format("as shipped: {}", summary.rows[0].failure));
  if (least_gain == 0 || -summary.best_change() < least_gain) return kDone;
  tell("finding: {} (--fail-on {})", summary.advice, request.fail_on);
  return kFinding;
}

void add_options(CLI::App* command, CompareRequest* r) {
  Plan& p = r->plan;
  command
      ->add_option("--backends", r->backends, "Candidates: names or paths of allocators, with commas between")
      ->capture_default_str();
  command
      ->add_option("--try", r->tries, "A candidate of variables: 'NAME: VARIABLE=VALUE ...'; can be repeated")
      ->expected(1)
      ->take_all();
  command->add_flag("--tune", p.tune,
                    "Also try what the first report of each candidate advises to set, and no huge pages");
  command->add_flag_callback(
      "--no-latency", [&p] { p.times_calls = false; }, "Do not time calls of malloc and free");
  command->add_option("--runs", p.rounds, "Runs of each candidate")
      ->check(CLI::Range(1, 99))
      ->capture_default_str();
  command->add_option("--ready", p.ready_pattern, "A server is ready when what it prints matches REGEX")
      ->type_name("REGEX");
  command
      ->add_option("--ready-port", p.ready_port,
                   "A server is ready when it accepts a connection at this port")
      ->check(CLI::Range(1, 65535));
  command->add_option("--ready-timeout", p.ready_seconds, "Seconds that it may take")
      ->check(is_wait)
      ->capture_default_str();
  command->add_option("--load", p.load,
                      "What drives the server, for the shell; MALLARD_PID is the server's pid");
  command->add_option("--load-timeout", p.load_seconds, "Seconds that the load may take")
      ->check(is_wait)
      ->capture_default_str();
  command
      ->add_option("--metric", p.metric, "The load's own figure: the first group of REGEX in what it prints")
      ->type_name("REGEX");
  command->add_option("--check", p.check,
                      "For the shell, after idling: must print the same under every candidate");
  command->add_option("--idle", p.idle_seconds, "Seconds between the load's end and the last look")
      ->check(is_wait)
      ->capture_default_str();
  command->add_option("--stop", r->stop, "The signal that stops the server")->capture_default_str();
  command->add_option("--format", r->format, "How the result is printed")
      ->check(CLI::IsMember({"text", "markdown", "json"}))
      ->capture_default_str();
  command->add_option("--html", r->html, "Write the comparison as a page to FILE, too: curves and ledgers")
      ->type_name("FILE");
  command
      ->add_option("--keep", r->keep,
                   "Keep reports, what was printed, comparison.json and comparison.md in this directory")
      ->type_name("DIRECTORY");
  command->add_option("--fail-on", r->fail_on,
                      "End with status 1 if a candidate is that much better: 'best<-10%'");
  command->add_option("COMMAND", p.command, "The program and its arguments, after --")->required();
}

}  // namespace

void add_compare(CLI::App& app, Run* run) {
  auto request = std::make_shared<CompareRequest>();
  CLI::App* command =
      app.add_subcommand("compare", "Run a program under several allocators and say which does best");
  command->prefix_command(false)->positionals_at_end();
  add_options(command, request.get());
  command->footer(
      "The first candidate is the program as it was shipped, which keeps its own allocator. Every run has "
      "mallard in it, so that all bear the same cost. Without --load the program is run until it ends, and "
      "must print the same each time. Measured is the process that COMMAND becomes, not its children.\n\n"
      "Examples:\n"
      "  mallard compare --ready Ready --load 'redis-benchmark -q -t set' \\\n"
      "    -- redis-server\n"
      "  mallard compare --try 'one arena: MALLOC_ARENA_MAX=1' -- ./batch\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 as shipped it did not go through, or "
      "interrupted");
  command->callback([request, run] { *run = [request] { return compare_all(*request); }; });
}

}  // namespace mallard::cli
