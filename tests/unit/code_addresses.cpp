// SPDX-License-Identifier: Apache-2.0
#include "unwind/code_addresses.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/catch.hpp"
#include "unwind/stacks.hpp"

using namespace mallard::unwind;

TEST_CASE("code addresses: each one that finds no room is counted, and no other") {
  const pid_t child = fork();  // which fills the table for good
  if (child == 0) {
    alarm(60);
    const std::uint64_t before = stack_stats().addresses_dropped;
    constexpr std::uint64_t kRoom = 1u << RuleTable::kEntryBits, kAddresses = 3 * kRoom;
    std::uint64_t without_number = 0;
    // No mapping holds these: each is a place of its own.
    for (std::uint64_t i = 0; i < kAddresses; ++i) without_number += pc_index(0x1000'0000'0000 + i * 16) == kNoPc;
    const bool counted = stack_stats().addresses_dropped - before == without_number;
    _exit(counted && without_number >= kAddresses - kRoom && without_number < kAddresses ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}
