// SPDX-License-Identifier: Apache-2.0
// Whose pages are, which are given back or locked, and which must be written: from page tables and smaps that
// are made up.
#include "report/facts/page_use.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "report/facts/fork_copies.hpp"
#include "report/facts/memory.hpp"
#include "report/facts/sharing.hpp"
#include "tests/unit/fenced.hpp"
#include "tests/unit/made_up_folder.hpp"
#include "tests/unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

constexpr std::uint64_t kMuchTime = 100'000'000'000, kKilo = 1024;
constexpr std::uintptr_t at(std::size_t page) { return 0x10'0000'0000 + page * kPageBytes; }

Region region_of(std::size_t page, std::size_t pages, Owner owner = Owner::kAnonymous) {
  return {.begin = at(page), .end = at(page + pages), .owner = owner, .readable = true, .writable = true};
}

/// A mapping of the pages of a file from `file_page` on.
Region of_file(std::size_t page, std::size_t pages, std::uint64_t inode, std::size_t file_page) {
  Region r = region_of(page, pages, Owner::kFile);
  r.device = 3;
  r.inode = inode;
  r.offset = file_page * kPageBytes;
  return r;
}

/// A process with such a page table, what lies in its memory, and its residency.
struct Paged {
  MadeUpFolder folder;
  MadeUpProcess process{folder.of_process()};
  Arena arena;
  std::vector<Region> all;
  Regions regions{};
  Residency residency;

  void read(const std::map<std::uintptr_t, std::uint64_t>& entries, std::vector<Region> of) {
    std::map<std::uintptr_t, std::uint64_t> table = entries;
    table[at(1 << 20)] = 0;  // a page table goes on behind what is mapped
    folder.write_page_table(table);
    all = std::move(of);
    regions.all = all;
    std::vector<ScanRange> ranges;
    for (const Region& r : all) ranges.emplace_back(r.begin, r.end);
    REQUIRE(residency.scan(arena, process, ranges));
    REQUIRE(residency.method() == ResidencyMethod::kPagemap);
  }
  const char* share(std::uint64_t budget_ns = kMuchTime) {
    bool unreadable = true;
    const char* why_not = find_sharing(arena, process, residency, budget_ns, &regions, &unreadable);
    CHECK(!unreadable);
    return why_not;
  }
};

void check_pages(const Sharing& sharing, std::size_t ours, std::size_t others) {
  CHECK(sharing.only_ours == ours * kPageBytes);
  CHECK(sharing.with_others == others * kPageBytes);
}

std::string mapping(std::size_t page, std::size_t pages, const char* rest, const std::string& fields) {
  char line[128];
  snprintf(line, sizeof line, "%lx-%lx %s\n", static_cast<unsigned long>(at(page)),
           static_cast<unsigned long>(at(page + pages)), rest);
  return line + fields;
}

}  // namespace

TEST_CASE("sharing: a page is ours alone where nobody else maps it, of files and of no file apart") {
  Paged p;
  p.read({{at(0), page::kOurs},
          {at(1), page::kOurs},
          {at(3), page::kShared},
          {at(10), page::kOurFile},
          {at(11), page::kSharedFile},
          {at(12), page::kSharedFile},
          {at(13), page::kOurs},
          {at(21), page::kSharedFile},  // of a segment that has no inode
          {at(200), page::kOurs}},
         {region_of(0, 8), of_file(10, 4, 7, 0), region_of(20, 4), region_of(200, 1)});
  CHECK(p.share() == nullptr);
  check_pages(p.all[0].in_no_file, 2, 1);
  check_pages(p.all[0].in_files, 0, 0);
  check_pages(p.all[1].in_no_file, 1, 0);
  check_pages(p.all[1].in_files, 1, 2);
  check_pages(p.all[2].in_no_file, 0, 0);
  check_pages(p.all[2].in_files, 0, 1);
  check_pages(p.all[3].in_no_file, 1, 0);
}

