// SPDX-License-Identifier: Apache-2.0
#include "cli/compare/trial.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <glob.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <regex>

#include "cli/compare/child.hpp"
#include "cli/compare/served.hpp"
#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/ask_report.hpp"
#include "cli/process/process.hpp"
#include "cli/report/report_file.hpp"
#include "cli/top/vitals.hpp"

namespace mallard::cli::compare {
namespace {

constexpr int kStepUs = 50'000;  // 20 looks a second
constexpr double kReportSeconds = 60, kStopSeconds = 10;

/// Why a run gives no figures.
struct Failed {
  std::string why;
};

bool accepts(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool done = connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  close(fd);
  return done;
}

class Run {
 public:
  Run(const Plan& plan, const Candidate& candidate, int round, const Progress& progress, Trial* out)
      : plan_(plan),
        progress_(progress),
        out_(*out),
        backend_(candidate.backend),
        stem_(fmt::format("{}/{}.{}", plan.folder, file_name(candidate.name), round)),
        child_(command_of(candidate), candidate.variables, stem_ + ".output") {}

  void serve() {
    progress_("start");
    wait_ready();
    progress_("load");
    drive();
    out_.after_load_bytes = look().resident;
    out_.faults = static_cast<double>(last_.minor_faults + last_.major_faults);
    read_ledger(&out_.after_load);
    progress_("idle");
    sleep_for(plan_.idle_seconds);
    out_.after_idle_bytes = look().resident;
    read_ledger(&out_.after_idle);
    if (!plan_.check.empty()) out_.result = run_shell(plan_.check, "check", plan_.load_seconds);
    progress_("stop");
    measure();
    child_.stop(plan_.stop_signal, kStopSeconds);
  }

  void run_batch() {
    progress_("run");
    const double began = now_seconds();
    Ending how;
    while (!child_.has_ended(&how)) {
      InterruptWatch::check();
      if (last_.at_seconds + kStepUs / 1e6 < now_seconds()) measure();
      usleep(kStepUs / 10);
    }
    out_.wall_seconds = now_seconds() - began;
    out_.cpu_seconds = how.cpu_seconds;
    out_.peak_bytes = how.peak_bytes;
    out_.faults = static_cast<double>(how.faults);
    if (!how.is_success()) throw Failed{"the program " + how.text() + child_.last_words()};
    out_.result = child_.printed();
    read_last_report();
  }

 private:
  static std::string file_name(std::string name) {
    for (char& c : name)
      if (c == '/' || c == ' ') c = '-';
    return name;
  }

  /// 'mallard run' becomes the program, so that the child's pid is the program's.
  std::vector<std::string> command_of(const Candidate& c) const {
    std::vector<std::string> words{"/proc/self/exe", "run", "--verbose", "--report", stem_ + ".%p.%n"};
    if (plan_.times_calls) words.push_back("--latency");
    if (!c.backend.empty()) words.insert(words.end(), {"--backend", c.backend});
    // An allocator inside the program stays as shipped, and makes room for a candidate.
    if (std::none_of(c.variables.begin(), c.variables.end(),
                     [](const auto& v) { return v.first == "ALLOC_EMBEDDED"; }))
      words.insert(words.end(), {"--embedded", c.backend.empty() ? "report" : "redirect"});
    if (!plan_.is_server()) words.push_back("--at-exit");
    words.push_back("--");
    words.insert(words.end(), plan_.command.begin(), plan_.command.end());
    return words;
  }

  /// The program's figures now. \throws Failed if it has ended
  const Vitals& look() {
    InterruptWatch::check();
    Ending how;
    if (child_.has_ended(&how)) throw Failed{"the program " + how.text() + child_.last_words()};
    measure();
    return last_;
  }

  void measure() {
    if (!read_vitals(child_.pid(), &last_)) return;
    out_.peak_bytes = last_.peak;
    const double since = last_.at_seconds - began_;
    if (out_.curve.empty() || since - out_.curve.back().seconds >= kStepUs / 1e6)
      out_.curve.push_back({since, last_.resident});
  }

  void sleep_for(double seconds) {
    for (const double until = now_seconds() + seconds; now_seconds() < until; usleep(kStepUs)) look();
  }

  bool is_ready() const {
    if (plan_.ready_port != 0) return accepts(plan_.ready_port);
    const std::regex pattern(plan_.ready_pattern);
    return std::regex_search(child_.printed(), pattern) || std::regex_search(child_.errors(), pattern);
  }

  void wait_ready() {
    for (const double until = now_seconds() + plan_.ready_seconds; !is_ready(); usleep(kStepUs)) {
      look();
      if (now_seconds() > until)
        throw Failed{
            fmt::format("it was not ready within {:g} s{}", plan_.ready_seconds, child_.last_words())};
    }
  }

  /// Runs it to its end while the program is watched. \return what it printed
  std::string run_shell(const std::string& command, const char* what, double seconds) {
    Child shell({"/bin/sh", "-c", command}, {{"MALLARD_PID", std::to_string(child_.pid())}},
                fmt::format("{}.{}", stem_, what));
    Ending how;
    for (const double until = now_seconds() + seconds; !shell.has_ended(&how); usleep(kStepUs / 10)) {
      look();
      if (now_seconds() > until) throw Failed{fmt::format("the {} took longer than {:g} s", what, seconds)};
    }
    if (!how.is_success()) throw Failed{fmt::format("the {} {}{}", what, how.text(), shell.last_words())};
    return shell.printed();
  }

