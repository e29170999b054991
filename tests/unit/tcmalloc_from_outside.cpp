// SPDX-License-Identifier: Apache-2.0
// A tcmalloc that cannot be asked is found by its tables, in a process that is made up: they are believed where all
// that they say agrees, and not where one thing does not.
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <vector>

#include "base/attributes.hpp"
#include "heaps/tcmalloc.hpp"
#include "unit/catch.hpp"
#include "unit/damage.hpp"
#include "unit/golden.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constexpr std::uintptr_t kHeap = 0x1234'4000'0000;  // nothing of this process lies there
constexpr std::uintptr_t kData = 0x1235'0000'0000, kTables = 0x1236'0000'0000, kBooks = 0x1237'0000'0000;
constexpr std::uint64_t kPage = kPageBytes, kDataBytes = 96 * kPage;

constexpr std::int32_t kSizes[] = {0,   8,    16,   32,   48,   64,    80,    96,    112,   128,
                                   256, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144};
constexpr std::size_t kSizeClasses = std::size(kSizes);
constexpr std::uintptr_t kMoved = kData + 0x100, kClassTable = kMoved + 512, kCacheList = kData + 0x800;
constexpr std::uintptr_t kTransfer = kData + 0x1040, kStride = 1088, kSlots = 64;
constexpr std::uintptr_t kRoot = kData + 0x8000, kBooksBytes = 64 * kPage;
constexpr std::uint64_t kCountsAt = kSlots * 16 + 16;
constexpr std::uintptr_t kLists = 128 * 32;  ///< bytes of the lists of a thread's cache

/// A tcmalloc of 19 classes, with caches, in data of its own.
class MadeUpTcmalloc {
 public:
  explicit MadeUpTcmalloc(unsigned page_shift = 13, unsigned levels = 2, std::uintptr_t root = kRoot)
      : root_(root), shift_(page_shift), levels_(levels) {
    process.map(kData, kDataBytes);
    process.map(kBooks, kBooksBytes);
    for (std::size_t i = 0; i < kSizeClasses; ++i) process.put(kClassTable + i * 4, kSizes[i]);
    for (std::size_t i = 0; i < 128; ++i) process.put(kMoved + i * 4, moved_of(i));
    put_span(0, 0, 4, 5, 100);
    put_span(1, 8, 2, 0, 0);
    put_span(2, 16, 1, 3, 0);
  }
  static std::int32_t moved_of(std::size_t i) { return i == 0 ? 0 : static_cast<std::int32_t>(200 - i); }

  std::uintptr_t page(std::uint64_t n) const { return kHeap + (n << shift_); }
  std::vector<std::uintptr_t> pages() const { return {page(0), page(8), page(16)}; }

  void put_span(std::uint64_t number, std::uint64_t first, std::uint64_t pages, std::uint64_t size_class,
                std::uint64_t handed_out, std::uint64_t location = 0) {
    const std::uintptr_t at = kBooks + 48 * number;
    process.put(at, page(first) >> shift_);
    process.put(at + 8, pages);
    process.put(at + 40, handed_out | size_class << 16 | location << 24);
    for (std::uint64_t n = first; n < first + 4; ++n) put_page(page(n), at);
  }

  /// \param tail  bytes of free blocks in it
  void put_cache(std::uintptr_t at, std::int32_t tail) {
    for (std::size_t i = 1; i < kSizeClasses; ++i) process.put(at + i * 32 + 24, kSizes[i]);
    process.put(at + kLists, tail);
  }
  /// Makes the caches a list, of which the data has the first.
  void link(const std::vector<std::uintptr_t>& caches, std::uint64_t next_at = kLists + 40) {
    process.put(kCacheList, caches.front());
    for (std::size_t i = 0; i + 1 < caches.size(); ++i) {
      process.put(caches[i] + next_at, caches[i + 1]);
      process.put(caches[i + 1] + next_at + 8, caches[i]);
    }
  }

  void put_transfer(std::uint64_t stride = kStride, std::uintptr_t first = kTransfer, std::uint64_t counts_at = kCountsAt) {
    for (std::size_t i = 1; i < kSizeClasses; ++i) {
      const std::uintptr_t at = first + (i - 1) * stride;
      process.put(at, std::uint64_t{i});
      for (std::uint64_t off = kSlots * 16; off < counts_at; off += 4) process.put(at + off, std::int32_t{-1});
      put_counts(at + counts_at, 1, 2, 64);
    }
  }
  void put_counts(std::uintptr_t at, std::int32_t used, std::int32_t there, std::int32_t most) {
    process.put(at, used);
    process.put(at + 4, there);
    process.put(at + 8, most);
  }

