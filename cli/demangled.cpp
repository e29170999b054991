// SPDX-License-Identifier: Apache-2.0
#include "cli/demangled.hpp"

#include "base/text.hpp"
#include "symbols/demangle.hpp"

namespace mallard::cli {
namespace {

constexpr std::size_t kLongestName = 16 * 1024;

/// Length of the UTF-8 character that starts the text; 0 if none does.
std::size_t character_length(std::string_view s) {
  const auto at = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const unsigned lead = at(0), second = at(1);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool no_character = (lead == 0xed && second > 0x9f) || (lead == 0xf4 && second > 0x8f);
  return overlong || no_character ? 0 : length;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = character_length(text);
    if (length == 0 || steers_terminals(text.substr(0, length))) out += '?';
    else out += text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string demangled(std::string_view symbol) {
  static symbols::Demangler demangler;
  static char buffer[kLongestName];
  return printable(demangler.demangle(symbol, buffer, sizeof buffer));
}

std::string shortened(const std::string& function, std::size_t columns) {
  std::string buffer(columns, '\0');
  return std::string(symbols::shorten_name(function, buffer.data(), buffer.size(), columns));
}

}  // namespace mallard::cli
