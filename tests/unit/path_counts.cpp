// SPDX-License-Identifier: Apache-2.0
// The rows of stacks: what was kept is found, from the first level into the last, by one thread and by many.
#include "record/exact/path_counts.hpp"

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "record/exact/counts.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard::record;

namespace {
std::vector<std::uint64_t> random_keys(std::size_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> keys(count);
  for (auto& key : keys) key = random();
  return keys;
}
std::uint32_t count_row_of(std::size_t i) {
  return static_cast<std::uint32_t>(1 + i * 7 % (kMaxCountRows - 1));
}
}  // namespace

TEST_CASE("path counts: what was kept is found through all levels, what was not is unknown") {
  REQUIRE(path_counts_init());
  const auto keys = random_keys(400'000, 1), others = random_keys(400'000, 2);
  std::size_t known_before = 0, wrong = 0, lost = 0, made_up = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    known_before += path_row(keys[i]) != 0;
    keep_path_row(keys[i], count_row_of(i));
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::uint32_t row = path_row(keys[i]);
    lost += row == 0;
    wrong += row != 0 && row != count_row_of(i);
  }
  for (const std::uint64_t key : others) made_up += path_row(key) != 0;
  CHECK(known_before == 0);
  CHECK(wrong == 0);
  CHECK(lost < 20);  // lines of the last level that more than eight of the keys share
  CHECK(made_up == 0);
}

TEST_CASE(
    "path counts: a full table forgets nothing that it has, and says of the rest that it does not know") {
  REQUIRE(path_counts_init());
  // All of one line on each level: the high bits are the same.
  std::vector<std::uint64_t> keys(100);
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = std::uint64_t{0xabcdef} << 40 | (i + 1);
  for (std::size_t i = 0; i < keys.size(); ++i) keep_path_row(keys[i], count_row_of(i));
  std::size_t found = 0, wrong = 0;
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (const std::uint32_t row = path_row(keys[i])) {
      ++found;
      wrong += row != count_row_of(i);
    }
  CHECK(wrong == 0);
  CHECK(found > 0);
  CHECK(found <= 32);
}

TEST_CASE("path counts: threads that keep the same keys find them") {
  REQUIRE(path_counts_init());
  const auto keys = random_keys(20'000, 3);
  std::atomic<std::size_t> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (std::size_t i = 0; i < keys.size(); ++i) {
        keep_path_row(keys[i], count_row_of(i));
        wrong += path_row(keys[i]) != count_row_of(i);
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
}