  bool find(TcmallocFound* found) const { return find(found, pages()); }
  bool find(TcmallocFound* found, const std::vector<std::uintptr_t>& of) const {
    return find_tcmalloc(process, {kData, kData + kDataBytes}, of, found);
  }
  bool is_found() const {
    TcmallocFound found;
    return find(&found);
  }

  MadeUpProcess process;

  void put_page(std::uintptr_t page, std::uintptr_t span) {
    const unsigned bits = 48 - shift_;
    const unsigned upper = levels_ == 2 ? bits / 2 : (bits + 2) / 3, leaf = bits - upper * (levels_ - 1);
    const std::uint64_t number = page >> shift_;
    std::uintptr_t table = below(root_ + (number >> (bits - upper)) * 8);
    if (levels_ == 3) table = below(table + (number >> leaf & ((std::uint64_t{1} << upper) - 1)) * 8);
    const std::uintptr_t at = table + (number & ((std::uint64_t{1} << leaf) - 1)) * 8;
    process.map_where_missing(at);
    process.put(at, span);
  }
 private:
  std::uintptr_t below(std::uintptr_t at) {
    std::uint64_t next = 0;
    process.map_where_missing(at);
    REQUIRE(process.get(at, &next));
    if (next == 0) process.put(at, next = kTables + (8 << 20) * tables_++);
    return next;
  }

  const std::uintptr_t root_;
  const unsigned shift_, levels_;
  std::size_t tables_ = 0;
};

template <class Change>
bool finds_after(Change change) {
  MadeUpTcmalloc made;
  change(made);
  return made.is_found();
}

}  // namespace

TEST_CASE("from outside: each form of tcmalloc's page map") {
  for (const unsigned shift : {12u, 13u, 14u, 15u, 16u, 17u, 18u})
    for (const unsigned levels : {2u, 3u}) {
      INFO(shift << ", " << levels << " levels");
      MadeUpTcmalloc made(shift, levels);
      TcmallocFound found;
      REQUIRE(made.find(&found));
      CHECK(found.map.root == kRoot);
      CHECK(found.map.page_shift == shift);
      CHECK(found.map.levels == levels);
      for (std::size_t i = 0; i < 128; ++i)
        CHECK(found.class_bytes[i] == (i < kSizeClasses ? static_cast<std::uint64_t>(kSizes[i]) : 0));
      CHECK(found.first_cache == 0);
      CHECK(found.next_in_cache == 0);
      CHECK(found.first_transfer == 0);
      CHECK(is_tcmallocs(made.process, found, made.page(0)));
      CHECK(is_tcmallocs(made.process, found, made.page(3) + 100));
      CHECK_FALSE(is_tcmallocs(made.process, found, made.page(4)));
      CHECK_FALSE(is_tcmallocs(made.process, found, kTables));
      CHECK(cached_in(made.process, found) == 0);
    }
}

TEST_CASE("from outside: tcmalloc's table of classes") {
  CHECK(finds_after([](MadeUpTcmalloc&) {}));
  const auto with = [](std::size_t i, std::int32_t size) {
    return finds_after([=](MadeUpTcmalloc& made) { made.process.put(kClassTable + i * 4, size); });
  };
  CHECK_FALSE(with(0, 8));
  CHECK_FALSE(with(1, 24));
  CHECK_FALSE(with(5, 48));                      // as the one before
  CHECK_FALSE(with(5, 60));                      // no multiple of 8
  CHECK_FALSE(with(kSizeClasses - 1, 262136));   // not 256 KiB
  CHECK_FALSE(with(kSizeClasses - 1, 262152));
  CHECK_FALSE(with(kSizeClasses, 8));            // something behind the last
  CHECK_FALSE(with(127, 1));
  // 16 classes with that of nothing are enough, 15 are not; the first has 8 bytes or 16.
  const auto of = [](std::size_t count, std::int32_t first) {
    return finds_after([=](MadeUpTcmalloc& made) {
      for (std::size_t i = 1; i < 128; ++i)
        made.process.put(kClassTable + i * 4, i + 1 == count  ? 262144
                                              : i + 1 < count ? static_cast<std::int32_t>(first + 8 * (i - 1))
                                                              : 0);
    });
  };
  CHECK(of(16, 8));
  CHECK(of(16, 16));
  CHECK_FALSE(of(15, 8));
  CHECK(of(128, 8));
  CHECK_FALSE(of(20, 32));
}

