// SPDX-License-Identifier: Apache-2.0
#include "cli/output.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/text.hpp"
#include "cli/demangled.hpp"
#include "cli/error.hpp"

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

namespace {

[[noreturn]] void fail_to_write(const std::string& path, int error) {
  throw Error(kUnreadable, fmt::format("'{}' cannot be written: {}", path, std::strerror(error)));
}

}  // namespace

void check_writable(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "ae");
  if (!file) fail_to_write(path, errno);
  std::fclose(file);
}

void write_file(const std::string& path, std::string_view content) {
  std::FILE* file = std::fopen(path.c_str(), "we");
  if (!file) fail_to_write(path, errno);
  const bool written = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  const int error = errno;
  if (std::fclose(file) != 0 || !written) fail_to_write(path, written ? errno : error);
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
