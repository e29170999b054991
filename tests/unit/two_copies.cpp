// SPDX-License-Identifier: Apache-2.0
// A value of several words that is read while it is written: no reader sees words of two writes.
#include "base/two_copies.hpp"

#include <algorithm>
#include <thread>
#include <vector>

#include "catch.hpp"

namespace {

struct Value {
  std::uint64_t words[19];
};

Value all(std::uint64_t word) {
  Value value;
  std::fill(std::begin(value.words), std::end(value.words), word);
  return value;
}

/// \return the word that all words are, or -1
std::int64_t common_word(const Value& value) {
  const auto* differs = std::adjacent_find(std::begin(value.words), std::end(value.words), std::not_equal_to());
  return differs == std::end(value.words) ? static_cast<std::int64_t>(value.words[0]) : -1;
}

}  // namespace

TEST_CASE("two copies: what was written last is read") {
  mallard::TwoCopies<Value> value;
  CHECK(common_word(value.read()) == 0);
  for (std::uint64_t i = 1; i < 4; ++i) {
    value.write(all(i));
    CHECK(common_word(value.read()) == static_cast<std::int64_t>(i));
  }
}

TEST_CASE("two copies: readers see one write, and never an older one after a newer one") {
  constexpr std::uint64_t kWrites = 200'000;
  mallard::TwoCopies<Value> value;
  std::atomic<bool> torn{false}, backwards{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t)
    readers.emplace_back([&] {
      for (std::int64_t last = 0; last < static_cast<std::int64_t>(kWrites);) {
        const std::int64_t word = common_word(value.read());
        if (word < 0) torn = true;
        else if (word < last) backwards = true;
        if (torn || backwards) return;
        last = word;
      }
    });
  for (std::uint64_t i = 1; i <= kWrites; ++i) value.write(all(i));
  for (std::thread& reader : readers) reader.join();
  CHECK_FALSE(torn);
  CHECK_FALSE(backwards);
}
