// SPDX-License-Identifier: Apache-2.0
// Names as reports write them: demangled by the very code that names functions inside the host.
#pragma once

#include <string>
#include <string_view>

namespace mallard::cli {

/// C++ (Itanium) and Rust (legacy, v0) names; anything else stays as it is. The result is printable UTF-8.
std::string demangled(std::string_view symbol);

/// Control characters and broken UTF-8 become '?'.
std::string printable(std::string_view text);

/// At most `columns` wide, what says least left out first.
std::string shortened(const std::string& function, std::size_t columns);

}  // namespace mallard::cli
