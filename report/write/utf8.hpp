// SPDX-License-Identifier: Apache-2.0
// Names in a process are bytes; reports are UTF-8.
#pragma once

#include <string_view>

#include "base/text.hpp"

namespace mallard::report {

/// Calls `take` with each character of `text`, as its bytes; a byte that is no UTF-8 becomes U+FFFD.
template <typename Take>
void for_each_utf8(std::string_view text, Take take) noexcept {
  while (!text.empty()) {
    const auto lead = static_cast<unsigned char>(text[0]);
    std::size_t length = lead < 0x80                   ? 1
                         : lead >= 0xc2 && lead < 0xe0 ? 2
                         : (lead & 0xf0) == 0xe0       ? 3
                         : lead >= 0xf0 && lead < 0xf5 ? 4
                                                       : 0;
    bool good = length != 0 && length <= text.size();
    for (std::size_t i = 1; good && i < length; ++i)
      good = (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80;
    if (good && length >= 3) {  // overlong forms and surrogates
      const auto second = static_cast<unsigned char>(text[1]);
      good = !(lead == 0xe0 && second < 0xa0) && !(lead == 0xed && second >= 0xa0) &&
             !(lead == 0xf0 && second < 0x90) && !(lead == 0xf4 && second >= 0x90);
    }
    if (good) {
      take(part_of(text, 0, length));
    } else {
      take(std::string_view("\xef\xbf\xbd"));
      length = 1;
    }
    text.remove_prefix(length);
  }
}

}  // namespace mallard::report
