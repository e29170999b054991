// SPDX-License-Identifier: Apache-2.0
// The three functions of libm that sampling needs, so that the library depends on libc alone.
// Slow-path quality: relative error below 1e-12 (tests/unit/math.cpp compares them with libm).
#pragma once

#include <cstdint>

#include "base/older.hpp"

namespace mallard::math {

inline constexpr double kLn2 = 0.693147180559945309417;

inline double sqrt(double x) noexcept { return __builtin_sqrt(x); }

/// Natural logarithm of a positive, normal x, by ln m = 2 artanh((m - 1) / (m + 1)).
inline double log(double x) noexcept {
  auto bits = bit_cast<std::uint64_t>(x);
  int exponent = static_cast<int>((bits >> 52) & 0x7ff) - 1022;
  double m = bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3fe0000000000000u);  // [0.5, 1)
  if (m < 0.70710678118654752440) {
    m *= 2;
    --exponent;
  }
  const double z = (m - 1) / (m + 1), z2 = z * z;  // |z| <= 0.1716: 12 terms reach 1e-19
  double sum = 0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * z2 + 1.0 / k;
  return 2 * z * sum + exponent * kLn2;
}

/// e^x for |x| < 700, by halving the argument into the range of its Taylor series.
inline double exp(double x) noexcept {
  if (x < -700) return 0;
  if (x > 700) x = 700;
  const auto n = static_cast<double>(static_cast<long>(x / kLn2 + (x < 0 ? -0.5 : 0.5)));
  const double r = x - n * kLn2;  // |r| <= 0.3466
  double sum = 1;
  for (int k = 16; k >= 1; --k) sum = 1 + sum * r / k;
  return sum * bit_cast<double>(static_cast<std::uint64_t>(static_cast<int>(n) + 1023) << 52);
}

/// 1 - e^-x for x >= 0 without cancellation: the chance that a draw falls within x means.
inline double one_minus_exp(double x) noexcept {
  if (x > 0.5) return 1 - exp(-x);
  double sum = 1;
  for (int k = 16; k >= 2; --k) sum = 1 - sum * x / k;
  return x * sum;
}

}  // namespace mallard::math