  void drive() {
    const double cpu = look().cpu_seconds, began = now_seconds();
    const std::string printed = run_shell(plan_.load, "load", plan_.load_seconds);
    out_.wall_seconds = now_seconds() - began;
    out_.load_began_seconds = began - began_;
    out_.load_ended_seconds = now_seconds() - began_;
    out_.cpu_seconds = look().cpu_seconds - cpu;
    if (plan_.metric.empty()) return;
    std::smatch found;
    if (!std::regex_search(printed, found, std::regex(plan_.metric)))
      throw Failed{fmt::format("the load printed nothing that matches --metric '{}'", plan_.metric)};
    out_.metric = std::strtod(found[1].str().c_str(), nullptr);
  }

  /// Whether the allocator that was asked for serves.
  bool serves(const report::Allocator& a) const {
    if (backend_.empty()) return true;
    if (a.stepped_aside || a.bypassed) return false;
    std::error_code none;
    return backend_.find('/') == backend_.npos ? backend_.starts_with(a.name)  // mimalloc2 is mimalloc
                                               : std::filesystem::equivalent(backend_, a.path, none);
  }

  /// Each report has the times since the start: the last one's stay.
  void keep_latency(const report::Latency& latency) {
    const auto told = [](const report::LatencyRow& row, int quantile) {
      return row.told(quantile) ? std::optional<double>(row.quantiles_ns[quantile]) : std::nullopt;
    };
    out_.timed_every = latency.on ? latency.every : 0;
    constexpr int kHalf = 0, kOneOf100 = 2, kOneOf1000 = 3;  // of kQuantiles
    for (const report::LatencyRow& row : latency.rows)
      for (std::size_t i = 0; i < kTimedCount; ++i)
        if (row.is_total() && row.operation == kTimedOperations[i]) {
          const std::optional<double> times[] = {told(row, kHalf), told(row, kOneOf100),
                                                 told(row, kOneOf1000), row.most_ns};
          std::copy(std::begin(times), std::end(times), out_.latency[i]);
        }
  }

  void keep(const ReportFile& report, Ledger* to) {
    out_.served = served_text(report.data);
    if (const std::string why = why_it_goes_on(report.data); !backend_.empty() && !why.empty())
      throw Failed{why};
    if (!serves(report.data.allocator))
      throw Failed{fmt::format("{} serves the program instead{}", out_.served, child_.last_words())};
    // Its calls alone would be timed, and held against all calls under another candidate.
    out_.inside = allocator_inside(report.data);
    if (out_.inside.empty()) keep_latency(report.data.latency);
    out_.settings.clear();
    for (const report::Remedy& r : report.data.remedies)
      if (r.predicted && report::facts_of(r.kind).lasts && r.site == 0 &&
          r.kind != report::RemedyKind::kOtherBackend)
        out_.settings.emplace_back(report::facts_of(r.kind).name, r.line);
    to->known = !report.ledger.empty();
    to->counts_bytes = report.counts_bytes();
    for (const ReportFile::Line& line : report.ledger)
      if (line.bytes.value > 0) to->lines[std::string(line.cause)] = line.bytes.value;
    for (const report::OtherAllocator& a : report.data.other_allocators.allocators)
      if (a.resident_bytes > 0) to->others[versioned(a)] += static_cast<double>(a.resident_bytes);
  }

  void read_ledger(Ledger* to) {
    ReportWatch watch(wait_for_start(child_.pid(), "compare", "a report", kReportSeconds));
    const NewReport report = watch.ask(false, kReportSeconds);
    keep(parse_report(report.text, report.path), to);
  }

  void read_last_report() {
    glob_t found{};
    glob((stem_ + "." + std::to_string(child_.pid()) + ".*.json").c_str(), 0, nullptr, &found);
    const std::string path = found.gl_pathc > 0 ? found.gl_pathv[found.gl_pathc - 1] : "";
    globfree(&found);
    if (path.empty()) throw Failed{"it left no report: mallard was not loaded into it, or it ended by _exit"};
    keep(read_report(path), &out_.after_load);
  }

  const Plan& plan_;
  const Progress& progress_;
  Trial& out_;
  std::string backend_;
  std::string stem_;
  double began_ = now_seconds();
  Child child_;
  Vitals last_;
};

}  // namespace

Trial run_once(const Plan& plan, const Candidate& candidate, int round, const Progress& progress) {
  Trial out;
  try {
    Run run(plan, candidate, round, progress, &out);
    if (plan.is_server()) run.serve();
    else run.run_batch();
  } catch (const Failed& failed) {
    out.failure = failed.why;
  } catch (const Error& e) {
    InterruptWatch::check();  // an interrupted wait is no failure of the candidate
    out.failure = e.what();
  }
  return out;
}

}  // namespace mallard::cli::compare
