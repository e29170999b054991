// SPDX-License-Identifier: Apache-2.0
// Zeros on huge pages: found in this process's own memory, and given to the lines of a made-up ledger.
#include <sys/mman.h>

#include <cstring>

#include "report/divide/huge_division.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

constexpr std::size_t kHuge = 2 << 20, kPages = 12, kBytes = kPages * kHuge;

/// Memory that the kernel was asked to give on huge pages.
class HugeMemory {
 public:
  HugeMemory() {
    map_ = mmap(nullptr, kBytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(map_ != MAP_FAILED);
    begin_ = align_up(reinterpret_cast<std::uintptr_t>(map_), kHuge);
    madvise(at(0), kBytes, MADV_HUGEPAGE);
  }
  ~HugeMemory() { munmap(map_, kBytes + kHuge); }
  HugeMemory(const HugeMemory&) = delete;
  HugeMemory& operator=(const HugeMemory&) = delete;

  char* at(std::size_t offset) const { return reinterpret_cast<char*>(begin_ + offset); }
  std::uintptr_t begin() const { return begin_; }

 private:
  void* map_;
  std::uintptr_t begin_;
};

/// What is found in it, if the kernel gave huge pages at all.
HugeTails tails_of(Arena& arena, const HugeMemory& huge, Owner owner,
                   std::uint64_t budget_ns = 10'000'000'000) {
  static Region region;
  region = {.begin = huge.begin(), .end = huge.begin() + kBytes, .owner = owner, .private_anonymous = true};
  Memory memory;
  memory.process = &own_process();
  memory.regions.all = {&region, 1};
  const ScanRange range(region.begin, region.end);
  REQUIRE(memory.residency.scan(arena, own_process(), {&range, 1}));
  HugeTails tails;
  find_huge_tails(arena, memory, budget_ns, &tails);
  return tails;
}

bool are_given(const HugeTails& tails) {
  const bool are = tails.known && tails.huge_bytes == kBytes;
  if (!are) WARN("skipped: the kernel gives no huge pages, or does not tell which they are");
  return are;
}

std::uint64_t sum_of(const HugeTails& tails) { return bytes_within(tails.zeros, 0, UINTPTR_MAX); }

}  // namespace

TEST_CASE("huge zeros: what lies beside a touched byte, and neither full pages nor pages of zeros alone") {
  HugeMemory huge;
  for (std::size_t i = 0; i < kPages; ++i) {
    if (i < 6) *huge.at(i * kHuge + 3 * kPageBytes + 4000) = 1;  // behind what is glimpsed at
    else if (i < 9) memset(huge.at(i * kHuge), 1, kHuge);
    else memset(huge.at(i * kHuge), 0, kHuge);
  }
  Arena arena;
  const HugeTails tails = tails_of(arena, huge, Owner::kAnonymous);
  if (!are_given(tails)) return;
  REQUIRE(tails.looked_at == kBytes);
  REQUIRE(tails.scale() == 1);
  REQUIRE(sum_of(tails) == 6 * (kHuge - kPageBytes));
  REQUIRE(bytes_within(tails.zeros, huge.begin() + kPageBytes, huge.begin() + 4 * kPageBytes + 100) ==
          2 * kPageBytes + 100);
  REQUIRE(tails_of(arena, huge, Owner::kOwn).huge_bytes == 0);
}

TEST_CASE("huge zeros: with no time left what was looked at stands for all") {
  HugeMemory huge;
  for (std::size_t i = 0; i < kPages; ++i) *huge.at(i * kHuge) = 1;
  Arena arena;
  const HugeTails tails = tails_of(arena, huge, Owner::kAnonymous, 0);
  if (!are_given(tails)) return;
  REQUIRE(tails.looked_at == kHuge);
  REQUIRE(tails.scale() == kPages);
}