TEST_CASE("from outside: spans of tcmalloc are believed where they can be") {
  const auto third = [](std::uint64_t pages, std::uint64_t size_class, std::uint64_t handed_out,
                        std::uint64_t location = 0) {
    return finds_after([=](MadeUpTcmalloc& made) { made.put_span(2, 16, pages, size_class, handed_out, location); });
  };
  CHECK(third(1, 0, 0));
  CHECK(third(4, 0, 0));
  CHECK_FALSE(third(5, 0, 0));   // the map does not have its last page
  CHECK_FALSE(third(std::uint64_t{1} << 30, 0, 0));
  CHECK_FALSE(third(~std::uint64_t{0}, 0, 0));
  CHECK_FALSE(third(0, 0, 0));
  CHECK(third(1, kSizeClasses - 1, 0));
  CHECK_FALSE(third(1, kSizeClasses, 0));
  CHECK(third(1, 13, 2));        // two of 4096 bytes in 8192
  CHECK_FALSE(third(1, 13, 3));
  CHECK(third(1, 13, 3, 1));     // of a free one that number means nothing
  CHECK(third(1, 0, 3));         // nor of a large block
  // Another page of a span is no third one, and pages without a span say nothing.
  MadeUpTcmalloc made;
  TcmallocFound found;
  CHECK_FALSE(made.find(&found, {made.page(0), made.page(1), made.page(8)}));
  CHECK_FALSE(made.find(&found, {made.page(0), made.page(8)}));
  CHECK_FALSE(made.find(&found, {}));
  CHECK(made.find(&found, {made.page(5), made.page(3), made.page(0), made.page(8), made.page(17) - 1}));
  // Its first page has to be its own in the map as well, and so has its last.
  for (const std::uint64_t others : {16, 18, 19}) {
    MadeUpTcmalloc four;
    four.put_span(2, 16, 4, 3, 0);
    four.put_page(four.page(others), kBooks + 48);
    CHECK(four.find(&found, {four.page(0), four.page(8), four.page(17)}) == (others == 18));
  }
}

TEST_CASE("from outside: tcmalloc's threads have their caches in a list") {
  constexpr std::uintptr_t kA = kBooks + 16 * kPage, kB = kBooks + 24 * kPage, kC = kBooks + 32 * kPage;
  for (const std::uint64_t next_at : {kLists + 8, kLists + 40, kLists + 512 - 8}) {
    INFO(next_at);
    MadeUpTcmalloc made;
    made.put_cache(kA, 1000);
    made.put_cache(kB, 200);
    made.put_cache(kC, -30);  // which some change left so for a moment
    made.link({kB, kA, kC}, next_at);
    TcmallocFound found;
    REQUIRE(made.find(&found));
    CHECK(found.first_cache == kB);
    // The previous one has no room behind the very last word.
    CHECK(found.next_in_cache == next_at);
    CHECK(cached_in(made.process, found) == 1200);
    made.process.put(kC + kLists, std::int32_t{5});
    CHECK(cached_in(made.process, found) == 1205);
    made.process.put(kA + next_at, std::uint64_t{0});
    CHECK(cached_in(made.process, found) == 1200);
    made.process.put(kA + next_at, std::uint64_t{0x1000});  // leads nowhere
    CHECK(cached_in(made.process, found) == 1200);
    made.process.put(kA + next_at, std::uint64_t{kB});  // a ring, which only damage makes
    CHECK(cached_in(made.process, found) == (1 << 15) * std::uint64_t{1200});
  }
  MadeUpTcmalloc alone;
  alone.put_cache(kA, 1000);
  alone.link({kA});
  TcmallocFound found;
  REQUIRE(alone.find(&found));
  CHECK(found.first_cache == kA);
  CHECK(found.next_in_cache == 0);
  CHECK(cached_in(alone.process, found) == 1000);
  // One that ends with the memory that is there.
  constexpr std::uintptr_t kLast = kBooks + kBooksBytes - kLists - 512;
  MadeUpTcmalloc last;
  last.put_cache(kLast, 300);
  last.link({kLast});
  REQUIRE(last.find(&found));
  CHECK(found.first_cache == kLast);
  CHECK(cached_in(last.process, found) == 300);
}

TEST_CASE("from outside: what repeats not all classes is no cache of a tcmalloc") {
  constexpr std::uintptr_t kA = kBooks + 16 * kPage;
  const auto is_cache = [](std::uintptr_t at, std::size_t wrong) {
    MadeUpTcmalloc made;
    made.put_cache(at, 1000);
    made.process.put(at + wrong * 32 + 24, std::int32_t{7});
    made.link({at});
    TcmallocFound found;
    REQUIRE(made.find(&found));
    return found.first_cache == at;
  };
  CHECK(is_cache(kA, 100));
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}, kSizeClasses / 2, kSizeClasses - 1})
    CHECK_FALSE(is_cache(kA, i));
  CHECK_FALSE(is_cache(kA + 4, 100));
}

