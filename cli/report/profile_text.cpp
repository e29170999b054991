// SPDX-License-Identifier: Apache-2.0
// The report as text, symbolized.
#include <fmt/format.h>

#include "cli/demangled.hpp"
#include "cli/report/profile.hpp"
#include "cli/units.hpp"
#include "report/model/causes.hpp"

namespace mallard::cli {
namespace {

constexpr std::size_t kColumns = 110, kFunctionColumns = 90, kLabelColumns = 15;

/// Wrapped at words behind a label.
void add_paragraph(std::string_view label, const std::string& text, std::string* out) {
  std::string line = fmt::format("  {:{}}", label, kLabelColumns);
  std::size_t used = 0;
  const std::string safe = printable(text);
  for (std::size_t at = 0; at < safe.size();) {
    std::size_t end = safe.find(' ', at);
    if (end == safe.npos) end = safe.size();
    if (used > 0 && line.size() + 1 + (end - at) > kColumns) {
      *out += line + "\n";
      line = std::string(2 + kLabelColumns, ' ');
      used = 0;
    }
    if (used++ > 0) line += ' ';
    line.append(safe, at, end - at);
    at = end + 1;
  }
  *out += line + "\n";
}

std::string error_text(const Figure& f) {
  if (!f.low || !f.high || !(f.value > 0)) return "±?";
  if (*f.low == *f.high) return "exact";
  const double error = 100 * std::max(f.value - *f.low, *f.high - f.value) / f.value;
  return fmt::format("±{:.{}f} %", error, error < 10 ? 1 : 0);
}

/// "±" takes two bytes and one column.
std::string right(const std::string& text, std::size_t columns) {
  const std::size_t width = text.size() - (text.starts_with("±") ? 1 : 0);
  return std::string(columns > width ? columns - width : 0, ' ') + text;
}

void add_header(const ReportFile& r, std::string* out) {
  *out += fmt::format("mallard {} report {}, {}\n\nProcess\n", printable(r.mallard_version), r.number,
                      utc_text(r.taken_at_ns));
  add_paragraph("program", r.name + ", " + r.executable, out);
  add_paragraph("command line", r.command_line, out);
  add_paragraph("pid", fmt::format("{}", r.pid), out);
  add_paragraph("allocator", r.backend, out);
  const std::string lasted = duration_text(static_cast<double>(r.recorded_ns) / 1e9);
  add_paragraph("recording",
                r.mode == "off" ? "off: no call sites"
                : r.is_exact()  ? fmt::format("exact: every allocation is booked, for {}", lasted)
                                : fmt::format("{}: one sample per {} allocated, on average, for {}", r.mode,
                                              bytes_text(r.sample_bytes), lasted),
                out);
}

void add_verdict(const ReportFile::Verdict& v, std::string* out) {
  if (v.cause.empty()) return;
  *out += "\nVerdict\n";
  add_paragraph("cause", v.cause, out);
  add_paragraph("because", v.text, out);
  if (!v.next_step.empty()) add_paragraph("next step", v.next_step, out);
}

void add_ledger(const ReportFile& r, std::string* out) {
  if (r.ledger.empty()) return;
  *out += fmt::format("\nWhere the resident memory is\n  {:24}{:>12}{:>9}{:>9}\n", "cause", "resident",
                      "of RSS", "error");
  const auto row = [&](std::string_view words, double bytes, const std::string& error) {
    *out += fmt::format("  {:24}{:>12}{:>7.1f} %{}\n", words, bytes_text(bytes),
                        r.rss_bytes > 0 ? 100 * bytes / r.rss_bytes : 0, error);
  };
  for (const ReportFile::Line& line : r.ledger) {
    const Figure& f = line.bytes;
    const bool counted = f.low && f.high && *f.high - *f.low <= 1;
    if (f.value != 0)
      row(printable(report::words_of_cause(line.cause)), f.value, counted ? "" : right(error_text(f), 9));
  }
  row(r.unexplained_bytes < 0 ? "counted twice" : "unexplained", std::abs(r.unexplained_bytes), "");
  row("resident (RSS)", r.rss_bytes, "");
}

void add_frame(const Profile& p, const Place& place, std::string* out) {
  for (const SourceLine& line : place.lines) {
    *out += "        " + shortened(label_of(p, place, line), kFunctionColumns);
    if (!line.file.empty()) *out += fmt::format("  {}:{}", line.file, line.line);
    if (!place.frame->module.empty() && !line.function.empty())
      *out += fmt::format("  [{}]", printable(module_name(*p.report, place.frame->module)));
    if (place.frame->module.empty() && line.function.empty()) *out += " (code outside any loaded file)";
    *out += line.inlined ? "  inlined\n" : "\n";
  }
}

/// What is in no row of the report.
void add_rest(const Profile& p, std::string* out) {
  const ReportFile& r = *p.report;
  if (r.before_bytes > 0)
    *out += fmt::format("  {} more were allocated before exact recording began: no call site is known.\n",
                        bytes_text(r.before_bytes));
  if (r.others.sites == 0) return;
  *out += fmt::format("  {} more sites lead by none of the figures and have no row in the report",
                      r.others.sites);
  if (p.by->others) {
    const double value = r.others.*p.by->others;
    *out += ": " + (p.by->is_bytes ? bytes_text(value) : fmt::format("{:.0f}", value)) + " together";
  }
  *out += ".\n";
}

void add_sites(const Profile& p, std::string* out) {
  *out += fmt::format("\nCall sites by {}\n", p.by->words);
  if (p.sites.empty()) *out += "  none\n";
  else
    *out += fmt::format(
        "  {:>4}{:>12}{:>12}{:>12}{:>12}{:>12}{}{:>9}\n", "rank", "resident", "holes", "live", "blocks",
        "allocated", p.report->is_exact() ? fmt::format("{:>12}{:>12}", "peak", "temporary") : "", "error");
  int rank = 0;
  for (const PlacedSite& placed : p.sites) {
    const ReportSite& s = *placed.site;
    *out += fmt::format(
        "  {:>4}{:>12}{:>12}{:>12}{:>12.0f}{:>12}{}{}\n", fmt::format("#{}", ++rank),
        bytes_text(s.resident_bytes.value), bytes_text(s.hole_bytes.value), bytes_text(s.live_bytes.value),
        s.live_count.value, bytes_text(s.allocated_bytes.value),
        p.report->is_exact()
            ? fmt::format("{:>12}{:>12.0f}", bytes_text(s.peak_bytes.value), s.temporary_count.value)
            : "",
        right(error_text(s.*p.by->figure), 9));
    for (const Place* place : placed.stack) add_frame(p, *place, out);
    if (placed.stack.empty()) *out += "        no stack: what found the table of sites full\n";
  }
  if (p.sites_left_out > 0)
    *out += fmt::format("  {} more with --limit {}\n", p.sites_left_out, p.sites.size() + p.sites_left_out);
  if (p.sites_unfocused > 0) *out += fmt::format("  {} more without --focus\n", p.sites_unfocused);
  add_rest(p, out);
  if (p.report->is_exact()) *out += "  error: exact: every block is counted.\n";
  else
    *out += fmt::format("  error: half of the 95 % confidence interval of {}; ±? where there is none.\n",
                        p.by->words);
}

}  // namespace

std::string as_text(const Profile& p) {
  std::string out;
  add_header(*p.report, &out);
  add_verdict(p.report->verdict, &out);
  add_ledger(*p.report, &out);
  add_sites(p, &out);
  return out;
}

}  // namespace mallard::cli
