// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal_text.hpp"
#include "cli/output.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

namespace mallard::cli {
namespace {

constexpr std::size_t kFewestColumns = 40;  // what is narrower cannot hold a table anyway

using Line = std::u32string;  // one element a column: the texts have no combining marks
using Lines = std::vector<Line>;

Lines lines_of(const std::string& text) {
  Lines out;
  Line line;
  for (const unsigned char c : text) {
    if (c == '\n') out.push_back(std::exchange(line, {}));
    else if ((c & 0xC0) == 0x80 && !line.empty()) line.back() = line.back() << 6 | (c & 0x3F);
    else line += c < 0x80 ? c : c & (c >= 0xF0 ? 0x07u : c >= 0xE0 ? 0x0Fu : 0x1Fu);
  }
  if (!line.empty()) out.push_back(line);
  return out;
}

void add_utf8(char32_t c, std::string* out) {
  const auto tail = [&](int shift) { *out += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) *out += static_cast<char>(c);
  else if (c < 0x800) *out += static_cast<char>(0xC0 | c >> 6), tail(0);
  else if (c < 0x10000) *out += static_cast<char>(0xE0 | c >> 12), tail(6), tail(0);
  else *out += static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0);
}

std::string text_of(const Lines& lines) {
  std::string out;
  for (const Line& line : lines) {
    for (const char32_t c : line) add_utf8(c, &out);
    out += '\n';
  }
  return out;
}

std::size_t indent_of(const Line& line) { return std::min(line.find_first_not_of(U' '), line.size()); }

/// Where the text behind a label begins: "  because                 52.3 MiB are holes"; npos where there is
/// none.
std::size_t text_column(const Line& line) {
  const std::size_t start = indent_of(line), gap = line.find(U"  ", start);
  return start == 0 || gap == line.npos ? line.npos : line.find_first_not_of(U' ', gap);
}

bool is_row(const Line& line) {
  constexpr int kGapsOfARow = 3;
  int gaps = 0;
  for (std::size_t i = indent_of(line); (i = line.find(U"  ", i)) != line.npos;
       i = std::min(line.find_first_not_of(U' ', i), line.size()))
    ++gaps;
  return gaps >= kGapsOfARow && line[0] == U' ';
}

std::size_t width_of(const std::vector<Line*>& rows) {
  std::size_t widest = 0;
  for (const Line* row : rows) widest = std::max(widest, row->size());
  return widest;
}

/// Takes a column of blanks out of the widest gap that all rows have. \return false if each gap is one blank
bool narrow_once(const std::vector<Line*>& rows) {
  const auto is_blank = [&](std::size_t column) {
    return std::all_of(rows.begin(), rows.end(),
                       [&](const Line* row) { return column >= row->size() || (*row)[column] == U' '; });
  };
  std::size_t widest = 1, where = 0, run = 0;
  const std::size_t width = width_of(rows);
  std::size_t first = 0;
  while (first < width && is_blank(first)) ++first;
  for (std::size_t column = first; column < width; ++column) {
    run = is_blank(column) ? run + 1 : 0;
    if (run > widest) {
      widest = run;
      where = column;
    }
  }
  if (where == 0) return false;
  for (Line* row : rows)
    if (where < row->size()) row->erase(where, 1);
  return true;
}

/// The rows of each paragraph are one table.
void narrow_tables(Lines* lines, std::size_t columns) {
  std::vector<Line*> rows;
  const auto finish = [&] {
    while (width_of(rows) > columns && narrow_once(rows)) {
    }
    rows.clear();
  };
  for (Line& line : *lines) {
    if (line.empty()) finish();
    else if (is_row(line)) rows.push_back(&line);
  }
  finish();
}

/// Makes one line of a label's text, whose lines begin below each other.
Lines joined(const Lines& lines) {
  Lines out;
  std::size_t column = Line::npos;
  for (const Line& line : lines) {
    if (!out.empty() && column != Line::npos && indent_of(line) == column && !is_row(line)) {
      out.back() += U' ' + line.substr(column);
      continue;
    }
    column = is_row(line) ? Line::npos : text_column(line);
    out.push_back(line);
  }
  return out;
}

void add_broken(Line line, std::size_t columns, Lines* out) {
  const std::size_t text = is_row(line) ? Line::npos : text_column(line);
  std::size_t column = text != Line::npos && text <= columns / 2 ? text : indent_of(line) + 2;
  if (column > columns / 2) column = 4;
  while (line.size() > columns) {
    std::size_t end = line.rfind(U' ', columns), next = end + 1;
    if (end == line.npos || end <= column) end = next = columns;  // a word that fits nowhere
    const std::size_t kept = line.find_last_not_of(U' ', end - 1) + 1;
    out->push_back(line.substr(0, kept));
    line = Line(column, U' ') + line.substr(std::min(line.find_first_not_of(U' ', next), line.size()));
  }
  out->push_back(line);
}

std::size_t terminal_rows(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 ? size.ws_row : 24;
}

/// From its heading to the next empty line.
std::string paragraph(const std::string& text, const std::string& heading) {
  const std::size_t begin = text.find("\n" + heading + "\n");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find("\n\n", begin + 1) - begin) + "\n";
}