namespace {

std::uintptr_t counts_of(std::size_t i, std::uint64_t stride = kStride) {
  return kTransfer + (i - 1) * stride + kCountsAt;
}

}  // namespace

TEST_CASE("from outside: tcmalloc's transfer caches are read with what a transfer moves") {
  TcmallocFound found;
  for (const std::uint64_t stride : {1024 + 64, 1536, 2048}) {
    MadeUpTcmalloc made;
    made.put_transfer(stride);
    REQUIRE(made.find(&found));
    CHECK(found.first_transfer == counts_of(1));
    CHECK(found.transfer_stride == stride);
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < 128; ++i) CHECK(found.moved[i] == MadeUpTcmalloc::moved_of(i));
    for (std::size_t i = 1; i < kSizeClasses; ++i)
      bytes += static_cast<std::uint64_t>(MadeUpTcmalloc::moved_of(i)) * static_cast<std::uint64_t>(kSizes[i]);
    CHECK(cached_in(made.process, found) == bytes);
    const std::uint64_t of_five = std::uint64_t{195} * 64;
    const auto with_used = [&](std::int32_t used) {
      made.put_counts(counts_of(5, stride), used, 64, 64);
      return cached_in(made.process, found);
    };
    CHECK(with_used(64) == bytes + 63 * of_five);
    CHECK(with_used(65) == bytes - of_five);
    CHECK(with_used(0) == bytes - of_five);
    CHECK(with_used(-1) == bytes - of_five);
    CHECK(with_used(1) == bytes);
    found.moved[5] = -1;
    CHECK(cached_in(made.process, found) == bytes - of_five);
  }
}

TEST_CASE("from outside: tcmalloc's transfer caches are numbered, and have counts that can be") {
  TcmallocFound found;
  const auto finds = [&found](std::size_t i, std::int32_t used, std::int32_t there, std::int32_t most) {
    MadeUpTcmalloc made;
    made.put_transfer();
    made.put_counts(counts_of(i), used, there, most);
    REQUIRE(made.find(&found));
    return found.first_transfer == counts_of(1);
  };
  CHECK(finds(1, 0, 0, 1));
  CHECK(finds(1, 64, 64, 64));
  CHECK_FALSE(finds(1, 3, 2, 64));
  CHECK_FALSE(finds(1, 1, 3, 2));
  CHECK_FALSE(finds(1, -1, 2, 64));
  CHECK_FALSE(finds(1, 0, 0, 0));
  CHECK_FALSE(finds(1, 1, 2, 65));
  CHECK_FALSE(finds(kSizeClasses - 1, 3, 2, 64));
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}, kSizeClasses - 1}) {
    MadeUpTcmalloc made;
    made.put_transfer();
    made.process.put(kTransfer + (i - 1) * kStride, std::uint64_t{i + 1});
    REQUIRE(made.find(&found));
    CHECK(found.first_transfer == 0);
  }
}

TEST_CASE("from outside: tcmalloc's transfer caches are the first that can be, counts within each") {
  constexpr std::uintptr_t kLater = kData + 0x40000;
  TcmallocFound found;
  MadeUpTcmalloc two;
  two.put_transfer();
  two.put_transfer(kStride, kLater);
  REQUIRE(two.find(&found));
  CHECK(found.first_transfer == counts_of(1));
  two.put_counts(counts_of(7), 3, 2, 1);
  REQUIRE(two.find(&found));
  CHECK(found.first_transfer == kLater + kCountsAt);
  MadeUpTcmalloc last;
  last.put_transfer(kStride, kTransfer, kStride - 12);
  REQUIRE(last.find(&found));
  CHECK(found.first_transfer == kTransfer + kStride - 12);
  // Those that would reach into the next one: its number would be the third.
  MadeUpTcmalloc beyond;
  beyond.put_transfer(kStride, kTransfer, kStride - 8);
  for (std::size_t i = 1; i < kSizeClasses; ++i) beyond.process.put(kTransfer + i * kStride, std::uint64_t{i + 1});
  REQUIRE(beyond.find(&found));
  CHECK(found.first_transfer == 0);
}

