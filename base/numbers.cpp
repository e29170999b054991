// SPDX-License-Identifier: Apache-2.0
#include "base/numbers.hpp"

#include "base/times.hpp"

namespace mallard {

void add_decimal(TextBuffer& to, double value, int decimals) noexcept {
  if (value < 0) {
    to.add('-');
    value = -value;
  }
  if (value > 1e18) value = 1e18;
  std::uint64_t scale = 1;
  for (int i = 0; i < decimals; ++i) scale *= 10;
  const auto scaled = static_cast<std::uint64_t>(value * static_cast<double>(scale) + 0.5);
  to.add_unsigned(scaled / scale);
  if (decimals > 0) to.add('.').add_unsigned(scaled % scale, 10, static_cast<unsigned>(decimals));
}

void add_grouped(TextBuffer& to, std::uint64_t value) noexcept {
  if (value >= 1000) {
    add_grouped(to, value / 1000);
    to.add(',').add_unsigned(value % 1000, 10, 3);
  } else {
    to.add_unsigned(value);
  }
}

void add_bytes(TextBuffer& to, double bytes) noexcept {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 0) {
    to.add('-');
    bytes = -bytes;
  }
  int unit = 0;
  while (bytes >= 1023.95 && unit < 4) {
    bytes /= 1024;
    ++unit;
  }
  add_decimal(to, bytes, unit == 0 ? 0 : bytes < 10 ? 2 : 1);
  to.add(' ').add(view_of(kUnits[unit]));
}

void add_count(TextBuffer& to, double count) noexcept {
  if (count < 999'999.5) return add_grouped(to, static_cast<std::uint64_t>(count + 0.5));
  const bool giga = count >= 999.95e6;
  add_decimal(to, count / (giga ? 1e9 : 1e6), 1);
  to.add(giga ? " G" : " M");
}

void add_duration(TextBuffer& to, std::uint64_t ns) noexcept {
  const std::uint64_t seconds = ns / kNsPerSecond;
  if (ns < 1'000'000) return void(to.add_unsigned(ns / 1000).add(" us"));
  if (ns < kNsPerSecond) return void(to.add_unsigned(ns / 1'000'000).add(" ms"));
  if (seconds < 60) {
    add_decimal(to, static_cast<double>(ns) / 1e9, 1);
    to.add(" s");
  } else if (seconds < 3600) {
    to.add_unsigned(seconds / 60).add(" min ").add_unsigned(seconds % 60).add(" s");
  } else if (seconds < 86400) {
    to.add_unsigned(seconds / 3600).add(" h ").add_unsigned(seconds / 60 % 60).add(" min");
  } else {
    to.add_unsigned(seconds / 86400).add(" d ").add_unsigned(seconds / 3600 % 24).add(" h");
  }
}

void add_time(TextBuffer& to, double ns) noexcept {
  constexpr std::string_view kTimeUnits[] = {" ns", " us", " ms", " s"};
  int unit = 0;
  for (; unit < 3 && ns >= 999.5; ++unit) ns /= 1000;
  const int digits = ns < 9.995 ? 2 : ns < 99.95 ? 1 : 0;
  add_decimal(to, ns, unit == 0 && digits > 1 ? 1 : digits);
  to.add(kTimeUnits[unit]);
}

void add_utc(TextBuffer& to, std::uint64_t realtime_ns) noexcept {
  const std::uint64_t seconds = realtime_ns / kNsPerSecond;
  // Days to a civil date, counting from 1 March of the year 0, so that leap days end a year.
  const std::uint64_t days = seconds / 86400 + 719468, era = days / 146097, day_of_era = days % 146097;
  const std::uint64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::uint64_t shifted_month = (5 * day_of_year + 2) / 153;
  const std::uint64_t day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
  const std::uint64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  const std::uint64_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);
  to.add_unsigned(year, 10, 4).add('-').add_unsigned(month, 10, 2).add('-').add_unsigned(day, 10, 2).add(' ');
  to.add_unsigned(seconds / 3600 % 24, 10, 2).add(':').add_unsigned(seconds / 60 % 60, 10, 2).add(':');
  to.add_unsigned(seconds % 60, 10, 2).add(" UTC");
}

}  // namespace mallard
