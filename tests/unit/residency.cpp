// SPDX-License-Identifier: Apache-2.0
// Residency on real mappings, by each method that this kernel has.
#include "report/facts/residency.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "unit/catch.hpp"

using namespace mallard;
using report::Residency;
using report::ResidencyMethod;

namespace {

class Map {
 public:
  explicit Map(std::size_t pages, int fd = -1)
      : bytes_(pages * kPageBytes),
        at_(static_cast<char*>(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                                    fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0))) {
    REQUIRE(static_cast<void*>(at_) != MAP_FAILED);
    if (fd < 0) madvise(at_, bytes_, MADV_NOHUGEPAGE);
  }
  ~Map() { munmap(at_, bytes_); }
  Map(const Map&) = delete;

  void write(std::size_t page) { at_[page * kPageBytes] = 1; }
  char read(std::size_t page) const { return static_cast<volatile char*>(at_)[page * kPageBytes]; }
  char* data() const { return at_; }
  std::uintptr_t page(std::size_t i) const { return address_of(at_) + i * kPageBytes; }
  AddressRange range() const { return {page(0), page(0) + bytes_}; }

 private:
  std::size_t bytes_;
  char* at_;
};

std::vector<ResidencyMethod> methods() {
  return {ResidencyMethod::kPagemapScan, ResidencyMethod::kPagemap, ResidencyMethod::kMincore};
}

std::uint64_t pages_of(const Residency& r, const Map& map) {
  return r.resident_bytes(map.range().begin, map.range().end) / kPageBytes;
}

}  // namespace

TEST_CASE("residency: pages that were written, and no others") {
  Map map(64);
  for (std::size_t page : {0, 1, 2, 10, 12, 63}) map.write(page);
  for (ResidencyMethod method : methods()) {
    Arena arena;
    Residency r;
    const AddressRange ranges[] = {map.range()};
    REQUIRE(r.scan(arena, own_process(), ranges, method));
    CHECK(r.method() >= method);
    CHECK(pages_of(r, map) == 6);
    CHECK(r.resident_bytes(map.page(0), map.page(3)) == 3 * kPageBytes);
    CHECK(r.resident_bytes(map.page(3), map.page(10)) == 0);
    CHECK(r.resident_bytes(map.page(2) + 100, map.page(10) + 50) == kPageBytes - 100 + 50);
    CHECK(r.touched_page_bytes(map.page(2) + 100, map.page(10) + 50) == 2 * kPageBytes);
    CHECK(r.touched_page_bytes(map.page(1) + 1, map.page(1) + 2) == kPageBytes);
    CHECK(r.touched_page_bytes(map.page(1), map.page(1)) == 0);
    CHECK(r.resident_bytes(map.page(5), map.page(4)) == 0);
    CHECK(r.resident_bytes(0, ~std::uintptr_t{0}) == 6 * kPageBytes);
    REQUIRE(r.runs().size() == 4);
    CHECK(r.runs()[3].before == 5 * kPageBytes);
  }
}

TEST_CASE("residency: pages that were only read are the kernel's page of zeros") {
  Map map(32);
  for (std::size_t page = 0; page < 16; ++page) CHECK(map.read(page) == 0);
  map.write(20);
  Arena arena;
  Residency r;
  const AddressRange ranges[] = {map.range()};
  REQUIRE(r.scan(arena, own_process(), ranges));
  if (r.method() == ResidencyMethod::kPagemapScan) CHECK(pages_of(r, map) == 1);
}

TEST_CASE("residency: pages given back are gone, with every method") {
  Map map(32);
  for (std::size_t page = 0; page < 32; ++page) map.write(page);
  REQUIRE(madvise(map.data() + 8 * kPageBytes, 8 * kPageBytes, MADV_DONTNEED) == 0);
  for (ResidencyMethod method : methods()) {
    Arena arena;
    Residency r;
    const AddressRange ranges[] = {map.range()};
    REQUIRE(r.scan(arena, own_process(), ranges, method));
    CHECK(pages_of(r, map) == 24);
    CHECK(r.resident_bytes(map.page(8), map.page(16)) == 0);
  }
}

