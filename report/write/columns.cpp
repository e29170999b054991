// SPDX-License-Identifier: Apache-2.0
#include "report/write/columns.hpp"

namespace mallard::report {

void add_relative_error(TextBuffer& to, const Estimate& e) noexcept {
  if (e.value <= 0) {
    to.add("-");
  } else if (!e.has_interval) {
    to.add("±?");
  } else {
    const double up = e.high - e.value, down = e.value - e.low;
    const double percent = 100 * (up > down ? up : down) / e.value;
    if (percent < 0.05) to.add("exact");
    else {
      to.add("±");
      add_decimal(to, percent, percent < 9.95 ? 1 : 0);
      to.add(" %");
    }
  }
}

void add_bytes_with_interval(TextBuffer& to, const Estimate& e) noexcept {
  add_bytes(to, e.value);
  if (e.value <= 0) return;
  if (!e.has_interval) {
    to.add(" (too few samples to give an error)");
    return;
  }
  if (e.high - e.low < e.value * 1e-3) return;
  to.add(" (95 %: ");
  add_bytes(to, e.low);
  to.add(" to ");
  add_bytes(to, e.high);
  to.add(')');
}

}  // namespace mallard::report
