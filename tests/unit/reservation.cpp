// SPDX-License-Identifier: Apache-2.0
#include "base/reservation.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "base/growing.hpp"
#include "base/os.hpp"
#include "catch.hpp"

using namespace mallard;

namespace {

constexpr std::size_t kPages = 64, kBytes = kPages * kPageBytes;

/// Whether there is a mapping at this page of it.
bool is_mapped(const char* data, std::size_t page) {
  unsigned char present;
  return os::call(SYS_mincore, os::arg(data + page * kPageBytes), kPageBytes, os::arg(&present)) == 0;
}

bool is_own(const char* begin, std::size_t bytes) {
  static os::OwnRange ranges[os::kMaxOwnRanges];
  const std::uint32_t n = os::own_ranges(ranges, os::kMaxOwnRanges);
  for (std::uint32_t i = 0; i < n; ++i)
    if (ranges[i].begin == address_of(begin)) return ranges[i].end == address_of(begin) + bytes;
  return bytes == 0;
}

}  // namespace

TEST_CASE("reservation: opens from its beginning, up to its end") {
  Reservation r;
  CHECK(r.data() == nullptr);
  CHECK(r.bytes() == 0);
  REQUIRE(r.init(kBytes));
  char* const data = r.data();
  CHECK(r.bytes() == kBytes);
  CHECK(r.unopened_bytes() == kBytes);
  CHECK(is_own(data, kBytes));
  REQUIRE(r.open(3 * kPageBytes));
  data[3 * kPageBytes - 1] = 1;
  CHECK(r.unopened_bytes() == kBytes - 3 * kPageBytes);
  REQUIRE(r.open(kPageBytes));  // opens less than is open
  CHECK(r.unopened_bytes() == kBytes - 3 * kPageBytes);
  REQUIRE(r.open(kBytes));
  CHECK(r.unopened_bytes() == 0);
  CHECK(data[3 * kPageBytes - 1] == 1);
  CHECK_FALSE(r.open(kBytes + kPageBytes));
  r.release();
  CHECK(r.data() == nullptr);
  CHECK(r.bytes() == 0);
  CHECK(is_own(data, 0));
  CHECK_FALSE(r.open(kPageBytes));
}

TEST_CASE("reservation: what is not open is given back once, the rest stays") {
  Reservation r;
  REQUIRE(r.init(kBytes));
  REQUIRE(r.open(2 * kPageBytes));
  char* const data = r.data();
  data[2 * kPageBytes - 1] = 7;
  CHECK(r.give_back() == kBytes - 2 * kPageBytes);
  CHECK(data[2 * kPageBytes - 1] == 7);
  CHECK(is_mapped(data, 1));
  CHECK_FALSE(is_mapped(data, 2));
  CHECK_FALSE(is_mapped(data, kPages - 1));
  CHECK(is_own(data, 2 * kPageBytes));
  CHECK(r.bytes() == 2 * kPageBytes);
  CHECK(r.unopened_bytes() == 0);
  CHECK(r.give_back() == 0);
  CHECK(r.open(2 * kPageBytes));
  CHECK_FALSE(r.open(3 * kPageBytes));
  r.release();
  CHECK_FALSE(is_mapped(data, 1));
}

TEST_CASE("reservation: one of which nothing is open is given back whole") {
  Reservation r;
  CHECK(r.give_back() == 0);
  REQUIRE(r.init(kBytes));
  char* const data = r.data();
  CHECK(r.give_back() == kBytes);
  CHECK_FALSE(is_mapped(data, 0));
  CHECK(is_own(data, 0));
  CHECK_FALSE(r.open(kPageBytes));
  r.release();  // takes nothing from whoever has the addresses now
  REQUIRE(r.init(kBytes));
  CHECK(r.open(kBytes));
  r.release();
}

TEST_CASE("reservation: an array that was given back keeps its elements, and opens no more") {
  static constinit GrowingArray<std::uint64_t, 1 << 20> array;
  REQUIRE(array.init());
  REQUIRE(array.open(1000));
  array[999] = 5;
  Reservation& space = array.space();
  const std::size_t open = space.bytes() - space.unopened_bytes();
  CHECK(space.give_back() == (sizeof(std::uint64_t) << 20) - open);
  CHECK(array[999] == 5);
  CHECK(array.open(open / sizeof(std::uint64_t)));
  CHECK_FALSE(array.open(open / sizeof(std::uint64_t) + 1));
  CHECK(array.resident_bytes(1 << 20) == kPageBytes);  // of the one page that was written
  array.release();
  REQUIRE(array.init());
  CHECK(array.open(1 << 20));
  CHECK(array[999] == 0);
  array.release();
}

TEST_CASE("reservation: a thread that opens keeps what it opened while another gives back") {
  constexpr int kRounds = 200;
  static constinit Reservation r;
  for (int round = 0; round < kRounds; ++round) {
    REQUIRE(r.init(kBytes));
    std::atomic<bool> begins{false};
    std::size_t given = 0;
    std::thread giver([&] {
      while (!begins.load()) {
      }
      for (int i = 0; i < round; ++i) os::process_id();
      given = r.give_back();
    });
    begins.store(true);
    std::size_t opened = 0;
    while (opened < kPages && r.open((opened + 1) * kPageBytes)) {
      r.data()[opened * kPageBytes] = 1;
      ++opened;
    }
    giver.join();
    REQUIRE(given + opened * kPageBytes == kBytes);
    std::size_t kept = 0;
    for (std::size_t page = 0; page < opened; ++page) kept += r.data()[page * kPageBytes] == 1;
    REQUIRE(kept == opened);
    r.release();
  }
}