/// The last paragraph of a report says all in short, but tables of this command may follow. A text without
/// one has its verdict repeated.
void put_conclusion_last(std::string* text) {
  std::string conclusion = paragraph(*text, "In short");
  const std::size_t at = conclusion.empty() ? text->npos : text->find(conclusion);
  if (at != text->npos) text->erase(at, conclusion.size());
  else if (conclusion.empty()) conclusion = paragraph(*text, "Verdict");
  else return;  // it is the last already
  *text += conclusion;
}

}  // namespace

std::size_t terminal_columns(int fd) {
  winsize size{};
  if (!isatty(fd)) return std::numeric_limits<std::size_t>::max();
  constexpr std::size_t kUsual = 80;
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsual;
}

bool wants_colour(int fd) {
  const char *none = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  return isatty(fd) && !(none && *none) && terminal && std::string_view(terminal) != "dumb";
}

std::string fitted(const std::string& text, std::size_t columns) {
  Lines lines = lines_of(text);
  columns = std::max(columns, kFewestColumns);
  if (std::none_of(lines.begin(), lines.end(), [&](const Line& line) { return line.size() > columns; }))
    return text;
  narrow_tables(&lines, columns);
  Lines out;
  for (const Line& line : joined(lines)) add_broken(line, columns, &out);
  return text_of(out);
}

std::string set_off(const std::string& text) {
  std::string out;
  bool after_blank = true;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    constexpr std::string_view kCause = "  cause  ";
    const std::size_t value =
        line.starts_with(kCause) ? line.find_first_not_of(' ', kCause.size()) : line.npos;
    const bool is_heading = after_blank && !line.empty() && line[0] != ' ';
    if (is_heading) out += "\033[1m" + line + "\033[0m";
    else if (value != line.npos && line.find("  ", value) == line.npos)
      out += line.substr(0, value) + "\033[1;33m" + line.substr(value) + "\033[0m";
    else out += line;
    out += '\n';
    after_blank = line.empty();
    at = end + 1;
  }
  return out;
}

void show_status(const std::string& line) {
  fmt::print(stderr, "\r\x1b[K{}", clean_lines(line));
  std::fflush(stderr);
}

void print_report_text(const std::string& text) {
  const std::size_t columns = terminal_columns(STDOUT_FILENO);
  std::string shown = clean_lines(text);
  if (isatty(STDOUT_FILENO)) {
    shown = fitted(shown, columns);
    const auto rows = static_cast<std::size_t>(std::count(shown.begin(), shown.end(), '\n'));
    if (rows > terminal_rows(STDOUT_FILENO)) put_conclusion_last(&shown);
  }
  if (wants_colour(STDOUT_FILENO)) shown = set_off(shown);
  print_bytes(shown);
}

}  // namespace mallard::cli
