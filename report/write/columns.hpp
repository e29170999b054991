// SPDX-License-Identifier: Apache-2.0
// Lines and columns of the text report.
#pragma once

#include "base/numbers.hpp"
#include "report/model/estimate.hpp"
#include "report/write/sink.hpp"
#include "report/write/utf8.hpp"

namespace mallard::report {

inline constexpr std::size_t kLabelColumns = 26;

using Cell = FixedText<256>;

/// Columns that UTF-8 text takes in a terminal: continuation bytes take none.
inline std::size_t columns(std::string_view text) noexcept {
  std::size_t n = 0;
  for (char c : text) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return n;
}

inline void add_right(Sink& to, std::string_view text, std::size_t width) noexcept {
  const std::size_t n = columns(text);
  if (n < width) to.add_spaces(width - n);
  to.add(text);
}

/// Bytes from the process that reach a terminal: no control characters, valid UTF-8.
inline void add_printable(Sink& to, std::string_view text) noexcept {
  for_each_utf8(text, [&](std::string_view c) { to.add(steers_terminals(c) ? "?" : c); });
}

inline void label(Sink& to, std::string_view name) noexcept {
  to.add("  ").add(name);
  if (name.size() + 2 < kLabelColumns) to.add_spaces(kLabelColumns - 2 - name.size());
}

/// A number among the parts of a line, and the function of base/numbers.hpp that says how it reads.
template <class T>
struct Number {
  void (*add)(TextBuffer&, T) noexcept;
  T value;
};
inline Number<double> as_bytes(auto n) noexcept { return {add_bytes, static_cast<double>(n)}; }
inline Number<double> as_count(auto n) noexcept { return {add_count, static_cast<double>(n)}; }
inline Number<std::uint64_t> as_grouped(std::uint64_t n) noexcept { return {add_grouped, n}; }
inline Number<std::uint64_t> as_duration(std::uint64_t ns) noexcept { return {add_duration, ns}; }
/// Text of the process among the parts of a line.
struct Printable {
  std::string_view text;
};

inline void add_part(Sink& to, std::string_view text) noexcept { to.add(text); }
inline void add_part(Sink& to, Printable part) noexcept { add_printable(to, part.text); }
inline void add_part(Sink& to, int n) noexcept {
  Cell cell;
  to.add(cell.add_signed(n).view());
}
template <class T>
void add_part(Sink& to, Number<T> part) noexcept {
  Cell cell;
  part.add(cell, part.value);
  to.add(cell.view());
}
/// Texts and numbers, one after the other.
template <class... Parts>
void add_parts(Sink& to, const Parts&... parts) noexcept {
  (add_part(to, parts), ...);
}
/// A line of texts and numbers, with a label before it.
template <class... Parts>
void labelled_line(Sink& to, std::string_view name, const Parts&... parts) noexcept {
  label(to, name);
  add_parts(to, parts..., "\n");
}

/// Lines of sentences are no wider.
inline constexpr std::size_t kLineColumns = 80;

/// Calls visit(word, begins_line) for each word of a text that is broken at spaces. \return its lines
template <class Visit>
std::size_t for_each_word(std::string_view text, std::size_t indent, Visit visit) noexcept {
  std::size_t used = indent, lines = 1;
  for (bool first = true; !text.empty(); first = false) {
    const std::size_t space = text.find(' ');
    const std::string_view word = part_of(text, 0, space);
    const std::size_t width = columns(word);
    const bool begins = !first && used + 1 + width > kLineColumns;
    visit(word, begins, first);
    used = begins ? indent + width : used + width + (first ? 0 : 1);
    lines += begins;
    text = part_of(text, word.size() + (space == std::string_view::npos ? 0 : 1));
  }
  return lines;
}

/// Text broken at spaces, ended by a newline. The caller is at column `indent` already.
inline void add_wrapped(Sink& to, std::string_view text, std::size_t indent) noexcept {
  for_each_word(text, indent, [&](std::string_view word, bool begins_line, bool first) {
    if (begins_line) to.add('\n').add_spaces(indent);
    else if (!first) to.add(' ');
    add_printable(to, word);
  });
  to.add('\n');
}
inline std::size_t lines_of(std::string_view text, std::size_t indent) noexcept {
  return for_each_word(text, indent, [](std::string_view, bool, bool) {});
}

inline void byte_line(Sink& to, std::string_view name, std::uint64_t bytes,
                      std::string_view meaning) noexcept {
  Cell cell;
  add_bytes(cell, static_cast<double>(bytes));
  label(to, name);
  add_right(to, cell.view(), 12);
  if (!meaning.empty()) to.add("   ").add(meaning);
  to.add('\n');
}

/// The error of an estimate relative to it: "±8 %", "exact", or "±?" where there are too few samples.
void add_relative_error(TextBuffer& to, const Estimate& e) noexcept;
/// "12.3 MiB (95 %: 11.0 to 13.6 MiB)", or why there is no interval.
void add_bytes_with_interval(TextBuffer& to, const Estimate& e) noexcept;
inline Number<const Estimate&> as_interval(const Estimate& e) noexcept {
  return {add_bytes_with_interval, e};
}

inline void heading(Sink& to, std::string_view text) noexcept { to.add('\n').add(text).add('\n'); }

}  // namespace mallard::report
