// SPDX-License-Identifier: Apache-2.0
#include "elf/maps.hpp"

#include <fcntl.h>

#include "base/os.hpp"
#include "base/text.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;  // longest path, each byte escaped as \ooo, four times over
constexpr std::string_view kDeleted = " (deleted)";

/// Takes text off the front of a line.
class Cursor {
 public:
  explicit Cursor(std::string_view line) noexcept : rest_(line) {}

  bool number(unsigned base, std::uint64_t* out) noexcept {
    std::uint64_t value = 0;
    std::size_t n = 0;
    for (; n < rest_.size(); ++n) {
      const char c = rest_[n];
      const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                             : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                                                    : 99;
      if (digit >= base) break;
      value = value * base + digit;
    }
    rest_.remove_prefix(n);
    *out = value;
    return n > 0;
  }
  bool skip(char c) noexcept {
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view take(std::size_t n) noexcept {
    const std::string_view taken = part_of(rest_, 0, n);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  void skip_blanks() noexcept {
    while (skip(' ')) {
    }
  }
  std::string_view rest() const noexcept { return rest_; }

 private:
  std::string_view rest_;
};

bool is_octal(char c) noexcept { return c >= '0' && c <= '7'; }

/// The kernel writes a newline in a path as \012, and nothing else so.
std::string_view unescape(std::string_view from, Arena& arena) noexcept {
  char* to = arena.array<char>(from.size());
  if (!to) return {};
  std::size_t n = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i] == '\\' && i + 3 < from.size() && is_octal(from[i + 1]) && is_octal(from[i + 2]) &&
        is_octal(from[i + 3])) {
      to[n++] = static_cast<char>((from[i + 1] - '0') * 64 + (from[i + 2] - '0') * 8 + (from[i + 3] - '0'));
      i += 3;
    } else {
      to[n++] = from[i];
    }
  }
  return {to, n};
}

/// \param before the previous line's: neighbours often have the same path, which is kept once
bool parse(std::string_view line, Arena& arena, const Mapping& before, Mapping* m) noexcept {
  Cursor at(line);
  std::uint64_t begin, end, major, minor;
  if (!at.number(16, &begin) || !at.skip('-') || !at.number(16, &end) || !at.skip(' ')) return false;
  const std::string_view rights = at.take(4);
  if (rights.size() != 4 || !at.skip(' ') || !at.number(16, &m->offset) || !at.skip(' ')) return false;
  if (!at.number(16, &major) || !at.skip(':') || !at.number(16, &minor) || !at.skip(' ')) return false;
  if (!at.number(10, &m->inode) || end <= begin) return false;
  at.skip_blanks();
  m->begin = begin;
  m->end = end;
  m->readable = rights[0] == 'r';
  m->writable = rights[1] == 'w';
  m->executable = rights[2] == 'x';
  m->shared = rights[3] == 's';
  m->device = (minor & 0xff) | major << 8 | (minor & ~std::uint64_t{0xff}) << 12;  // st_dev's packing
  m->deleted = false;
  m->path = {};
  if (at.rest().empty()) return true;
  const bool same = m->inode != 0 && m->inode == before.inode && m->device == before.device;
  if (same && at.rest() == before.path) {
    m->path = before.path;
    return true;
  }
  m->path = unescape(at.rest(), arena);
  if (m->inode != 0 && m->path.ends_with(kDeleted)) {
    m->deleted = true;
    m->path.remove_suffix(kDeleted.size());
  }
  return true;
}

}  // namespace

bool for_each_line(Arena& arena, const char* path, void (*take)(std::string_view line, void* opaque) noexcept,
                   void* opaque) noexcept {
  char* buffer = arena.array<char>(kBufferBytes);
  if (!buffer) return false;
  const long fd = os::open(path, O_RDONLY);
  if (fd < 0) return false;
  std::size_t have = 0;
  long got;
  bool in_overlong = false;  // the start of this line was given away already
  while ((got = os::read(static_cast<int>(fd), buffer + have, kBufferBytes - have)) > 0) {
    have += static_cast<std::size_t>(got);
    std::string_view rest(buffer, have);
    for (std::size_t length; (length = rest.find('\n')) != rest.npos; rest.remove_prefix(length + 1)) {
      if (!in_overlong) take(part_of(rest, 0, length), opaque);
      in_overlong = false;
    }
    if (rest.size() == kBufferBytes) {
      if (!in_overlong) take(rest, opaque);
      in_overlong = true;
      rest.remove_prefix(rest.size());
    }
    __builtin_memmove(buffer, rest.data(), rest.size());
    have = rest.size();
  }
  os::close(static_cast<int>(fd));
  return got == 0;
}

bool for_each_mapping(Arena& arena, const char* maps_path,
                      void (*take)(const Mapping& mapping, void* opaque) noexcept, void* opaque) noexcept {
  struct State {
    Arena& arena;
    void (*take)(const Mapping& mapping, void* opaque) noexcept;
    void* opaque;
    Mapping before;
  } state{arena, take, opaque, {}};
  return for_each_line(
      arena, maps_path,
      [](std::string_view line, void* to) noexcept {
        State& s = *static_cast<State*>(to);
        Mapping mapping{};
        if (!parse(line, s.arena, s.before, &mapping)) return;
        s.take(mapping, s.opaque);
        s.before = mapping;
      },
      &state);
}

}  // namespace mallard::report
