// SPDX-License-Identifier: Apache-2.0
// Residency on real mappings, by each method that this kernel has.
#include "report/facts/residency.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "unit/catch.hpp"
#include "unit/made_up_process.hpp"

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

constexpr std::uint64_t kUnknown = ~std::uint64_t{0};

std::vector<ResidencyMethod> methods() {
  return {ResidencyMethod::kPagemapScan, ResidencyMethod::kPagemap, ResidencyMethod::kSmaps,
          ResidencyMethod::kMincore};
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
    const report::ScanRange ranges[] = {map.range()};
    REQUIRE(r.scan(arena, own_process(), ranges, kUnknown, method));
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
  const report::ScanRange ranges[] = {map.range()};
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
    const report::ScanRange ranges[] = {map.range()};
    REQUIRE(r.scan(arena, own_process(), ranges, kUnknown, method));
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
  for (ResidencyMethod method :
       {ResidencyMethod::kPagemapScan, ResidencyMethod::kPagemap, ResidencyMethod::kSmaps}) {
    Arena arena;
    Residency r;
    const report::ScanRange ranges[] = {{map.page(0), map.page(16), report::ScanRange::Content::kFile}};
    REQUIRE(r.scan(arena, own_process(), ranges, kUnknown, method));
    if (r.method() == ResidencyMethod::kMincore) continue;
    CHECK(pages_of(r, map) == 1);
    if (r.method() != ResidencyMethod::kSmaps)
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
  const report::ScanRange ranges[] = {{at, at + 2 * kHuge}};
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
    const report::ScanRange ranges[] = {map.range()};
    REQUIRE(r.scan(arena, own_process(), ranges, kUnknown, method));
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
  const report::ScanRange ranges[] = {map.range()};
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
  const report::ScanRange ranges[] = {{address_of(at), address_of(at) + kPageBytes}};
  REQUIRE(r.scan(arena, own_process(), ranges));
  if (r.method() == ResidencyMethod::kPagemapScan) {
    const report::ScanRange all[] = {{address_of(at), address_of(at) + kBytes}};
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

namespace {

std::size_t pages_found(const Residency& r) {
  std::uint64_t found = 0;
  for (const report::ResidentRun& run : r.runs()) found += (run.end - run.begin) / kPageBytes;
  return found;
}

double seconds_of(const timespec& began, const timespec& ended) {
  return static_cast<double>(ended.tv_sec - began.tv_sec) +
         static_cast<double>(ended.tv_nsec - began.tv_nsec) / 1e9;
}

}  // namespace

TEST_CASE("residency: without PAGEMAP_SCAN terabytes that hold next to nothing are not asked page by page") {
  constexpr std::size_t kBytes = std::size_t{4} << 40, kCage = std::size_t{256} << 30;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* empty = mmap(nullptr, kBytes, PROT_NONE, flags, -1, 0);
  void* cage = mmap(nullptr, kCage, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (empty == MAP_FAILED || cage == MAP_FAILED) return;  // not that much address space here
  char* at = static_cast<char*>(cage);
  constexpr std::size_t kPages = 300;
  madvise(at, kCage, MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < kPages; ++i) at[kCage / 2 + 7 * i * kPageBytes] = 1;
  using Content = report::ScanRange::Content;
  std::vector<report::ScanRange> ranges = {
      {address_of(empty), address_of(empty) + kBytes, Content::kInaccessible},
      {address_of(cage), address_of(cage) + kCage}};
  if (cage < empty) std::swap(ranges[0], ranges[1]);
  for (ResidencyMethod method :
       {ResidencyMethod::kPagemap, ResidencyMethod::kSmaps, ResidencyMethod::kMincore}) {
    Arena arena;
    Residency r;
    timespec began, ended;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began);
    REQUIRE(r.scan(arena, own_process(), ranges, kPages * kPageBytes, method));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
    CHECK(r.method() >= method);
    CHECK(pages_found(r) == kPages);
    CHECK(r.unread_bytes() == 0);
    // Asked page by page, these are 1.1 thousand million pages: seconds by any method.
    CHECK(seconds_of(began, ended) < 2.0);
  }
  munmap(empty, kBytes);
  munmap(cage, kCage);
}

TEST_CASE("residency: where page tables are refused, smaps tells files, and mincore private pages") {
  char folder[] = "/tmp/mallard-made-up-XXXXXX";
  REQUIRE(mkdtemp(folder));
  const std::string smaps = std::string(folder) + "/smaps";
  constexpr std::uintptr_t kAt = 0x100000000000;
  constexpr std::uintptr_t kTebi = std::uintptr_t{1} << 40;
  const auto page = [](std::size_t i) { return kAt + i * kPageBytes; };
  std::ofstream(smaps) << std::hex << page(0) << "-" << page(16)
                       << " rw-p 00000000 00:00 0 \nRss: 16 kB\nAnonymous: 16 kB\n"
                       << page(16) << "-" << page(32)
                       << " rw-p 00000000 fe:01 7 /data\nRss: 20 kB\nAnonymous: 8 kB\n"
                       << page(32) << "-" << page(48) << " r--p 00000000 fe:01 7 /data\nRss: 0 kB\n"
                       << page(48) << "-" << page(52) << " rw-p 00000000 00:00 0 \nRss: 16 kB\n"
                       << page(64) << "-" << page(64) + kTebi << " ---p 00000000 00:00 0 \nRss: 0 kB\n";
  MadeUpProcess process(folder);
  process.map(page(0), 16 * kPageBytes);
  // Of 5 pages one is a page of zeros that was only read: smaps does not count it.
  for (std::size_t i = 4; i < 16; ++i)
    if (i != 9) process.swap_out(page(i));
  using Content = report::ScanRange::Content;
  const report::ScanRange ranges[] = {{page(0), page(16)},
                                      {page(16), page(48), Content::kFile},
                                      {page(48), page(52)},
                                      {page(64), page(64) + kTebi, Content::kInaccessible}};
  Arena arena;
  Residency r;
  REQUIRE(r.scan(arena, process, ranges));
  CHECK(r.method() == ResidencyMethod::kSmaps);
  CHECK(r.resident_bytes(page(0), page(4)) == 4 * kPageBytes);
  CHECK(r.resident_bytes(page(0), page(16)) == 4 * kPageBytes);
  CHECK(r.resident_bytes(page(16), page(32)) == 5 * kPageBytes);
  CHECK(r.resident_bytes(page(32), page(48)) == 0);
  CHECK(r.resident_bytes(page(48), page(52)) == 4 * kPageBytes);
  CHECK(pages_found(r) == 13);
  CHECK(process.pages_asked == 16);
  std::uint64_t of_file = 0;
  for (const report::ResidentRun& run : r.runs()) of_file += run.file ? run.end - run.begin : 0;
  CHECK(of_file == 3 * kPageBytes);
  remove(smaps.c_str());
  rmdir(folder);
}

namespace {

/// Of a busy machine: each question takes 20 ms of work. One page is in memory.
class SlowProcess : public ProcessMemory {
 public:
  /// \param quick  how many questions take no time before
  SlowProcess(std::string folder, std::uintptr_t resident, int quick = 0)
      : ProcessMemory(kAccess), folder_(std::move(folder)), resident_(resident), quick_(quick) {}

 private:
  std::string folder_;
  std::uintptr_t resident_;
  mutable int quick_;

  static const SlowProcess& of(const ProcessMemory& self) { return static_cast<const SlowProcess&>(self); }
  static std::uint64_t work_ns() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
  }
  static constexpr Access kAccess = {
      .in_place = false,
      .copy = [](const ProcessMemory&, void*, std::uintptr_t, std::size_t) noexcept { return false; },
      .copy_pieces = [](const ProcessMemory&, void*, const std::uintptr_t*, std::size_t,
                        std::size_t) noexcept { return std::size_t{0}; },
      .pages_present =
          [](const ProcessMemory& self, std::uintptr_t begin, std::size_t pages,
             unsigned char* present) noexcept {
            const std::uint64_t until = work_ns() + 20'000'000;
            while (of(self).quick_ <= 0 && work_ns() < until) {}
            --of(self).quick_;
            for (std::size_t i = 0; i < pages; ++i) present[i] = begin + i * kPageBytes == of(self).resident_;
            return true;
          },
      .add_path = [](const ProcessMemory& self, std::string_view name,
                     TextBuffer& to) noexcept { to.add(of(self).folder_).add('/').add(name); },
  };
};

}  // namespace

TEST_CASE("residency: what is found in a reservation of 1 GiB does not depend on the machine's load") {
  char folder[] = "/tmp/mallard-slow-XXXXXX";
  REQUIRE(mkdtemp(folder));
  const std::string smaps = std::string(folder) + "/smaps";
  constexpr std::uintptr_t kAt = 0x100000000000, kEnd = kAt + (std::uintptr_t{1} << 30);
  std::ofstream(smaps) << std::hex << kAt << "-" << kEnd << " rw-p 00000000 00:00 0 \nRss: 4 kB\n";
  const SlowProcess process(folder, kEnd - kPageBytes);
  const report::ScanRange ranges[] = {{kAt, kEnd}};
  Arena arena;
  Residency r;
  REQUIRE(r.scan(arena, process, ranges));
  CHECK(r.unread_bytes() == 0);
  REQUIRE(r.runs().size() == 1);
  CHECK(r.runs()[0].begin == kEnd - kPageBytes);
  remove(smaps.c_str());
  rmdir(folder);
}

TEST_CASE("residency: what there is no time to look for is counted where nobody looked") {
  char folder[] = "/tmp/mallard-slow-XXXXXX";
  REQUIRE(mkdtemp(folder));
  const std::string smaps = std::string(folder) + "/smaps";
  constexpr std::uintptr_t kAt = 0x100000000000, kAsked = std::uintptr_t{64} << 30, kEnd = kAt + kAsked + (8u << 28);
  std::ofstream(smaps) << std::hex << kAt << "-" << kEnd << " rw-p 00000000 00:00 0 \nRss: 40 kB\n";
  const SlowProcess process(folder, kEnd - kPageBytes, static_cast<int>(kAsked >> 27));
  const report::ScanRange ranges[] = {{kAt, kEnd}};
  Arena arena;
  Residency r;
  REQUIRE(r.scan(arena, process, ranges));
  CHECK(r.unread_bytes() > 0);
  CHECK(r.unread_bytes() <= kEnd - kAt - kAsked);
  REQUIRE(r.runs().size() == 1);
  CHECK(r.runs()[0].begin == kEnd - r.unread_bytes());
  CHECK(r.runs()[0].end == r.runs()[0].begin + 10 * kPageBytes);
  CHECK(!r.runs()[0].file);
  remove(smaps.c_str());
  rmdir(folder);
}

TEST_CASE("residency: addresses that no process can have hold nothing, and end no scan") {
  Map map(4);
  map.write(2);
  constexpr std::uintptr_t kBeyond = std::uintptr_t{1} << 52;
  for (ResidencyMethod method : methods()) {
    Arena arena;
    Residency r;
    const report::ScanRange ranges[] = {map.range(), {kBeyond, kBeyond + 3 * kPageBytes}};
    REQUIRE(r.scan(arena, own_process(), ranges, kUnknown, method));
    CHECK(pages_of(r, map) == 1);
    CHECK(r.runs().size() == 1);
    if (r.method() != ResidencyMethod::kSmaps) CHECK(r.vanished_bytes() == 3 * kPageBytes);
  }
}

TEST_CASE("residency: every second page is counted once, by every method") {
  constexpr std::size_t kPages = 8192;  // PAGEMAP_SCAN tells pages of such memory twice
  Map map(kPages);
  for (std::size_t page = 0; page < kPages; page += 2) map.write(page);
  for (ResidencyMethod method : methods()) {
    Arena arena;
    Residency r;
    const report::ScanRange ranges[] = {map.range()};
    REQUIRE(r.scan(arena, own_process(), ranges, kUnknown, method));
    CHECK(pages_of(r, map) == kPages / 2);
    CHECK(r.runs().size() == kPages / 2);
  }
}
