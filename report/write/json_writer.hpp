// SPDX-License-Identifier: Apache-2.0
// What the parts of the JSON report are written with.
#pragma once

#include <initializer_list>

#include "base/numbers.hpp"
#include "report/model/estimate.hpp"
#include "report/write/sink.hpp"
#include "report/write/utf8.hpp"

namespace mallard::report {

/// Writes JSON into a sink; keeps track of commas. Nesting is the caller's, braces match by construction.
class Json {
 public:
  explicit Json(Sink& to) noexcept : to_(to) {}

  Json& open(char bracket) noexcept {
    separate();
    to_.add(bracket);
    first_ = true;
    return *this;
  }
  Json& close(char bracket) noexcept {
    to_.add(bracket);
    first_ = false;
    return *this;
  }
  Json& key(std::string_view name) noexcept {
    separate();
    to_.add('"').add(name).add("\":");
    after_key_ = true;
    return *this;
  }
  Json& text(std::string_view value) noexcept {
    separate();
    to_.add('"');
    for_each_utf8(value, [this](std::string_view c) { escaped(c); });
    to_.add('"');
    return *this;
  }
  Json& number(std::uint64_t value) noexcept { return raw(FixedText<32>().add_unsigned(value).view()); }
  Json& signed_number(std::int64_t value) noexcept { return raw(FixedText<32>().add_signed(value).view()); }
  Json& hex(std::uint64_t value) noexcept { return text(FixedText<32>().add_hex(value).view()); }
  Json& flag(bool value) noexcept { return raw(value ? "true" : "false"); }
  Json& null() noexcept { return raw("null"); }
  Json& decimal(double value, int decimals) noexcept {
    FixedText<48> digits;
    add_decimal(digits, value, decimals);
    return raw(digits.view());
  }
  Json& line() noexcept {
    to_.add('\n');
    return *this;
  }

 private:
  void separate() noexcept {
    if (!first_ && !after_key_) to_.add(',');
    first_ = after_key_ = false;
  }
  Json& raw(std::string_view value) noexcept {
    separate();
    to_.add(value);
    return *this;
  }
  void escaped(std::string_view c) noexcept {
    if (c == "\"" || c == "\\") to_.add('\\').add(c);
    else if (steers_terminals(c))
      to_.add("\\u").add(FixedText<8>().add_unsigned(code_point_of(c), 16, 4).view());
    else to_.add(c);
  }

  Sink& to_;
  bool first_ = true;
  bool after_key_ = false;
};

/// Bytes and counts are whole numbers in JSON.
inline std::uint64_t whole(double value) noexcept { return static_cast<std::uint64_t>(value + 0.5); }

/// An estimate has four members: name, name_error (the larger distance to a bound), name_low, name_high:
/// whole numbers; null where there is no interval.
inline void write_estimate(Json& json, std::string_view name, const Estimate& e) noexcept {
  json.key(name).number(whole(e.value));
  FixedText<64> key;
  const auto suffixed = [&](std::string_view suffix) -> Json& {
    key.clear();
    key.add(name).add(suffix);
    return json.key(key.view());
  };
  if (!e.has_interval) {
    suffixed("_error").null();
    suffixed("_low").null();
    suffixed("_high").null();
    return;
  }
  if (e.low == e.high) {  // counted
    suffixed("_error").number(0);
    suffixed("_low").number(whole(e.value));
    suffixed("_high").number(whole(e.value));
    return;
  }
  const double up = e.high - e.value, down = e.value - e.low;
  suffixed("_error").number(whole(up > down ? up : down));
  suffixed("_low").number(static_cast<std::uint64_t>(e.low));
  suffixed("_high").number(static_cast<std::uint64_t>(e.high));
}

/// An estimate that may not be told: null then, with its companions.
inline void write_if_told(Json& json, std::string_view name, const Estimate& e) noexcept {
  if (e.has_interval) return write_estimate(json, name, e);
  FixedText<64> key;
  for (const std::string_view suffix : {"", "_error", "_low", "_high"}) {
    key.clear();
    json.key(key.add(name).add(suffix).view()).null();
  }
}

}  // namespace mallard::report
