// SPDX-License-Identifier: Apache-2.0
// Decimal numbers of command lines.
#pragma once

#include <locale>
#include <sstream>
#include <string>

namespace mallard::cli {

/// Reads a number with an optional sign '-', fraction and exponent, whatever the locale. (std::from_chars
/// reads no double before gcc 11.) \return false, and *out unspecified, where that is not all of the text
inline bool read_decimal(const std::string& text, double* out) {
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  return !text.starts_with('+') && in >> std::noskipws >> *out &&
         in.peek() == std::istringstream::traits_type::eof();
}

}  // namespace mallard::cli
