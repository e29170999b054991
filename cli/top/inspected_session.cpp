// SPDX-License-Identifier: Apache-2.0
#include "cli/top/inspected_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <sstream>
#include <utility>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/inspect/access.hpp"
#include "cli/inspect/inspection.hpp"
#include "cli/process/apart.hpp"
#include "cli/process/find_process.hpp"
#include "cli/process/target.hpp"
#include "cli/report/text_shown.hpp"
#include "cli/terminal_text.hpp"
#include "cli/units.hpp"
#include "report/model/causes.hpp"

namespace mallard::cli {
namespace {

constexpr double kInspectionSeconds = 60;
constexpr double kRest = 3;  // so many times as long as a ledger took is none taken on a screen
constexpr std::size_t kHeaderLines = 8, kBatchWidth = 140;

constexpr const char kTakenMark[] = "taken";

/// In a process of its own: the screen goes on, and a key ends it.
ReportFile inspection_of(int pid, const std::atomic<bool>& stop) {
  Apart apart = run_apart(
      [pid](const Told& told) {
        try {
          const std::string json = inspection_json(pid, true, {});
          told.line(kTakenMark);
          told.write(json);
        } catch (const Error& e) {
          told.line(e.what());
        }
      },
      kInspectionSeconds, &stop);
  if (!apart.in_time) throw Error(kUnreadable, fmt::format("it took longer than {:g} s", kInspectionSeconds));
  const std::string first = take_line(&apart.text);
  if (first == kTakenMark) return parse_report(apart.text, fmt::format("the inspection of {}", pid));
  throw Error(kUnreadable, !first.empty() ? first : "it could not be read in one piece");
}

std::string why_no_sites(int pid) {
  std::string maps;
  read_whole(fmt::format("/proc/{}/maps", pid), &maps);
  constexpr const char* kBegin = "Not recorded, so no call sites";
  if (maps.find("/ld-musl-") != maps.npos || maps.find("/libc.so\n") != maps.npos)
    return fmt::format("{}: the recorder needs glibc, and this is musl", kBegin);
  if (maps.find("/ld-linux") == maps.npos && maps.find("/ld-2.") == maps.npos)
    return fmt::format("{}: it is static, and nothing can be loaded into it", kBegin);
  return fmt::format("{}; mallard attach {} records them from now on", kBegin, pid);
}

/// With mallard, preloaded or attached: the other view shows more.
bool is_recorded(int pid) {
  if (!has_mallard(pid)) return false;
  try {
    look_at(pid, "top");
    return true;
  } catch (const Error&) {
    return false;  // loaded and detached; or it has ended, which the next reading sees
  }
}

std::string heap_text(const report::Snapshot& s) {
  const std::string name = printable(allocator_text(s));
  const bool has_name = s.allocator.name != report::kNoAllocator && !s.allocator.name.empty();
  if (s.ledger.divided) return name;
  const std::string why = fmt::format("not divided: {}", printable(s.ledger.not_divided_why ? s.ledger.not_divided_why : ""));
  return has_name ? fmt::format("{}, {}", name, why) : why;
}

}  // namespace

InspectedSession::InspectedSession(TopRequest& request)
    : LiveView(request),
      watch_([pid = request.pid](const std::atomic<bool>& stop) { return inspection_of(pid, stop); }) {
  view_.pid = request.pid;
  view_.selects = !request.batch;
  view_.by_change = request.sort == TopSort::kGrowth;
  view_.allocator = "being looked into";
  who_ = find_access(request.pid, "top").who;
  meet_program();
}

/// What is known of the program before is not of this one.
void InspectedSession::meet_program() {
  program_ = std::make_unique<outside::OtherProcess>(request_.pid);
  why_no_sites_ = why_no_sites(request_.pid);
  rows_ = {};
  report_.reset();
}

bool InspectedSession::is_due() const {
  if (is_asked_ || asked_at_ == 0) return true;
  const double since = now_seconds() - asked_at_;
  if (request_.ledger_seconds > 0) return since >= request_.ledger_seconds;
  return request_.batch || report_at_ == 0 || now_seconds() - report_at_ >= kRest * took_;
}

LiveView::State InspectedSession::read() {
  Vitals vitals;
  if (!read_vitals(request_.pid, &vitals)) return State::kGone;
  const Access access = find_access(request_.pid, "top");
  if (is_recorded(request_.pid)) return State::kTurned;
  if (!program_->is_still_there()) {
    meet_program();
    changed_ = fmt::format("It has become another program, {}: changes count from here", vitals.name);
  }
  view_.has_rates = view_.vitals.at_seconds > 0;
  if (view_.has_rates) view_.rates = rates_between(view_.vitals, vitals);
  view_.vitals = vitals;
  view_.clock = clock_text();
  view_.message = !access.may_copy
                      ? fmt::format("The heap cannot be looked into: {}; {}", access.why_not, access.remedy)
                  : !changed_.empty() ? std::exchange(changed_, {})
                                      : why_no_sites_;
  if (is_due() && !watch_.is_busy()) {
    asked_at_ = now_seconds();
    is_asked_ = false;
    watch_.ask();
  }
  return State::kThere;
}

bool InspectedSession::waits() const { return watch_.is_busy(); }

void InspectedSession::take(ReportFile report) {
  report_ = std::make_unique<ReportFile>(std::move(report));
  took_ = watch_.took_seconds();
  report_at_ = asked_at_ + took_;
  const report::Snapshot& s = report_->data;
  view_.allocator = heap_text(s);
  LedgerReading reading{report_at_, static_cast<double>(s.ledger.rss_bytes), s.ledger.divided,
                        std::string(s.allocator.name), {}};
  for (const ReportFile::Line& line : report_->ledger) reading.lines.push_back({line.cause, line.bytes.value});
  rows_.add(reading);
}

void InspectedSession::describe_ledger() {
  if (!report_) {
    view_.ledger = "it is being taken";
    return;
  }
  view_.ledger = fmt::format("{} ago, in {}; verdict ", duration_text(now_seconds() - report_at_),
                             duration_text(took_));
  view_.ledger += report_->verdict.empty() ? "none" : printable(report_->verdict);
  if (!report_->data.ledger.known) view_.ledger += "; the mappings could not be read";
}

void InspectedSession::update() {
  std::string error;
  std::optional<ReportFile> report = watch_.take_report(&error);
  if (report) take(std::move(*report));
  describe_ledger();
  if (!error.empty() && !is_gone(request_.pid)) view_.message = fmt::format("No ledger: {}", error);
}

std::vector<Line> InspectedSession::batch_lines() {
  const std::size_t lines = request_.rows == 0 ? 0 : kHeaderLines + static_cast<std::size_t>(request_.rows);
  return inspected_screen(view_, rows_, rows_.sort(view_.by_change), kBatchWidth, lines);
}

std::vector<std::string> InspectedSession::inspection(std::size_t width) {
  std::vector<std::string> lines;
  if (!report_) return {"No ledger has been taken yet"};
  std::istringstream text(fitted(text_shown(report_.get(), false,
                                            fmt::format("all figures: mallard inspect --full {}", request_.pid)),
                                 width));
  for (std::string line; std::getline(text, line);) lines.push_back(printable(line));
  return lines;
}

void InspectedSession::show(Terminal& terminal) {
  const std::size_t width = terminal.width(), height = terminal.height();
  if (page_ == Page::kHelp) return terminal.show(inspected_help(width));
  if (page_ == Page::kDetail) return terminal.show(inspection_screen(view_, inspection(width), width, height));
  const std::vector<CauseRow>& rows = rows_.sort(view_.by_change);
  const std::size_t room = height > kHeaderLines ? height - kHeaderLines : 1;
  if (view_.selected >= rows.size()) view_.selected = rows.empty() ? 0 : rows.size() - 1;
  view_.first = view_.selected >= room ? view_.selected - room + 1 : 0;
  terminal.show(inspected_screen(view_, rows_, rows, width, height));
}

void InspectedSession::scroll(const Terminal& terminal, Key key) {
  const bool of_text = page_ == Page::kDetail;
  const std::size_t taken = of_text ? 3 : kHeaderLines, height = terminal.height();
  const std::size_t count =
      of_text ? inspection(terminal.width()).size() : rows_.sort(view_.by_change).size();
  const std::size_t room = height > taken + 1 ? height - taken : 1;
  // Text stops when its end is in sight.
  const std::size_t last = !of_text ? std::max<std::size_t>(count, 1) - 1 : count > room ? count - room : 0;
  std::size_t& at = of_text ? view_.first : view_.selected;
  at = static_cast<std::size_t>(
      std::clamp(static_cast<long>(at) + steps_of(key, room), 0L, static_cast<long>(last)));
}

void InspectedSession::press_character(Terminal& terminal, char c) {
  view_.message = why_no_sites_;
  switch (c) {
    case ' ':
    case 'l':
      is_asked_ = true;
      read_at_once();
      break;
    case 's':
    case 'd':
      if (const std::string why = ask_delay(terminal, kHeaderLines - 2); !why.empty()) view_.message = why;
      break;
    case 'L':
    case 'R':
    case 'G':
      view_.by_change = c == 'G';
      break;
    case 'A':
    case 'C':
      view_.message = fmt::format("Key {} sorts call sites. {}", c, why_no_sites_);
      break;
    case 'z':
      rows_.forget_changes();
      is_asked_ = true;
      read_at_once();
      break;
    default:
      view_.message = fmt::format("There is no key '{}': h shows the keys", c);
  }
}

}  // namespace mallard::cli