TEST_CASE("huge zeros: each line has what its memory holds, and never more than it has") {
  constexpr double kPage = kPageBytes;
  AddressRange zeros[] = {{0x100000, 0x100000 + 10 * kPageBytes}, {0x900000, 0x900000 + 8 * kPageBytes}};
  HugeTails tails{.known = true, .huge_bytes = 4 << 20, .looked_at = 2 << 20, .zeros = zeros};
  Region regions[] = {
      {.begin = 0x100000, .end = 0x200000, .owner = Owner::kHeap},
      {.begin = 0x900000, .end = 0xa00000, .owner = Owner::kAnonymous, .name = "/lib/libx.so"}};
  HeapTotals heap{};
  heap.noted.live_zeros = 3 * kPage;
  heap.noted.hole_zeros = 5 * kPage;
  Ledger ledger{};
  const auto line = [&ledger](Cause cause) -> double& {
    return ledger.lines[static_cast<int>(cause)].bytes.value;
  };
  const auto zeros_in = [&ledger](Cause cause) { return ledger.huge_zeros.in_line[static_cast<int>(cause)]; };
  line(Cause::kLive) = line(Cause::kHoles) = line(Cause::kRetained) = line(Cause::kAnonymous) = 100 * kPage;
  divide_huge_zeros(tails, regions, &heap, &ledger);
  REQUIRE(zeros_in(Cause::kLive) == 6 * kPage);
  REQUIRE(zeros_in(Cause::kHoles) == 10 * kPage);
  REQUIRE(zeros_in(Cause::kRetained) == 4 * kPage);
  REQUIRE(zeros_in(Cause::kAnonymous) == 16 * kPage);
  REQUIRE(ledger.huge_zeros.bytes.value == 36 * kPage);
  REQUIRE(ledger.huge_zeros.owner == "/lib/libx.so");

  line(Cause::kHoles) = 1 * kPage;
  line(Cause::kAnonymous) = 2 * kPage;
  divide_huge_zeros(tails, regions, &heap, &ledger);
  REQUIRE(zeros_in(Cause::kHoles) == 1 * kPage);
  REQUIRE(zeros_in(Cause::kLive) == 15 * kPage);  // what finds no room elsewhere
  REQUIRE(zeros_in(Cause::kAnonymous) == 2 * kPage);

  line(Cause::kUndivided) = 100 * kPage;
  divide_huge_zeros(tails, regions, nullptr, &ledger);
  REQUIRE(zeros_in(Cause::kUndivided) == 20 * kPage);
  REQUIRE(zeros_in(Cause::kLive) == 0);
}

TEST_CASE("huge zeros: stacks have theirs, who has most is named, and the error is that of what was not read") {
  constexpr double kPage = kPageBytes;
  const std::uintptr_t at[] = {0x100000, 0x300000, 0x500000, 0x700000};
  const AddressRange zeros[] = {{at[0], at[0] + 2 * kPageBytes},
                                {at[1], at[1] + 3 * kPageBytes},
                                {at[2], at[2] + 5 * kPageBytes},
                                {at[3], at[3] + 1 * kPageBytes}};
  HugeTails tails{.known = true, .everywhere = true, .huge_bytes = 2 << 20, .looked_at = 2 << 20, .zeros = zeros};
  tails.variance = kPage * kPage;
  Region regions[] = {
      {.begin = at[0], .end = at[0] + kHuge, .owner = Owner::kStack},
      {.begin = at[1], .end = at[1] + kHuge, .owner = Owner::kAnonymous, .name = "/lib/libx.so"},
      {.begin = at[2], .end = at[2] + kHuge, .owner = Owner::kAnonymous, .name = "/lib/liby.so", .allocator = "Scudo"},
      {.begin = at[3], .end = at[3] + kHuge, .owner = Owner::kAnonymous, .name = "/lib/libz.so"}};
  Ledger ledger{};
  for (LedgerLine& line : ledger.lines) line.bytes.value = 100 * kPage;
  divide_huge_zeros(tails, regions, nullptr, &ledger);
  const HugeZeros& found = ledger.huge_zeros;
  CHECK(found.known);
  CHECK(found.everywhere);
  CHECK(found.huge_bytes == 2 << 20);
  CHECK(found.in_line[static_cast<int>(Cause::kStacks)] == 2 * kPage);
  CHECK(found.in_line[static_cast<int>(Cause::kAnonymous)] == 9 * kPage);
  CHECK(found.owner == "/lib/liby.so");
  CHECK(found.allocator == "Scudo");
  CHECK(found.bytes.value == 11 * kPage);
  CHECK(found.bytes.has_interval);
  CHECK(found.bytes.low == Approx((11 - 1.96) * kPage));
  CHECK(found.bytes.high == Approx((11 + 1.96) * kPage));
  tails.variance = 1e6 * kPage * kPage;
  divide_huge_zeros(tails, regions, nullptr, &ledger);
  CHECK(found.bytes.low == 0);
}
