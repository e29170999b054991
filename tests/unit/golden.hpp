// SPDX-License-Identifier: Apache-2.0
// Texts that a test expects word for word lie in tests/unit/golden. After a change of words that is meant,
// UPDATE_GOLDEN=1 build/tests/unit_tests writes them anew, and git diff shows what has changed.
#pragma once

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/unit/catch.hpp"

/// Fails with the first line of `text` that differs from the file.
inline void expect_golden(const char* name, const std::string& text) {
  const std::string path = std::string(UNIT_GOLDEN "/") + name;
  if (std::getenv("UPDATE_GOLDEN")) {
    std::ofstream(path) << text;
    return;
  }
  std::stringstream expected, now(text);
  expected << std::ifstream(path).rdbuf();
  std::string old_line, new_line;
  for (int number = 1;; ++number) {
    const bool had_one = !std::getline(expected, old_line).fail(), has_one = !std::getline(now, new_line).fail();
    if (!had_one && !has_one) return;
    CAPTURE(path, number, old_line, new_line);
    REQUIRE(had_one == has_one);
    REQUIRE(old_line == new_line);
  }
}