TEST_CASE("sharing: pages of a file that this process itself has mapped twice are nobody else's") {
  Paged p;
  std::map<std::uintptr_t, std::uint64_t> entries;
  std::vector<Region> regions = {
      of_file(0, 10, 7, 0),    // pages 0 to 10 of the file
      of_file(20, 4, 7, 2),    // 2 to 6, within the first
      of_file(40, 4, 7, 8),    // 8 to 12: two of them are the first's
      of_file(60, 2, 8, 0),    // another file
      of_file(70, 2, 7, 20),   // the same file, elsewhere
      region_of(80, 2),
  };
  for (const Region& r : regions)
    for (std::uintptr_t page = r.begin; page < r.end; page += kPageBytes) entries[page] = page::kSharedFile;
  entries[at(80)] = entries[at(81)] = page::kShared;
  entries[at(3)] = page::kShared;  // a copy that a child shares is of no file
  p.read(entries, regions);
  CHECK(p.share() == nullptr);
  check_pages(p.all[0].in_files, 0, 4);  // 0, 1, 6 and 7
  check_pages(p.all[0].in_no_file, 0, 1);
  check_pages(p.all[1].in_files, 0, 0);
  check_pages(p.all[2].in_files, 0, 2);
  check_pages(p.all[3].in_files, 0, 2);
  check_pages(p.all[4].in_files, 0, 2);
  check_pages(p.all[5].in_no_file, 0, 2);
}

TEST_CASE("sharing: a page that went meanwhile is nobody's, and so is one that no region has") {
  Paged p;
  p.read({{at(0), page::kOurs}, {at(1), page::kShared}, {at(2), page::kOurs}, {at(30), page::kShared}},
         {region_of(0, 4), region_of(20, 4), region_of(30, 2)});
  p.folder.write_page_table({{at(0), 0}, {at(1), 0}, {at(2), page::kOurs}, {at(30), page::kShared}, {at(99), 0}});
  p.regions.all = std::span(p.all).first(2);
  CHECK(p.share() == nullptr);
  check_pages(p.all[0].in_no_file, 1, 0);
  check_pages(p.all[1].in_no_file, 0, 0);
  check_pages(p.all[2].in_no_file, 0, 0);
}

TEST_CASE("sharing: of other devices a number of a file is another file's") {
  Paged p;
  Region other = of_file(10, 2, 7, 0);
  other.device = 4;
  p.read({{at(0), page::kSharedFile}, {at(10), page::kSharedFile}}, {of_file(0, 2, 7, 0), other});
  CHECK(p.share() == nullptr);
  check_pages(p.all[0].in_files, 0, 1);
  check_pages(p.all[1].in_files, 0, 1);
}

TEST_CASE("sharing: long runs, and many that lie near each other, are counted once") {
  constexpr std::size_t kLong = 5000, kShort = 3000;
  Paged p;
  std::map<std::uintptr_t, std::uint64_t> entries;
  for (std::size_t i = 0; i < kLong; ++i) entries[at(i)] = i % 3 ? page::kOurs : page::kShared;
  for (std::size_t i = 0; i < kShort; ++i) entries[at(kLong + 1000 + 2 * i)] = page::kOurs;
  p.read(entries, {region_of(0, kLong), region_of(kLong + 1000, 2 * kShort)});
  CHECK(p.share() == nullptr);
  check_pages(p.all[0].in_no_file, kLong - (kLong + 2) / 3, (kLong + 2) / 3);
  check_pages(p.all[1].in_no_file, kShort, 0);
}

TEST_CASE("sharing: where the page table is refused, or there is no time, a report says so") {
  Paged p;
  p.read({{at(0), page::kOurs}}, {region_of(0, 1)});
  CHECK(p.share(0) == std::string("there is too much of it to look at each page"));
  p.folder.write("pagemap", "");
  CHECK(p.share() == std::string("/proc/self/pagemap cannot be read"));
  bool unreadable = false;
  const MadeUpProcess nobody;
  CHECK(find_sharing(p.arena, nobody, p.residency, kMuchTime, &p.regions, &unreadable) ==
        std::string("/proc/self/pagemap cannot be read"));
  CHECK(unreadable);
}

