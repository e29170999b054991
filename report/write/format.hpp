// SPDX-License-Identifier: Apache-2.0
// Numbers for people: every one with its unit, few enough digits to compare at a glance.
#pragma once

#include "base/text.hpp"
#include "report/model/estimate.hpp"

namespace mallard::report {

void add_bytes(TextBuffer& to, double bytes) noexcept;         ///< "12.3 MiB", "512 B"
void add_count(TextBuffer& to, double count) noexcept;         ///< "1,234", "12.3 M"
void add_duration(TextBuffer& to, std::uint64_t ns) noexcept;  ///< "3.2 s", "5 min 12 s", "2 d 3 h"
void add_decimal(TextBuffer& to, double value, int decimals) noexcept;
void add_grouped(TextBuffer& to, std::uint64_t value) noexcept;  ///< "1,234,567"
/// The error of an estimate relative to it: "±8 %", "exact", or "±?" where there are too few samples.
void add_relative_error(TextBuffer& to, const Estimate& e) noexcept;
/// "12.3 MiB (95 %: 11.0 to 13.6 MiB)", or why there is no interval.
void add_bytes_with_interval(TextBuffer& to, const Estimate& e) noexcept;
/// ISO 8601, UTC: "2026-01-31 12:34:56 UTC".
void add_utc(TextBuffer& to, std::uint64_t realtime_ns) noexcept;

}  // namespace mallard::report
