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
  for (std::size_t i = 0; i < json.size(); ++i) {
    const auto c = static_cast<unsigned char>(json[i]);
    const auto next = static_cast<unsigned char>(i + 1 < json.size() ? json[i + 1] : 0);
    const bool is_pair = c == 0xc2 && next >= 0x80 && next < 0xa0;
    if (is_pair) ++i;
    if (is_pair || c == 0x7f) out += fmt::format("\\u{:04x}", is_pair ? next : c);
    else out += json[i];
  }
  return out;
}

void print_bytes(std::string_view bytes) { std::fwrite(bytes.data(), 1, bytes.size(), stdout); }
void print_text(std::string_view text) { print_bytes(clean_lines(text)); }
void print_json(std::string_view json) { print_bytes(clean_json(json)); }

void tell_line(std::string_view line) {
  const std::string all = "mallard: " + clean_lines(line) + "\n";
  std::fwrite(all.data(), 1, all.size(), stderr);
}

}  // namespace mallard::cli