namespace {

/// A mapping of a file with 8 pages in memory, of which 2 are copies; and one of anonymous memory.
std::string smaps_of_both() {
  return mapping(0, 10, "rw-p 00000000 00:03 7 /data",
                 "Size: 40 kB\nRss: 32 kB\nPss: 20 kB\nPss_Dirty: 9 kB\nShared_Clean: 8 kB\nShared_Dirty: 4 kB\n"
                 "Private_Clean: 8 kB\nPrivate_Dirty: 12 kB\nReferenced: 1 kB\nAnonymous: 8 kB\nLocked: 32 kB\n") +
         mapping(20, 8, "rw-p 00000000 00:00 0 ",
                 "Rss: 16 kB\nPss: 16 kB\nShared_Dirty: 4 kB\nPrivate_Dirty: 12 kB\nAnonymous: 16 kB\n"
                 "LazyFree: 8 kB\nAnonHugePages: 2 kB\nSwap: 3 kB\nLocked: 4 kB\nVmFlags: rd wr mr\n");
}

}  // namespace

TEST_CASE("smaps: each figure of each mapping, and nothing of a line that is none") {
  MadeUpFolder folder;
  folder.write("smaps", "Rss: 4 kB\nno line\n" + smaps_of_both() + "Rss\n\na00000000000-a00000001000 r-xp 00001000 fe:01 5 /usr/lib/Rss: 9 kB\nRss: 4 kB\n");
  Arena arena;
  std::span<const SmapsEntry> all;
  REQUIRE(read_smaps(arena, MadeUpProcess(folder.of_process()), &all));
  REQUIRE(all.size() == 3);
  CHECK(all[0].begin == at(0));
  CHECK(all[0].end == at(10));
  CHECK(all[0].resident == 32 * kKilo);
  CHECK(all[0].proportional == 20 * kKilo);
  CHECK(all[0].shared_clean == 8 * kKilo);
  CHECK(all[0].shared_dirty == 4 * kKilo);
  CHECK(all[0].private_clean == 8 * kKilo);
  CHECK(all[0].private_dirty == 12 * kKilo);
  CHECK(all[0].anonymous == 8 * kKilo);
  CHECK(all[0].lazily_freed == 0);
  CHECK(all[0].locked == 32 * kKilo);
  CHECK(all[1].begin == at(20));
  CHECK(all[1].resident == 16 * kKilo);
  CHECK(all[1].lazily_freed == 8 * kKilo);
  CHECK(all[1].huge_pages == 2 * kKilo);
  CHECK(all[1].swapped == 3 * kKilo);
  CHECK(all[1].locked == 4 * kKilo);
  CHECK(all[2].begin == 0xa00000000000);
  CHECK(all[2].resident == 4 * kKilo);
  CHECK(!read_smaps(arena, MadeUpProcess(), &all));
}

TEST_CASE("page use: by smaps alone, each region has its part of what is said of its mapping") {
  MadeUpFolder folder;
  folder.write("smaps", smaps_of_both());
  MadeUpProcess process(folder.of_process());
  process.map(at(20), 8 * kPageBytes);
  for (std::size_t i = 4; i < 8; ++i) process.swap_out(at(20 + i));
  using Content = ScanRange::Content;
  const ScanRange ranges[] = {{at(0), at(10), Content::kFile}, {at(20), at(28)}};
  Arena arena;
  Residency residency;
  REQUIRE(residency.scan(arena, process, ranges));
  REQUIRE(residency.method() == ResidencyMethod::kSmaps);
  Region all[] = {region_of(0, 4, Owner::kFile), region_of(4, 6, Owner::kFile),
                  region_of(20, 1, Owner::kHeap), region_of(21, 7)};
  Regions regions{};
  regions.all = all;
  PageUse use;
  find_page_use(arena, process, residency, {}, residency.smaps(), &regions, &use);
  CHECK(use.has_smaps);
  CHECK(use.smaps_why_not == nullptr);
  CHECK(use.sharing_why_not == nullptr);
  CHECK(use.proportional == 36 * kKilo);
  CHECK(use.lazily_freed == 8 * kKilo);
  // Of 24 KiB of the file 8 KiB are dirty and no copies. Half of its pages are taken to lie in each region.
  CHECK(use.dirty_files == 8 * kKilo);
  CHECK(all[0].dirty_bytes == 4 * kKilo);
  CHECK(all[1].dirty_bytes == 4 * kKilo);
  CHECK(use.locked_files == 24 * kKilo);
  check_pages(all[0].in_no_file, 1, 0);
  CHECK(all[0].in_files.only_ours == 6 * kKilo);
  CHECK(all[0].in_files.with_others == 6 * kKilo);
  CHECK(all[2].in_no_file.only_ours == 3 * kKilo);
  CHECK(all[2].in_no_file.with_others == kKilo);
  CHECK(all[3].in_no_file.only_ours == 9 * kKilo);
  CHECK(all[3].in_no_file.with_others == 3 * kKilo);
  CHECK(all[2].lazily_freed_bytes == 2 * kKilo);
  CHECK(all[3].lazily_freed_bytes == 6 * kKilo);
  CHECK(all[2].dirty_bytes == 0);  // of no file
}

