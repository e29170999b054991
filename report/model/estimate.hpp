// SPDX-License-Identifier: Apache-2.0
// An estimate from samples, with its error.
#pragma once

#include <cstdint>

#include "base/math.hpp"

namespace mallard::report {

/// A sum over weighted samples. `variance` is the sum of w (w - 1) x^2 over samples of weight w and value x.
/// The 95 % interval [low, high] is there when has_interval is; it is not for fewer than
/// kMinEffectiveSamples.
struct Estimate {
  double value = 0, variance = 0;
  bool has_interval = false;
  double low = 0, high = 0;

  void add(double weight, double x) noexcept {
    value += weight * x;
    variance += weight * (weight - 1) * x * x;
  }
};

/// A figure that was counted: no error.
inline constexpr Estimate counted(double value) noexcept { return {value, 0, true, value, value}; }

/// Below this the interval would be wider than it is worth, and its coverage not to be relied on.
inline constexpr double kMinEffectiveSamples = 10;

/// Quantile of the gamma distribution with shape k >= 1 at the standard normal quantile z
/// (Wilson and Hilferty 1931); relative error below 1 % from k = 5 on.
inline double gamma_quantile(double k, double z) noexcept {
  const double root = 1 - 1 / (9 * k) + z / (3 * math::sqrt(k));
  return root > 0 ? k * root * root * root : 0;
}

/// Fills the interval: the estimate behaves like E / k times a Poisson count with k = E^2 / V effective
/// samples; bounds as for such a count (Garwood 1936).
inline void set_interval(Estimate& e) noexcept {
  constexpr double kZ = 1.959963984540054;  // 97.5 % of the standard normal distribution
  if (e.value <= 0) return;
  if (e.variance <= e.value * e.value * 1e-12) {  // everything was certain to be sampled
    e.has_interval = true;
    e.low = e.high = e.value;
    return;
  }
  const double k = e.value * e.value / e.variance;
  if (k < kMinEffectiveSamples) return;
  e.has_interval = true;
  e.low = e.value / k * gamma_quantile(k, -kZ);
  e.high = e.value / k * gamma_quantile(k + 1, kZ);
}

/// To the nearest multiple of 1 / scale.
inline double rounded(double value, double scale) noexcept {
  return value < 9e18 / scale ? static_cast<double>(static_cast<std::int64_t>(value * scale + 0.5)) / scale
                              : value;
}

/// Makes whole numbers of an estimate; its interval stays one.
inline void round_outward(Estimate& e) noexcept {
  const bool exact = e.low == e.high;
  e.value = rounded(e.value, 1);
  if (!e.has_interval) return;
  e.low = exact ? e.value : rounded(e.low - 0.5, 1);
  e.high = exact ? e.value : rounded(e.high + 0.5, 1);
}

}  // namespace mallard::report
