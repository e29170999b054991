// SPDX-License-Identifier: Apache-2.0
#include "cli/top/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/process/attached.hpp"
#include "cli/report/profile.hpp"
#include "cli/units.hpp"

namespace mallard::cli {
namespace {

constexpr double kLedgerInsteadSeconds = 30;  // where the memory may not be read
constexpr std::size_t kBatchWidth = 140;
constexpr std::size_t kNamedTogether = 1000;  ///< so many leading sites tell which functions are wrappers
/// For a process that is starting. One that is ready later is shown without mallard until then.
constexpr double kLongestStartSeconds = 30, kTerminalStartSeconds = 1;

}  // namespace

TopSession::TopSession(TopRequest& request)
    : LiveView(request),
      target_(wait_for_start(request.pid, "top", nullptr,
                             request.batch ? kLongestStartSeconds : kTerminalStartSeconds)),
      symbols_(request.pid),
      names_(&symbols_, request.wrappers + "," + target_.options.wrappers),
      ledger_([this](const std::atomic<bool>& stop) { return mallard::cli::take_ledger(target_, stop); }) {
  try {
    books_ = std::make_unique<RemoteBooks>(request.pid);
  } catch (const Error& e) {
    check_signal(target_, "a report");  // the other way
    why_reports_ = fmt::format("{}: figures come from a report every {:g} s", e.what(),
                               request_.ledger_seconds > 0 ? request_.ledger_seconds : kLedgerInsteadSeconds);
    if (request_.ledger_seconds <= 0) request_.ledger_seconds = kLedgerInsteadSeconds;
  }
  who_ = target_.who();
  view_.pid = request.pid;
  view_.backend = printable(target_.options.backend);
  view_.sort = request.sort;
  view_.stack = [this](std::uint32_t site) { return told_of(site, stack_lines); };
  view_.names = [this](std::uint32_t site) { return told_of(site, names_of); };
  describe_ledger();
}

const report::SiteRow* TopSession::row_of(std::uint32_t site) {
  if (books_) {
    if (!names_.has(site)) {
      names_.add(site, books_->stack(site));
      names_.name_all();
    }
    return names_.row(site);
  }
  if (report_)
    for (const report::SiteRow& row : sites_of(report_->data))
      if (row.id == site) return &row;
  return nullptr;
}

std::vector<std::string> TopSession::told_of(std::uint32_t site, Telling telling) {
  if (site == 0) return {"(stacks that found no room in the books)"};
  const report::SiteRow* row = row_of(site);
  static const report::Snapshot kNoReport{};
  return row ? telling(report_ && !books_ ? report_->data : kNoReport, *row) : std::vector<std::string>();
}

void TopSession::name_leading() {
  const std::vector<TopRow>& rows = model_.sort(view_.sort);
  bool any = false;
  for (std::size_t i = 0; i < std::min(rows.size(), kNamedTogether); ++i) {
    if (names_.has(rows[i].site)) continue;
    names_.add(rows[i].site, books_->stack(rows[i].site));
    any = true;
  }
  if (any) names_.name_all();
}

void TopSession::describe_ledger() {
  if (report_) {
    view_.ledger =
        fmt::format("{} ago: {}", duration_text(now_seconds() - report_at_), ledger_text(*report_));
    if (!report_->verdict.empty() && report_->verdict != "none")
      view_.ledger += fmt::format("; verdict {}", printable(report_->verdict));
  } else {
    view_.ledger =
        request_.batch ? "not asked for (--ledger)" : "not asked for: l takes a report";
  }
  if (ledger_.is_busy())
    view_.ledger += report_ ? " (a new one is being written)" : " ... it is being written";
}

void TopSession::ask_ledger() {
  asked_at_ = now_seconds();
  ledger_.ask();
}

void TopSession::take_ledger() {
  std::string error;
  std::optional<ReportFile> report = ledger_.take_report(&error);
  if (!error.empty()) view_.message = fmt::format("No report: {}", error);
  if (report) {
    report_ = std::make_unique<ReportFile>(std::move(*report));
    report_at_ = now_seconds();
    model_.set_ledger(*report_);
    view_.message = why_reports_;
    Vitals vitals;
    if (!books_ && read_vitals(request_.pid, &vitals)) {
      name_sites(report_.get(), request_.wrappers);
      model_.add(books_of(*report_), vitals, false);
    }
  }
}

LiveView::State TopSession::read() {
  Vitals vitals;
  if (!read_vitals(request_.pid, &vitals)) return State::kGone;
  if (target_.is_attached && !is_attached(request_.pid)) return State::kTurned;
  view_.name = vitals.name;
  view_.clock = clock_text();
  if (request_.ledger_seconds > 0 && (asked_at_ == 0 || now_seconds() - asked_at_ >= request_.ledger_seconds))
    ask_ledger();
  if (books_) {
    Books books;
    // Another program may run in it now; books that could never be read do not get better.
    if (!books_->read(model_.old_ns(), &books))
      return has_read_ && !is_gone(request_.pid) ? State::kTurned : State::kGone;
    model_.add(books, vitals, true);
    name_leading();
  } else if (!report_) {
    view_.message = why_reports_;
    model_.set_vitals(vitals);
  }
  has_read_ = true;
  return State::kThere;
}

bool TopSession::waits() const { return ledger_.is_busy() && (!report_ || !books_); }

void TopSession::update() {
  take_ledger();
  describe_ledger();
}

std::vector<Line> TopSession::batch_lines() {
  const std::size_t lines =
      request_.rows == 0 ? 0 : kTopHeaderLines + static_cast<std::size_t>(request_.rows);
  return main_screen(view_, model_, model_.sort(view_.sort), kBatchWidth, lines);
}

void TopSession::show(Terminal& terminal) {
  const std::size_t width = terminal.width(), height = terminal.height();
  const std::vector<TopRow>& rows = model_.sort(view_.sort);
  if (page_ == Page::kHelp) return terminal.show(help_screen(width));
  if (page_ == Page::kDetail) {
    const auto row =
        std::find_if(rows.begin(), rows.end(), [this](const TopRow& r) { return r.site == shown_site_; });
    if (row != rows.end()) return terminal.show(stack_screen(view_, *row, width, height));
    page_ = Page::kMain;
  }
  const std::size_t room = height > kTopHeaderLines ? height - kTopHeaderLines : 1;
  if (std::exchange(shown_height_, height) != height) view_.first = 0;  // what led may have room again
  if (view_.selected >= rows.size()) view_.selected = rows.empty() ? 0 : rows.size() - 1;
  if (view_.selected < view_.first) view_.first = view_.selected;
  if (view_.selected >= view_.first + room) view_.first = view_.selected - room + 1;
  terminal.show(main_screen(view_, model_, rows, width, height));
}

bool TopSession::find_detail() {
  const std::vector<TopRow>& rows = model_.sort(view_.sort);
  if (view_.selected >= rows.size()) return false;
  shown_site_ = rows[view_.selected].site;
  return true;
}

void TopSession::scroll(const Terminal& terminal, Key key) {
  const std::size_t page = std::max<std::size_t>(terminal.height(), kTopHeaderLines + 2) - kTopHeaderLines - 1;
  std::size_t& at = page_ == Page::kDetail ? view_.first : view_.selected;
  const std::size_t count =
      page_ == Page::kDetail ? view_.stack(shown_site_).size() : model_.sort(view_.sort).size();
  const long last = count > 0 ? static_cast<long>(count) - 1 : 0;
  at = static_cast<std::size_t>(std::clamp(static_cast<long>(at) + steps_of(key, page), 0L, last));
}

void TopSession::sort_by(TopSort sort) {
  if (sort != TopSort::kResident || model_.has_resident()) view_.sort = sort;
  else view_.message = "Resident memory by site is known after a report only: press l";
}

void TopSession::press_character(Terminal& terminal, char c) {
  view_.message = books_ ? "" : why_reports_;
  const auto sort = std::find_if(std::begin(kTopSortNames), std::end(kTopSortNames),
                                 [c](const char* name) { return name[0] - 'a' + 'A' == c; });
  if (sort != std::end(kTopSortNames)) return sort_by(static_cast<TopSort>(sort - std::begin(kTopSortNames)));
  switch (c) {
    case ' ':
      read_at_once();
      break;
    case 's':
    case 'd':
      if (const std::string why = ask_delay(terminal, kTopHeaderLines - 2); !why.empty()) view_.message = why;
      break;
    case 'l':
      ask_ledger();
      break;
    case 'z':
      model_.forget_growth();
      read_at_once();
      break;
    default:
      view_.message = fmt::format("There is no key '{}': h shows the keys", c);
  }
}

}  // namespace mallard::cli
