// SPDX-License-Identifier: Apache-2.0
// shorten_name: what to leave out of a demangled name so that a person still recognises it.
#include <cstdint>
#include <initializer_list>

#include "base/text.hpp"
#include "symbols/demangle.hpp"

namespace mallard::symbols {
namespace {

constexpr std::size_t kShortestHead = 8;
constexpr int kKeepAll = 64;

bool in_identifier(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

/// Length of the token at `i`, so that brackets within operators and arrows are not taken for brackets.
std::size_t token_length(std::string_view s, std::size_t i) noexcept {
  constexpr std::string_view kOperator = "operator";
  constexpr std::string_view kSymbols[] = {"()", "[]", "->*", "->", "<<=", ">>=", "<=>",
                                           "<<", ">>", "<=",  ">=", "<",   ">"};
  const std::string_view rest = part_of(s, i);
  if (rest.starts_with("->")) return 2;
  if (!rest.starts_with(kOperator) || (i > 0 && in_identifier(s[i - 1]))) return 1;
  for (std::string_view symbol : kSymbols)
    if (part_of(rest, kOperator.size()).starts_with(symbol)) return kOperator.size() + symbol.size();
  return rest.size() > kOperator.size() && in_identifier(rest[kOperator.size()]) ? 1 : kOperator.size();
}

/// Calls visit(index, token length, depth within brackets) for each token; an opening bracket has the depth
/// outside, a closing one too.
template <class Visit>
void walk(std::string_view s, Visit visit) noexcept {
  int depth = 0;
  for (std::size_t i = 0, length; i < s.size(); i += length) {
    length = token_length(s, i);
    const bool opens = length == 1 && (s[i] == '<' || s[i] == '(' || s[i] == '{' || s[i] == '[');
    const bool closes = length == 1 && (s[i] == '>' || s[i] == ')' || s[i] == '}' || s[i] == ']');
    if (closes && depth > 0) --depth;
    visit(i, length, depth);
    if (opens) ++depth;
  }
}

/// Writes what fits and counts what would have been written.
class Output {
 public:
  Output(char* to, std::size_t capacity) noexcept : to_(to), capacity_(capacity) {}
  void add(std::string_view s) noexcept {
    for (char c : s) {
      if (size_ < capacity_) to_[size_] = c;
      ++size_;
    }
  }
  std::size_t size() const noexcept { return size_; }

 private:
  char* to_;
  std::size_t capacity_, size_ = 0;
};

/// Copies `s` with <...> and (...) in the place of bracket contents deeper than `keep`. The bracket that a
/// Rust path starts with (<Type as Trait>::function) is the path itself and does not count.
std::size_t collapse(std::string_view s, int keep, char* to, std::size_t capacity) noexcept {
  Output out(to, capacity);
  if (s.starts_with('<')) ++keep;
  int hidden_from = -1;  // depth of the bracket whose contents are left out
  walk(s, [&](std::size_t i, std::size_t length, int depth) noexcept {
    const char c = s[i];
    if (hidden_from >= 0) {
      if (depth > hidden_from || length != 1 || (c != '>' && c != ')')) return;
      hidden_from = -1;
    }
    out.add(part_of(s, i, length));
    if (length != 1 || depth < keep || (c != '<' && c != '(')) return;
    const std::string_view inside = part_of(s, i + 1);
    if (inside.starts_with(')') || inside.starts_with("anonymous namespace)")) return;
    out.add("...");
    hidden_from = depth;
  });
  return out.size();
}

/// Where the parameter list of the function starts, and its end; kNowhere if there is none.
void find_parameters(std::string_view s, std::size_t* begin, std::size_t* end) noexcept {
  *begin = *end = kNowhere;
  std::size_t opened = kNowhere;
  walk(s, [&](std::size_t i, std::size_t length, int depth) noexcept {
    if (depth != 0 || length != 1) return;
    if (s[i] == '(') opened = i;
    if (s[i] == ')' && opened != kNowhere) {
      *begin = opened;
      *end = i + 1;
    }
    if (s[i] == ':') *begin = *end = kNowhere;  // they belonged to an enclosing function
  });
}

/// Takes a character that was cut in two off the end.
std::size_t whole_characters(const char* s, std::size_t size) noexcept {
  std::size_t start = size;
  while (start > 0 && size - start < 4 && (static_cast<unsigned char>(s[start - 1]) & 0xc0) == 0x80) --start;
  if (start == 0 || static_cast<unsigned char>(s[start - 1]) < 0xc0) return size;
  const auto lead = static_cast<unsigned char>(s[start - 1]);
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  return start - 1 + length == size ? size : start - 1;
}

}  // namespace

std::size_t last_component(std::string_view s) noexcept {
  std::size_t at = 0;
  walk(s, [&](std::size_t i, std::size_t, int depth) noexcept {
    if (depth == 0 && i > 0 && s[i] == ':' && s[i - 1] == ':') at = i + 1;
  });
  return at;
}

std::string_view path_of(std::string_view name) noexcept {
  std::size_t begin, end, start = 0;
  find_parameters(name, &begin, &end);
  const std::string_view path = part_of(name, 0, begin);
  bool in_operator = false;  // "operator new", "operator unsigned long"
  walk(path, [&](std::size_t i, std::size_t length, int depth) noexcept {
    if (depth == 0 && path[i] == ' ' && !in_operator) start = i + 1;
    in_operator |= depth == 0 && length > 1 && path[i] == 'o';
  });
  return part_of(path, start);
}

std::string_view shorten_name(std::string_view name, char* to, std::size_t bytes,
                              std::size_t columns) noexcept {
  if (name.size() <= columns) return name;
  if (columns > bytes) columns = bytes;
  if (columns < kShortestHead) return part_of(name, 0, columns);

  // Without the parameters, and what follows them (const, [clone ...]).
  std::size_t begin, end;
  find_parameters(name, &begin, &end);
  const std::string_view path = part_of(name, 0, begin);
  const bool has_parameters = begin != kNowhere && end - begin > 2;
  const std::string_view rest = begin == kNowhere ? "" : has_parameters ? "(...)" : "()";
  if (rest.size() + kShortestHead + 3 > columns) {
    __builtin_memcpy(to, name.data(), columns - 3);
    const std::size_t kept = whole_characters(to, columns - 3);
    __builtin_memcpy(to + kept, "...", 3);
    return {to, kept + 3};
  }
  const std::size_t room = columns - rest.size();
  const auto end_at = [&](std::size_t size) noexcept {
    __builtin_memcpy(to + size, rest.data(), rest.size());
    return std::string_view(to, size + rest.size());
  };
  for (int keep : {kKeepAll, 3, 2, 1, 0}) {
    const std::size_t size = collapse(path, keep, to, room);
    if (size <= room) return end_at(size);
  }

  const std::string_view tail = part_of(path, last_component(path));
  const std::size_t tail_size = collapse(tail, 0, to, 0);
  if (tail_size + 3 + kShortestHead > room) {  // not even the function's own name fits beside a start
    collapse(tail, 0, to, room - 3);
    std::size_t kept = whole_characters(to, tail_size < room - 3 ? tail_size : room - 3);
    __builtin_memcpy(to + kept, "...", 3);
    return end_at(kept + 3);
  }
  collapse(path, 0, to, room - 3 - tail_size);
  std::size_t head = whole_characters(to, room - 3 - tail_size);
  while (head > 0 && (to[head - 1] == '.' || to[head - 1] == '<' || to[head - 1] == '('))
    --head;  // no <......
  __builtin_memcpy(to + head, "...", 3);
  collapse(tail, 0, to + head + 3, tail_size);
  return end_at(head + 3 + tail_size);
}

}  // namespace mallard::symbols