TEST_CASE("page use: the page table tells who shares pages, and smaps the rest") {
  Paged p;
  p.read({{at(0), page::kOurFile}, {at(1), page::kSharedFile}}, {of_file(0, 4, 7, 0)});
  p.folder.write("smaps", mapping(0, 4, "rw-s 00000000 00:03 7 /data",
                                  "Rss: 8 kB\nPss: 6 kB\nShared_Clean: 8 kB\nPrivate_Dirty: 4 kB\n"));
  PageUse use;
  find_page_use(p.arena, p.process, p.residency, {}, {}, &p.regions, &use);
  CHECK(use.has_smaps);
  CHECK(use.sharing_why_not == nullptr);
  check_pages(p.all[0].in_files, 1, 1);
  CHECK(use.dirty_files == 4 * kKilo);
  CHECK(use.locked_files == 0);
  std::filesystem::remove(p.folder.of_process() + "/smaps");
  PageUse without;
  find_page_use(p.arena, p.process, p.residency, {}, {}, &p.regions, &without);
  CHECK(!without.has_smaps);
  CHECK(without.smaps_why_not == std::string("/proc/self/smaps cannot be read"));
}

TEST_CASE("page use: smaps is left alone where the kernel's walk would hold up a host for long") {
  constexpr std::size_t kMost = (128u << 20) / kPageBytes;
  Paged p;
  std::map<std::uintptr_t, std::uint64_t> entries;
  for (std::size_t i = 0; i <= kMost; ++i) entries[at(i)] = page::kOurs;
  const auto why_not = [&](std::vector<Region> of, const Rss& rss) {
    p.read(entries, std::move(of));
    p.folder.write("smaps", "");
    PageUse use;
    find_page_use(p.arena, p.process, p.residency, rss, {}, &p.regions, &use);
    return std::string(use.smaps_why_not ? use.smaps_why_not : "");
  };
  const std::string too_large = "a mapping is so large that the kernel would hold up the process while it looks";
  const Rss nothing_freed{.lazily_freed_known = true, .anonymous = 100'000};
  CHECK(why_not({region_of(0, kMost + 1)}, nothing_freed).empty());  // somebody asked for another's
  p.process.adopt_books();
  CHECK(why_not({region_of(0, kMost + 1)}, nothing_freed) == too_large);
  CHECK(why_not({region_of(0, kMost)}, nothing_freed).empty());
  // Neighbours may be one mapping; what lies apart is not.
  CHECK(why_not({region_of(0, 10), region_of(10, kMost - 9)}, nothing_freed) == too_large);
  CHECK(why_not({region_of(0, 10), region_of(11, kMost - 10)}, nothing_freed).empty());
  // Of pages in memory those count that the region has.
  const std::vector<Region> inner = {region_of(5, kMost - 4)};
  p.read(entries, {region_of(0, kMost + 1)});
  p.all = inner;
  p.regions.all = p.all;
  PageUse use;
  find_page_use(p.arena, p.process, p.residency, nothing_freed, {}, &p.regions, &use);
  CHECK(use.smaps_why_not == nullptr);
  // Where nothing else tells what is lazily freed, or the walk was made already, as much again is worth it.
  CHECK(why_not({region_of(0, kMost + 1)}, {}).empty());
  CHECK(why_not({region_of(0, kMost + 1)}, {.walked = true,
                                            .lazily_freed_known = true,
                                            .anonymous = 100'000,
                                            .lazily_freed = 1'001})
            .empty());
  CHECK(why_not({region_of(0, kMost + 1)}, {.walked = true,
                                            .lazily_freed_known = true,
                                            .anonymous = 100'000,
                                            .lazily_freed = 1'000}) == too_large);
  std::vector<Region> many(10'000, region_of(0, 0));
  CHECK(why_not(many, nothing_freed).empty());
  many.push_back(region_of(0, 0));
  CHECK(why_not(many, nothing_freed) == "there are too many mappings to ask for each");
}

TEST_CASE("regions: what of each is in memory, on huge pages and in no file") {
  const Fenced<ResidentRun> runs = {{at(1), at(3), 0, false, false},
                                    {at(4), at(8), 0, true, false},
                                    {at(8), at(9), 0, false, true},
                                    {at(20), at(21), 0, false, false}};
  const Fenced<Region> regions = {region_of(0, 2), region_of(2, 3), region_of(5, 10), region_of(30, 2)};
  Arena arena;
  const InMemory* in = measure_regions(arena, regions.all(), runs.all());
  REQUIRE(in);
  constexpr std::uint64_t kPage = kPageBytes;
  for (const auto& [i, bytes, huge, anonymous] :
       {std::tuple(0, kPage, 0 * kPage, kPage), {1, 2 * kPage, 0 * kPage, kPage},
        {2, 4 * kPage, kPage, kPage}, {3, 0 * kPage, 0 * kPage, 0 * kPage}}) {
    CAPTURE(i);
    CHECK(in[i].bytes == bytes);
    CHECK(in[i].huge == huge);
    CHECK(in[i].anonymous == anonymous);
  }
}

namespace {

/// Pages of this process, which plays the parent, at places where the child has what its page table says.
class ParentsPages {
 public:
  static constexpr std::size_t kPages = 1200;  // more than are asked at once
  ParentsPages() {
    // At a low address the page table that is made up is a small file.
    void* const where = reinterpret_cast<void*>(at(0));
    void* const map = mmap(where, kPages * kPageBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    REQUIRE(map == where);
    at_ = static_cast<char*>(map);
    madvise(at_, kPages * kPageBytes, MADV_NOHUGEPAGE);
  }
  ~ParentsPages() { munmap(at_, kPages * kPageBytes); }
  ParentsPages(const ParentsPages&) = delete;
  void write(std::size_t i) { at_[i * kPageBytes] = 1; }
  std::uintptr_t page(std::size_t i) const { return address_of(at_) + i * kPageBytes; }

 private:
  char* at_;
};

record::LiveBlock block_at(std::uintptr_t address, std::uint64_t bytes, std::uint64_t born_ns = 5) {
  return {address, bytes, 1, born_ns, record::SiteId{1}, 0};
}

}  // namespace

TEST_CASE("fork: copied are blocks from before it, on pages that both have in memory and one has written") {
  ParentsPages parents;
  for (std::size_t i = 0; i < ParentsPages::kPages; ++i)
    if (i != 6) parents.write(i);
  std::map<std::uintptr_t, std::uint64_t> entries;
  for (std::size_t i = 0; i < ParentsPages::kPages; ++i) entries[parents.page(i)] = page::kOurs;
  entries[parents.page(1)] = page::kShared;  // nobody has written
  entries[parents.page(2)] = 0;
  entries[parents.page(3)] = page::kOurFile;
  MadeUpFolder folder;
  folder.write_page_table(entries);
  const MadeUpProcess process(folder.of_process());
  Arena arena;
  const auto copied = [&](std::initializer_list<record::LiveBlock> blocks, int parent = getpid(),
                          std::uint64_t budget_ns = kMuchTime) {
    return copied_since_fork(arena, process, {blocks.begin(), blocks.size()}, 10, parent, budget_ns);
  };
  const std::uint64_t page_bytes = kPageBytes;
  for (const auto& [from, bytes, twice] : {std::tuple(parents.page(0) + 100, std::uint64_t{50}, 50.0),
                                           {parents.page(0) + 4000, page_bytes, 96.0},
                                           {parents.page(2), 3 * page_bytes, 4096.0},
                                           {parents.page(5) + 10, 3 * page_bytes - 20, 2 * 4096.0 - 20},
                                           {parents.page(10), 1000 * page_bytes, 1000 * 4096.0}}) {
    CAPTURE((from - parents.page(0)) / kPageBytes, bytes);
    const Estimate e = copied({block_at(from, bytes)});
    CHECK(e.value == twice);
    CHECK(e.has_interval);
  }
  CHECK(copied({block_at(parents.page(0), 64, 9), block_at(parents.page(0), 64, 10)}).value == 64);
  const Estimate nothing = copied({block_at(parents.page(1), 64), block_at(parents.page(6), 64)});
  CHECK(nothing.has_interval);
  CHECK(nothing.value == 0);
  CHECK(nothing.high == 0);
  // What cannot be told has no interval.
  CHECK(!copied({block_at(parents.page(0), 64)}, 0).has_interval);
  CHECK(!copied({block_at(parents.page(0), 64)}, getpid(), 0).has_interval);
  CHECK(!copied_since_fork(arena, MadeUpProcess(), {}, 10, getpid(), kMuchTime).has_interval);
}

namespace {

/// A process with a few mappings, of which the kernel tells what is in memory.
struct Looked {
  MadeUpFolder folder;
  MadeUpProcess process{folder.of_process()};
  backends::Backend backend;
  Served served{};
  Memory memory;
  Arena arena;

  /// \param rss_pages  as the kernel counts them
  void read(int rss_pages) {
    folder.write("maps", mapping(0, 4, "rw-p 00000000 00:00 0 ", "") + mapping(4, 4, "rw-p 00000000 00:00 0 ", "") +
                             mapping(8, 2, "---p 00000000 00:00 0 ", "") +
                             mapping(10, 4, "r--p 00000000 08:01 7 /data/file", "") +
                             mapping(14, 2, "r--p 00000000 00:00 0 [vvar]", "") +
                             mapping(60, 2, "rw-p 00000000 00:00 0 ", ""));
    folder.write_page_table({{at(1), page::kOurs},
                             {at(5), page::kOurs},
                             {at(11), page::kSharedFile},
                             {at(15), page::kOurs},  // the kernel's own
                             {at(58), page::kOurs},  // mapped meanwhile
                             {at(61), page::kOurs},
                             {at(1 << 20), 0}});
    const std::string kilo = std::to_string(rss_pages * 4);
    folder.write("status", "VmRSS: " + kilo + " kB\nRssAnon: " + kilo + " kB\n");
    folder.write("smaps", mapping(0, 8, "rw-p 00000000 00:00 0 ", "Rss: 8 kB\nLazyFree: 4 kB\nPss: 8 kB\n"));
    folder.write("../vmstat", "pglazyfree 1000000\n");
    served.backend = &backend;
    read_memory(arena, process, served, &memory);
  }
};

}  // namespace

TEST_CASE("memory: the kernel's view of a process that stands still is one look") {
  Looked l;
  l.read(4);
  REQUIRE(l.memory.known);
  CHECK(l.memory.why_not == nullptr);
  CHECK(l.memory.process == &l.process);
  CHECK(l.memory.looks == 1);
  CHECK(l.memory.scan_ns > 0);
  CHECK(l.memory.before.total == 4 * kPageBytes);
  CHECK(l.memory.after.total == 4 * kPageBytes);
  CHECK(!l.memory.after.lazily_freed_known);
  CHECK(l.memory.after.lazily_freed == 4 * kKilo);
  CHECK(l.memory.regions.all.size() == 6);
  CHECK(l.memory.residency.runs().size() == 4);
  CHECK(l.memory.residency.resident_bytes(at(0), at(99)) == 4 * kPageBytes);
  CHECK(l.memory.use.proportional == 8 * kKilo);
  CHECK(l.memory.regions.all[0].in_no_file.only_ours == kPageBytes);
}

TEST_CASE("memory: it is looked at up to four times where what is found is not what the kernel counts") {
  Looked l;
  l.read(300);
  CHECK(l.memory.known);
  CHECK(l.memory.looks == 4);
}

TEST_CASE("memory: what cannot be read is named") {
  Looked l;
  const std::string folder = l.folder.of_process();
  read_memory(l.arena, l.process, l.served, &l.memory);
  CHECK(!l.memory.known);
  CHECK(l.memory.why_not == std::string("/proc/self/status cannot be read"));
  l.folder.write("status", "VmRSS: 12 kB\n");
  read_memory(l.arena, l.process, l.served, &l.memory);
  CHECK(!l.memory.known);
  CHECK(l.memory.why_not == std::string("/proc/self/maps cannot be read"));
}
