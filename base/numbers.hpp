// SPDX-License-Identifier: Apache-2.0
// Numbers for people, in reports and in what the command prints: sizes and times with their unit, few
// enough digits to compare at a glance.
#pragma once

#include "base/text.hpp"

namespace mallard {

void add_bytes(TextBuffer& to, double bytes) noexcept;         ///< "12.3 MiB", "512 B", "-2.00 KiB"
void add_count(TextBuffer& to, double count) noexcept;         ///< "1,234", "12.3 M"
void add_duration(TextBuffer& to, std::uint64_t ns) noexcept;  ///< "3.2 s", "5 min 12 s", "2 d 3 h"
/// "9.3 ns", "110 ns", "2.10 us": three digits, and none below a tenth of a nanosecond.
void add_time(TextBuffer& to, double ns) noexcept;
void add_decimal(TextBuffer& to, double value, int decimals) noexcept;
void add_grouped(TextBuffer& to, std::uint64_t value) noexcept;  ///< "1,234,567"
/// ISO 8601, UTC: "2026-01-31 12:34:56 UTC".
void add_utc(TextBuffer& to, std::uint64_t realtime_ns) noexcept;

}  // namespace mallard
