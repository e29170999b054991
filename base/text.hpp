// SPDX-License-Identifier: Apache-2.0
// Strings without libc: comparison, numbers, and a bounded buffer that cuts instead of overflowing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mallard {

/// Appends to a caller's buffer; always NUL-terminated; remembers whether something was cut off.
class TextBuffer {
 public:
  constexpr TextBuffer(char* to, std::size_t bytes) noexcept : to_(to), capacity_(bytes) {
    if (capacity_) to_[0] = '\0';
  }

  TextBuffer& add(std::string_view s) noexcept {
    for (char c : s) add(c);
    return *this;
  }
  TextBuffer& add(char c) noexcept {
    if (size_ + 1 < capacity_) {
      to_[size_++] = c;
      to_[size_] = '\0';
    } else {
      cut_ = true;
    }
    return *this;
  }
  TextBuffer& add_unsigned(std::uint64_t value, unsigned base = 10, unsigned min_digits = 1) noexcept {
    char digits[64];
    unsigned n = 0;
    do digits[n++] = "0123456789abcdef"[value % base];
    while ((value /= base) != 0);
    for (; n < min_digits && n < sizeof digits; ++n) digits[n] = '0';
    while (n > 0) add(digits[--n]);
    return *this;
  }
  TextBuffer& add_signed(std::int64_t value) noexcept {
    if (value < 0) {
      add('-');
      return add_unsigned(std::uint64_t{0} - static_cast<std::uint64_t>(value));
    }
    return add_unsigned(static_cast<std::uint64_t>(value));
  }
  TextBuffer& add_hex(std::uint64_t value) noexcept { return add("0x").add_unsigned(value, 16); }

  std::string_view view() const noexcept { return {to_, size_}; }
  const char* c_str() const noexcept { return to_; }
  std::size_t size() const noexcept { return size_; }
  bool cut() const noexcept { return cut_; }
  void clear() noexcept {
    size_ = 0;
    cut_ = false;
    if (capacity_) to_[0] = '\0';
  }

 private:
  char* to_;
  std::size_t capacity_;
  std::size_t size_ = 0;
  bool cut_ = false;
};

template <std::size_t N>
class FixedText : public TextBuffer {
 public:
  FixedText() noexcept : TextBuffer(storage_, N) {}
  FixedText(const FixedText&) = delete;

 private:
  char storage_[N];
};

inline std::string_view view_of(const char* s) noexcept {
  return s ? std::string_view(s) : std::string_view();
}

/// A part of `s`, as substr gives it, but without the throwing check, which would need libstdc++.
constexpr std::string_view part_of(std::string_view s, std::size_t from,
                                   std::size_t length = std::string_view::npos) noexcept {
  if (from > s.size()) from = s.size();
  return {s.data() + from, length < s.size() - from ? length : s.size() - from};
}

/// What follows the last '/' of a path.
constexpr std::string_view file_name_of(std::string_view path) noexcept {
  return part_of(path, path.rfind('/') + 1);
}

/// Whether a character, given as its UTF-8 bytes, is one that a terminal obeys rather than shows: the control
/// characters of ASCII and U+0080 to U+009F, and those that turn the direction of what follows.
constexpr bool steers_terminals(std::string_view c) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(c.data()[i]); };
  if (c.size() == 1) return at(0) < 0x20 || at(0) == 0x7f;
  if (c.size() == 2) return at(0) == 0xc2 && at(1) < 0xa0;
  if (c.size() != 3 || at(0) != 0xe2) return false;
  if (at(1) == 0x80) return at(2) == 0x8e || at(2) == 0x8f || (at(2) >= 0xa8 && at(2) <= 0xae);
  return at(1) == 0x81 && at(2) >= 0xa6 && at(2) <= 0xa9;
}

/// The number of a character that steers terminals, or of any other of one to three bytes.
constexpr unsigned code_point_of(std::string_view c) noexcept {
  const auto at = [&](std::size_t i) {
    return static_cast<unsigned>(static_cast<unsigned char>(c.data()[i]));
  };
  if (c.size() == 1) return at(0);
  if (c.size() == 2) return (at(0) & 0x1f) << 6 | (at(1) & 0x3f);
  return (at(0) & 0x0f) << 12 | (at(1) & 0x3f) << 6 | (at(2) & 0x3f);
}

/// The decimal number that `s` begins with; 0 if it begins with none.
inline std::uint64_t leading_number(std::string_view s) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < s.size() && s[i] >= '0' && s[i] <= '9'; ++i)
    value = value * 10 + static_cast<std::uint64_t>(s[i] - '0');
  return value;
}

/// Reads a decimal number, optionally followed by K, M, G or T (powers of 1024).
/// \return false if `s` is anything else or does not fit
inline bool parse_bytes(std::string_view s, std::uint64_t* out) noexcept {
  std::uint64_t value = 0;
  std::size_t i = 0;
  for (; i < s.size() && s[i] >= '0' && s[i] <= '9'; ++i)
    if (__builtin_mul_overflow(value, std::uint64_t{10}, &value) ||
        __builtin_add_overflow(value, static_cast<std::uint64_t>(s[i] - '0'), &value))
      return false;
  if (i == 0) return false;
  if (i < s.size()) {
    int shift;
    switch (s[i] | 0x20) {
      case 'k':
        shift = 10;
        break;
      case 'm':
        shift = 20;
        break;
      case 'g':
        shift = 30;
        break;
      case 't':
        shift = 40;
        break;
      default:
        return false;
    }
    if (i + 1 != s.size() || value > (~std::uint64_t{0} >> shift)) return false;
    value <<= shift;
  }
  *out = value;
  return true;
}

}  // namespace mallard
