// SPDX-License-Identifier: Apache-2.0
// What the number means that mi_version() returns.
#pragma once

#include "base/text.hpp"

namespace mallard::heaps {

/// Appends the version in its usual form: 209 is 2.0.9, 3012 is 3.0.12 and 3206 is 3.2.6 (two digits for the
/// patch), 30403 is 3.4.3 (two digits for minor and patch). \return false if mimalloc has no such numbers
inline bool add_mimalloc_version(TextBuffer& to, std::uint32_t number) noexcept {
  if (number < 100 || number >= 100000) return false;
  const std::uint32_t patches = number < 1000 ? 10 : 100, minors = number < 10000 ? 10 : 100;
  to.add_unsigned(number / patches / minors).add('.').add_unsigned(number / patches % minors).add('.');
  to.add_unsigned(number % patches);
  return true;
}

}  // namespace mallard::heaps