TEST_CASE("from outside: tcmalloc's root lies in its data, and is found by whichever page is its own") {
  MadeUpTcmalloc before(13, 2, kData - 8);
  CHECK_FALSE(before.is_found());
  MadeUpTcmalloc at_begin(13, 2, kData);
  CHECK(at_begin.is_found());
  MadeUpTcmalloc made;
  TcmallocFound found;
  const std::uintptr_t elsewhere = made.page(0) + (std::uintptr_t{1} << 40);
  CHECK(made.find(&found, {elsewhere, made.page(0), made.page(8), made.page(16)}));
  CHECK(made.find(&found, {made.page(0), elsewhere, made.page(8), elsewhere + kPage, made.page(16)}));
}

TEST_CASE("from outside: words that lead to no map of tcmalloc's are soon let go, and it is found behind them") {
  constexpr std::size_t kWords = 3072;
  constexpr std::uintptr_t kElsewhere = 0x1238'0000'0000;
  MadeUpTcmalloc made(13, 2, kRoot + kWords * 8);
  const std::uintptr_t entry = kRoot + kWords * 8 + (kHeap >> 31) * 8;
  std::vector<std::uintptr_t> pages;  // of others, whose entries the map does not have
  for (std::uint64_t n = 64; n < 64 + 509; ++n) pages.push_back(made.page(n));
  for (const std::uintptr_t page : made.pages()) pages.push_back(page);
  for (std::size_t i = 0; i < kWords; ++i) made.process.put(entry - (i + 1) * 8, kElsewhere + i * 64);
  std::uintptr_t table = 0;
  REQUIRE(made.process.get(entry, &table));
  made.process.map_whole(table + (kHeap >> 13) % (1 << 18) * 8, 4 * kPage);
  made.process.copies = 0;
  TcmallocFound found{};
  CHECK(find_tcmalloc(made.process, {kData, kData + kDataBytes}, pages, &found));
  CHECK(found.map.root == kRoot + kWords * 8);
  CHECK(made.process.copies < 40 * kWords);
}

namespace {

std::string look_at(const MadeUpTcmalloc& made, const TcmallocFound& known) {
  TcmallocFound found;
  std::string to = "not found; ";
  if (made.find(&found)) {
    std::uint64_t classes = 0, moved = 0;
    for (std::size_t i = 0; i < kMaxSpanClasses; ++i) classes += found.class_bytes[i] * (i + 1);
    for (std::size_t i = 0; i < std::size(found.moved); ++i) moved += static_cast<std::uint64_t>(found.moved[i]) * (i + 1);
    to = "found";
    for (const std::uint64_t n : {found.map.root, std::uint64_t{found.map.page_shift}, std::uint64_t{found.map.levels}, classes,
                                  moved, found.first_cache, found.next_in_cache, found.first_transfer, found.transfer_stride})
      to += " " + std::to_string(n);
    to += "; ";
  }
  std::size_t its = 0;
  for (std::uint64_t n = 0; n < 24; ++n) its += is_tcmallocs(made.process, known, made.page(n));
  CensusSums sums;
  const std::vector<AddressRange> resident = made.process.resident();
  const AddressRange heap[] = {{made.page(0), made.page(24)}};
  return to + std::to_string(its) + " pages are its; " + std::to_string(cached_in(made.process, known)) + " cached; " +
         sums.text(tcmalloc_census(known, sums.request(made.process, heap, resident)));
}

}  // namespace

TEST_CASE("from outside: what becomes of a tcmalloc with one number that is another one") {
  MadeUpTcmalloc made;
  constexpr std::uintptr_t kFirst = kBooks + 0x4000, kSecond = kFirst + 0x3000;
  made.put_transfer();
  made.put_cache(kFirst, 160);
  made.put_cache(kSecond, 80);
  made.link({kFirst, kSecond});
  TcmallocFound known;
  REQUIRE(made.find(&known));
  REQUIRE(known.first_cache == kFirst);
  REQUIRE(known.first_transfer != 0);
  Damage damage(made.process, [&] { return look_at(made, known); });
  damage.range("spans", kBooks, 3 * 48);
  damage.range("sizes", kClassTable, 3 * 4);
  damage.range("last sizes", kClassTable + (kSizeClasses - 2) * 4, 4 * 4);
  damage.range("moved", kMoved, 3 * 4);
  damage.range("last moved", kMoved + 126 * 4, 2 * 4);
  damage.range("first cache", kCacheList, 8);
  damage.range("lists", kFirst + 32, 64);
  damage.range("tail", kFirst + kLists, 56);
  damage.range("second tail", kSecond + kLists, 56);
  damage.range("transfer", kTransfer + kCountsAt, 12);
  damage.range("last transfer", kTransfer + (kSizeClasses - 2) * kStride + kCountsAt, 12);
  expect_golden("damage_tcmalloc.txt", damage.text());
}
