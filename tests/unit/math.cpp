// SPDX-License-Identifier: Apache-2.0
#include "base/math.hpp"

#include <cmath>
#include <string>

#include "report/model/largest.hpp"
#include "tests/unit/catch.hpp"

namespace math = mallard::math;

static double relative_error(double got, double want) {
  return want == 0 ? std::fabs(got) : std::fabs(got - want) / std::fabs(want);
}

TEST_CASE("math: log agrees with libm over the whole range") {
  for (double x = 1e-300; x < 1e300; x *= 1.37) REQUIRE(relative_error(math::log(x), std::log(x)) < 1e-12);
  for (double x = 0.9; x < 1.1; x += 1e-4) REQUIRE(std::fabs(math::log(x) - std::log(x)) < 1e-15);
  REQUIRE(math::log(1) == 0);
}

TEST_CASE("math: exp agrees with libm") {
  for (double x = -690; x < 690; x += 0.37) REQUIRE(relative_error(math::exp(x), std::exp(x)) < 1e-12);
  REQUIRE(math::exp(0) == 1);
  REQUIRE(math::exp(-1000) == 0);
}

TEST_CASE("math: one_minus_exp keeps its precision near zero") {
  for (double x = 1e-15; x < 100; x *= 1.09)
    REQUIRE(relative_error(math::one_minus_exp(x), -std::expm1(-x)) < 1e-12);
  REQUIRE(math::one_minus_exp(0) == 0);
}

TEST_CASE("largest: keeps the few largest in order, of equal ones the first") {
  mallard::report::Largest<char, 3> largest;
  REQUIRE(largest.all().empty());
  largest.add(2, 'b');
  largest.add(1, 'a');
  REQUIRE(std::string(largest.all().begin(), largest.all().end()) == "ba");
  largest.add(2, 'c');
  largest.add(3, 'd');
  largest.add(2, 'e');
  largest.add(0, 'f');
  REQUIRE(std::string(largest.all().begin(), largest.all().end()) == "dbc");
}
