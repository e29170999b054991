// SPDX-License-Identifier: Apache-2.0
// Estimates, numbers for people, names of files, UTF-8.
#include <cmath>
#include <random>
#include <string>

#include "base/math.hpp"
#include "report/model/estimate.hpp"
#include "report/write/report_files.hpp"
#include "report/write/columns.hpp"
#include "report/write/utf8.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

template <typename Add>
static std::string text(Add add) {
  FixedText<256> to;
  add(to);
  return std::string(to.view());
}

TEST_CASE("format: bytes") {
  const auto bytes = [](double b) { return text([b](TextBuffer& to) { add_bytes(to, b); }); };
  REQUIRE(bytes(0) == "0 B");
  REQUIRE(bytes(1023) == "1023 B");
  REQUIRE(bytes(1024) == "1.00 KiB");
  REQUIRE(bytes(1536) == "1.50 KiB");
  REQUIRE(bytes(12.34 * 1048576) == "12.3 MiB");
  REQUIRE(bytes(1048575) == "1.00 MiB");
  REQUIRE(bytes(3e15) == "2728.5 TiB");
}

TEST_CASE("format: counts and durations") {
  REQUIRE(text([](TextBuffer& to) { add_count(to, 1234567); }) == "1.2 M");
  REQUIRE(text([](TextBuffer& to) { add_count(to, 999999); }) == "999,999");
  REQUIRE(text([](TextBuffer& to) { add_grouped(to, 1000005); }) == "1,000,005");
  const auto duration = [](std::uint64_t ns) { return text([ns](TextBuffer& to) { add_duration(to, ns); }); };
  REQUIRE(duration(1500) == "1 us");
  REQUIRE(duration(3'200'000'000) == "3.2 s");
  REQUIRE(duration(312'000'000'000) == "5 min 12 s");
  REQUIRE(duration(90'061'000'000'000) == "1 d 1 h");
}

TEST_CASE("format: dates") {
  const auto utc = [](std::uint64_t s) { return text([s](TextBuffer& to) { add_utc(to, s * 1'000'000'000); }); };
  REQUIRE(utc(0) == "1970-01-01 00:00:00 UTC");
  REQUIRE(utc(951782400) == "2000-02-29 00:00:00 UTC");
  REQUIRE(utc(1798761599) == "2026-12-31 23:59:59 UTC");
  REQUIRE(utc(4107542400) == "2100-03-01 00:00:00 UTC");
}

TEST_CASE("text buffer: cuts instead of overflowing") {
  char storage[8];
  TextBuffer to(storage, sizeof storage);
  to.add("0123456789");
  REQUIRE(to.view() == "0123456");
  REQUIRE(to.cut());
  REQUIRE(storage[7] == '\0');
}

TEST_CASE("text: sizes with units are parsed, others refused") {
  std::uint64_t bytes = 0;
  REQUIRE((parse_bytes("512K", &bytes) && bytes == 524288));
  REQUIRE((parse_bytes("1g", &bytes) && bytes == 1u << 30));
  for (const char* bad : {"", "K", "1KK", "1 K", "-1", "99999999999999999999", "18446744073709551615K"})
    REQUIRE_FALSE(parse_bytes(bad, &bytes));
}

TEST_CASE("estimate: no interval below ten effective samples, none needed for certainty") {
  Estimate few;
  for (int i = 0; i < 5; ++i) few.add(1000, 100);
  set_interval(few);
  REQUIRE_FALSE(few.has_interval);
  Estimate certain;
  certain.add(1, 5e6);
  set_interval(certain);
  REQUIRE(certain.has_interval);
  REQUIRE(certain.low == certain.high);
}

TEST_CASE("estimate: the 95 % interval covers the truth in at least 95 % of runs") {
  // The sampler's own scheme, simulated: blocks of mixed sizes, each drawn by its probability.
  std::mt19937_64 random(12345);
  std::uniform_real_distribution<double> uniform;
  constexpr double kMean = 65536, kBias = 256;
  int covered = 0, with_interval = 0;
  for (int run = 0; run < 2000; ++run) {
    Estimate e;
    double truth = 0;
    for (int i = 0; i < 4000; ++i) {
      const double size = i % 10 == 0 ? 4000 : 16 + i % 200;
      truth += size;
      const double p = math::one_minus_exp((size + kBias) / kMean);
      if (uniform(random) < p) e.add(1 / p, size);
    }
    set_interval(e);
    if (!e.has_interval) continue;
    ++with_interval;
    covered += e.low <= truth && truth <= e.high;
  }
  CAPTURE(covered, with_interval);
  REQUIRE(with_interval > 1500);
  REQUIRE(covered >= 0.945 * with_interval);
}

TEST_CASE("estimate: gamma quantiles") {
  // Exact values from tables of the gamma distribution with unit scale.
  REQUIRE(std::fabs(gamma_quantile(10, -1.959964) - 4.7954) < 0.03);
  REQUIRE(std::fabs(gamma_quantile(11, 1.959964) - 18.3904) < 0.03);
  REQUIRE(std::fabs(gamma_quantile(100, 1.959964) - 120.529) < 0.03);
}

TEST_CASE("files: patterns") {
  ProcessFacts process{};
  process.pid = 77;
  process.name = "we/ird\nname";
  process.taken_at_ns = 1'700'000'000'000'000'000;
  const auto expanded = [&](std::string_view pattern, bool known) {
    FixedText<256> to;
    REQUIRE(expand_pattern(pattern, process, 3, to) == known);
    return std::string(to.view());
  };
  REQUIRE(expanded("mallard.%e.%p.%n", true) == "mallard.we_ird_name.77.0003");
  REQUIRE(expanded("%t%%", true) == "1700000000%");
  REQUIRE(expanded("%x%", false) == "%x%");
}

TEST_CASE("utf8: bad bytes become the replacement character, good ones stay") {
  const auto clean = [](std::string_view in) {
    std::string out;
    for_each_utf8(in, [&](std::string_view c) { out += c; });
    return out;
  };
  REQUIRE(clean("a\xc3\xa4z\xf0\x9f\xa6\x86") == "a\xc3\xa4z\xf0\x9f\xa6\x86");
  const std::string bad = "\xef\xbf\xbd";
  REQUIRE(clean("\xff") == bad);
  REQUIRE(clean("\xc3") == bad);
  REQUIRE(clean("\xc0\xaf") == bad + bad);
  REQUIRE(clean("\xed\xa0\x80") == bad + bad + bad);
  REQUIRE(clean("\xe2\x82") == bad + bad);
}
