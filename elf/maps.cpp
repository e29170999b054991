// SPDX-License-Identifier: Apache-2.0
#include "elf/maps.hpp"

#include <algorithm>
#include <charconv>

#include "base/lines.hpp"
#include "base/text.hpp"

namespace mallard::elf {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

/// Takes fields off the front of a line; remembers whether anything that was asked for was not there.
class Fields {
 public:
  explicit Fields(std::string_view line) noexcept : at_(line.begin()), end_(line.end()) {}

  /// \param separator  stands behind the number
  std::uint64_t number(int base, char separator) noexcept {
    std::uint64_t value = 0;
    const auto [next, error] = std::from_chars(at_, end_, value, base);
    good_ = good_ && error == std::errc();
    at_ = next;
    skip(separator);
    return value;
  }
  std::string_view rights() noexcept {
    const char* from = at_;
    at_ += std::min<std::ptrdiff_t>(4, end_ - at_);
    skip(' ');
    return {from, 4};
  }
  std::string_view rest() noexcept {
    at_ = std::find_if(at_, end_, [](char c) noexcept { return c != ' '; });
    return {at_, end_};
  }
  bool good() const noexcept { return good_; }

 private:
  void skip(char c) noexcept {
    good_ = good_ && at_ != end_ && *at_ == c;
    at_ += good_;
  }

  const char *at_, *end_;
  bool good_ = true;
};

bool is_octal(char c) noexcept { return c >= '0' && c <= '7'; }

}  // namespace

std::optional<Mapping> parse_mapping(std::string_view line) noexcept {
  Fields at(line);
  Mapping m{};
  m.begin = at.number(16, '-');
  m.end = at.number(16, ' ');
  const std::string_view rights = at.rights();
  m.offset = at.number(16, ' ');
  const std::uint64_t major = at.number(16, ':'), minor = at.number(16, ' ');
  m.inode = at.number(10, ' ');
  if (!at.good() || m.end <= m.begin) return {};
  m.readable = rights[0] == 'r';
  m.writable = rights[1] == 'w';
  m.executable = rights[2] == 'x';
  m.shared = rights[3] == 's';
  m.device = (minor & 0xff) | major << 8 | (minor & ~std::uint64_t{0xff}) << 12;  // st_dev's packing
  m.path = at.rest();
  m.deleted = m.inode != 0 && m.path.ends_with(kDeleted);
  if (m.deleted) m.path.remove_suffix(kDeleted.size());
  return m;
}

std::size_t unescape_path(std::string_view path, char* to) noexcept {
  std::size_t n = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '\\' && i + 3 < path.size() && is_octal(path[i + 1]) && is_octal(path[i + 2]) &&
        is_octal(path[i + 3])) {
      to[n++] = static_cast<char>((path[i + 1] - '0') * 64 + (path[i + 2] - '0') * 8 + (path[i + 3] - '0'));
      i += 3;
    } else {
      to[n++] = path[i];
    }
  }
  return n;
}

bool for_each_mapping(Arena& arena, const char* maps_path,
                      void (*visit)(const Mapping& mapping, void* opaque) noexcept, void* opaque) noexcept {
  struct State {
    Arena& arena;
    void (*visit)(const Mapping& mapping, void* opaque) noexcept;
    void* opaque;
    Mapping before;
  } state{arena, visit, opaque, {}};
  // The kernel is asked piece by piece: what grew or was joined meanwhile may be told of once more.
  return for_each_line(
      arena, maps_path,
      [](std::string_view line, void* to) noexcept {
        State& s = *static_cast<State*>(to);
        std::optional<Mapping> m = parse_mapping(line);
        if (!m || m->end <= s.before.end) return;
        if (m->begin < s.before.end) {
          if (m->inode != 0) m->offset += s.before.end - m->begin;
          m->begin = s.before.end;
        }
        // Neighbours often have the same path, which is kept once.
        const bool same = m->inode == s.before.inode && m->device == s.before.device;
        if (same && m->inode != 0 && m->path == s.before.path) {
          m->path = s.before.path;
        } else if (!m->path.empty()) {
          char* kept = s.arena.array<char>(m->path.size());
          m->path = {kept, kept ? unescape_path(m->path, kept) : 0};
        }
        s.visit(*m, s.opaque);
        s.before = *m;
      },
      &state);
}

}  // namespace mallard::elf
