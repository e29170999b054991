// SPDX-License-Identifier: Apache-2.0
// What the number means that mi_version() returns.
#pragma once

#include "base/text.hpp"

namespace mallard::heaps {

/// Appends the version in its usual form: 209 is 2.0.9, 315 is 3.1.5; from 3.2 on minor and patch have two digits
/// each, so that 30403 is 3.4.3. \return false if mimalloc has no such numbers
inline bool add_mimalloc_version(TextBuffer& to, std::uint32_t number) noexcept {
  if (number < 100 || number >= 100000 || (number >= 1000 && number < 10000)) return false;
  const std::uint32_t step = number >= 10000 ? 100 : 10;
  to.add_unsigned(number / step / step).add('.').add_unsigned(number / step % step).add('.');
  to.add_unsigned(number % step);
  return true;
}

}  // namespace mallard::heaps
