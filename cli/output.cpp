// SPDX-License-Identifier: Apache-2.0
#include "cli/output.hpp"

#include <cstdio>

#include "base/text.hpp"
#include "cli/demangled.hpp"

namespace mallard::cli {

std::string clean_lines(std::string_view text) {
  std::string out;
  while (true) {
    const std::size_t end = text.find('\n');
    out += printable(text.substr(0, end));
    if (end == text.npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

std::string clean_json(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  while (!json.empty()) {
    const auto lead = static_cast<unsigned char>(json[0]);
    const std::string_view c = json.substr(0, lead == 0xc2 ? 2 : lead == 0xe2 ? 3 : 1);
    if (c != "\n" && c != "\t" && steers_terminals(c)) out += fmt::format("\\u{:04x}", code_point_of(c));
    else out += c;
    json.remove_prefix(c.size());
  }
  return out;
}

void print_bytes(std::string_view bytes) { std::fwrite(bytes.data(), 1, bytes.size(), stdout); }
void print_text(std::string_view text) { print_bytes(clean_lines(text)); }
void print_json(std::string_view json) { print_bytes(clean_json(json)); }

void tell_line(std::string_view line) { tell_lines(printable(line)); }
void tell_lines(std::string_view lines) {
  const std::string all = "mallard: " + clean_lines(lines) + "\n";
  std::fwrite(all.data(), 1, all.size(), stderr);
}

}  // namespace mallard::cli
