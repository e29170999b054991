// SPDX-License-Identifier: Apache-2.0
#include "cli/top/screen_parts.hpp"

#include <fmt/format.h>

#include "cli/units.hpp"
#include "report/write/columns.hpp"

namespace mallard::cli {

std::string cut(std::string text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80 && seen++ == columns) {
      text.resize(i);
      break;
    }
  return text;
}

std::string right(const std::string& text, std::size_t columns) {
  const std::size_t width = report::columns(text);
  return std::string(columns > width ? columns - width : 1, ' ') + text;
}

std::string spread(const std::string& left, const std::string& end, std::size_t width) {
  const std::size_t used = report::columns(left) + report::columns(end);
  return used >= width ? cut(left, width) : left + std::string(width - used, ' ') + end;
}

std::vector<Line> head_lines(std::span<const std::string> head, std::size_t width) {
  std::vector<Line> lines;
  for (const std::string& text : head) lines.push_back({cut(text, width), LineStyle::kPlain});
  lines.back() = {spread(lines.back().text, "", width), LineStyle::kHeading};
  return lines;
}

void add_scrolled(const std::vector<std::string>& text, std::size_t first, std::size_t width, std::size_t height,
                  const std::function<std::string(const std::string&)>& fitted, std::vector<Line>* lines) {
  const std::size_t taken = lines->size() + 2;  // with the two at the end
  const std::size_t room = height > taken ? height - taken : 1;
  for (std::size_t i = first; i < text.size() && i < first + room; ++i) lines->push_back({fitted(text[i])});
  if (text.size() > first + room)
    lines->push_back({cut(fmt::format("  ... and {} more", text.size() - first - room), width)});
  lines->push_back({cut("Enter goes back, arrows scroll", width)});
}

std::string title_text(const Vitals& v, int pid, const std::string& what, const std::string& clock,
                       std::size_t width) {
  return spread(fmt::format("mallard top: {} ({}), up {}, {}", v.name, pid, duration_text(v.age_seconds), what),
                fmt::format("  {}", clock), width);
}

std::string resident_text(const Vitals& v) {
  return fmt::format("Resident  {}: anonymous {}, files {}, shared {}; swapped {}; counts {}",
                     bytes_text(v.resident), bytes_text(v.anonymous), bytes_text(v.file), bytes_text(v.shared),
                     bytes_text(v.swapped), bytes_text(v.anonymous + v.shared));
}

std::string process_text(const Vitals& v, const VitalRates* rates) {
  return !rates ? fmt::format("Process   {} thread{}", v.threads, v.threads == 1 ? "" : "s")
                : fmt::format("Process   CPU {:.1f} %; page faults {:.0f}/s, {:.0f}/s from disk; {} thread{}",
                              100 * rates->cpu_share, rates->minor_faults, rates->major_faults, v.threads,
                              v.threads == 1 ? "" : "s");
}

std::string rate_text(double bytes) { return fmt::format("{}/s", bytes_text(bytes)); }

}  // namespace mallard::cli