TEST_CASE("residency: pages of files are told from private ones") {
  std::FILE* file = std::tmpfile();
  REQUIRE(file);
  REQUIRE(ftruncate(fileno(file), 16 * kPageBytes) == 0);
  Map map(16, fileno(file));
  map.write(3);
  for (ResidencyMethod method : {ResidencyMethod::kPagemapScan, ResidencyMethod::kPagemap}) {
    Arena arena;
    Residency r;
    const AddressRange ranges[] = {map.range()};
    REQUIRE(r.scan(arena, own_process(), ranges, method));
    if (r.method() == ResidencyMethod::kMincore) continue;
    CHECK(r.resident_bytes(map.page(3), map.page(4)) == kPageBytes);
    for (const report::ResidentRun& run : r.runs()) CHECK(run.file);
  }
  std::fclose(file);
}

TEST_CASE("residency: huge pages are marked and counted whole, the huge page of zeros is not counted") {
  constexpr std::size_t kHuge = 2u << 20, kPages = kHuge / kPageBytes;
  Map map(3 * kPages);
  const std::uintptr_t at = align_up(map.page(0), kHuge);
  auto* huge = reinterpret_cast<char*>(at);
  madvise(huge, 2 * kHuge, MADV_HUGEPAGE);
  huge[0] = 1;
  CHECK(static_cast<volatile char*>(huge)[kHuge] == 0);
  Arena arena;
  Residency r;
  const AddressRange ranges[] = {{at, at + 2 * kHuge}};
  REQUIRE(r.scan(arena, own_process(), ranges));
  if (r.method() != ResidencyMethod::kPagemapScan || !r.runs()[0].huge) return;  // no huge pages here
  CHECK(r.resident_bytes(at, at + kHuge) == kHuge);
  CHECK(r.resident_bytes(at + kHuge, at + 2 * kHuge) == 0);
  CHECK(r.runs().size() == 1);
}

TEST_CASE("residency: ranges with a hole in them are scanned around it") {
  Map map(64);
  for (std::size_t page = 0; page < 64; ++page) map.write(page);
  REQUIRE(munmap(map.data() + 20 * kPageBytes, 3 * kPageBytes) == 0);
  for (ResidencyMethod method : methods()) {
    Arena arena;
    Residency r;
    const AddressRange ranges[] = {map.range()};
    REQUIRE(r.scan(arena, own_process(), ranges, method));
    CHECK(pages_of(r, map) == 61);
    if (r.method() == ResidencyMethod::kMincore) CHECK(r.vanished_bytes() == 3 * kPageBytes);
  }
}

TEST_CASE("residency: a scan in many pieces joins its runs") {
  constexpr std::size_t kPages = 20 * 1024 * 1024 / kPageBytes;  // more than two pieces
  Map map(kPages);
  const std::size_t middle = (8u << 20) / kPageBytes;
  for (std::size_t page = middle - 3; page < middle + 3; ++page) map.write(page);
  map.write(kPages - 1);
  Arena arena;
  Residency r;
  const AddressRange ranges[] = {map.range()};
  REQUIRE(r.scan(arena, own_process(), ranges));
  CHECK(pages_of(r, map) == 7);
  CHECK(r.runs().size() == 2);
}

TEST_CASE("residency: a reservation of terabytes costs no more than what is in it") {
  constexpr std::size_t kBytes = std::size_t{32} << 40;
  void* p = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return;  // not that much address space here
  char* at = static_cast<char*>(p);
  constexpr std::size_t kStep = (std::size_t{1} << 40) + kPageBytes;
  std::size_t pages = 0;
  for (std::size_t i = 0; i < kBytes; i += kStep, ++pages) at[i] = 1;
  Arena arena;
  Residency r;
  const AddressRange ranges[] = {{address_of(at), address_of(at) + kPageBytes}};
  REQUIRE(r.scan(arena, own_process(), ranges));
  if (r.method() == ResidencyMethod::kPagemapScan) {
    const AddressRange all[] = {{address_of(at), address_of(at) + kBytes}};
    timespec began, ended;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began);
    REQUIRE(r.scan(arena, own_process(), all));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
    std::uint64_t found = 0;
    for (const report::ResidentRun& run : r.runs()) found += (run.end - run.begin) / kPageBytes;
    CHECK(found >= pages);
    // 4 million calls of the kernel if every piece were small: several seconds.
    CHECK(static_cast<double>(ended.tv_sec - began.tv_sec) < 2.0);
  }
  munmap(p, kBytes);
}
