// SPDX-License-Identifier: Apache-2.0
// A made-up heap of glibc that has one of each: blocks in thread caches and fastbins, free chunks, blocks of several
// pages, a heap of another arena, a block with a mapping of its own; and what its census tells where one number of it is
// another one.
#include <initializer_list>
#include <string>
#include <vector>

#include "heaps/glibc.hpp"
#include "unit/catch.hpp"
#include "unit/damage.hpp"
#include "unit/golden.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constexpr std::uint64_t kPage = kPageBytes, kKey = 0x8123'4567'89ab'cdef;
constexpr std::uintptr_t kMain = 0x1234'0000'0000, kArena = 0x1235'0000'0000, kMapped = 0x1236'0000'0000;
constexpr std::size_t kMainBytes = 80 * kPage, kArenaBytes = 8 * kPage;

class MadeUpHeap {
 public:
  explicit MadeUpHeap(int minor) : minor_(minor) {
    process.map(kMain, kMainBytes);
    process.map(kArena, kArenaBytes);
    process.map(kMapped, 4 * kPage);
    fill_main();
    fill_arena();
    put(kMapped, 0, (3 * kPage - (minor >= 43 ? 16 : 0)) | 2);
    process.put(kMapped + 3 * kPage, std::uint64_t{0x123});
  }

  struct Place {
    const char* name;
    std::uintptr_t at;
    std::size_t bytes;
  };
  std::vector<Place> places;  ///< what a test may change
  std::vector<std::uintptr_t> sampled;
  MadeUpProcess process;

  std::string look() {
    std::string to;
    const std::vector<AddressRange> resident = process.resident();
    const AddressRange heap[] = {{kMain, kMain + kMainBytes}, {kArena, kArena + kArenaBytes}, {kMapped, kMapped + 4 * kPage}};
    for (const int way : {0, 1, 2}) {
      CensusSums sums;
      CensusRequest request = sums.request(process, heap, resident);
      Books books;
      const ExactBlocks exact{Books::look_up, Books::on_live, Books::on_disputed};
      if (way == 1) request.sampled_blocks = sampled, request.budget_bytes = kMainBytes / 2;
      if (way == 2) request.exact = &exact, request.opaque = &books, request.on_block = nullptr, request.on_unit = Books::on_unit;
      set_glibc_version(("2." + std::to_string(minor_)).c_str());
      const CensusResult result = census_glibc(request);
      to += way == 1 ? "| half of it: " : way == 2 ? "| with books: " : "";
      to += sums.text(result);
      if (way == 2) to += std::to_string(books.live) + " live, " + std::to_string(books.disputed) + " disputed, " + std::to_string(books.in_units) + " in units";
    }
    return to;
  }

 private:
  /// Each third block is free by the books, each other third live.
  struct Books {
    std::uint64_t live = 0, disputed = 0, in_units = 0;
    static Booked look_up(std::uintptr_t block, void*) {
      return block / 16 % 3 == 0 ? Booked::kFree : block / 16 % 3 == 1 ? Booked::kLive : Booked::kUnknown;
    }
    static void on_live(std::uintptr_t, std::uint64_t bytes, void* to) { static_cast<Books*>(to)->live += bytes; }
    static void on_disputed(std::uint64_t bytes, void* to) { static_cast<Books*>(to)->disputed += bytes; }
    static void on_unit(const Unit& u, void* to) { static_cast<Books*>(to)->in_units += u.live_bytes; }
  };

  void put(std::uintptr_t at, std::uint64_t before, std::uint64_t head) {
    process.put(at, before);
    process.put(at + 8, head);
  }
  /// \return the chunk
  std::uintptr_t chunk(std::uint64_t size, std::uint64_t flags = 0) {
    const std::uintptr_t at = at_;
    put(at, before_, size | flags | (before_ ? 0 : 1));
    for (std::uintptr_t word = at + 16; word < at + 32; word += 8) process.put(word, std::uint64_t{0x2121'2121'2121'2121});
    before_ = 0;
    at_ += size;
    return at;
  }
  std::uintptr_t free_chunk(std::uint64_t size) {
    const std::uintptr_t at = chunk(size);
    before_ = size;
    return at;
  }
  void name(const char* what, std::uintptr_t at, std::size_t bytes) { places.push_back({what, at, bytes}); }

  std::uint64_t link(std::uintptr_t block, std::uintptr_t next) const { return minor_ >= 32 ? block >> 12 ^ next : next; }
  std::uint64_t key(std::uintptr_t cache) const { return minor_ >= 34 ? kKey : cache + 16; }

  /// A thread cache, and two blocks on its list for each of these sizes of chunks.
  void cached(std::uintptr_t cache, std::initializer_list<std::uint64_t> sizes) {
    process.write(cache + 16, std::vector<unsigned char>(bins() * 10).data(), bins() * 10);
    for (std::uintptr_t bin = 0; bin < bins() && bins() != 64; ++bin) process.put(cache + 16 + 2 * bin, std::uint16_t{7});
    for (const std::uint64_t size : sizes) {
      const std::uint64_t bin = size / 16 - 2;
      const std::uintptr_t first = chunk(size) + 16, second = chunk(size) + 16;
      process.put(first, link(first, second));
      process.put(second, link(second, 0));
      for (const std::uintptr_t block : {first, second}) process.put(block + 8, key(cache));
      process.put(cache + 16 + 2 * bin, bins() == 64 ? std::uint16_t{2} : std::uint16_t{5});
      process.put(cache + 16 + 2 * bins() + 8 * bin, first);
      if (size == 32) name("cached", first - 16, 64);
    }
  }
  void fast(std::uint64_t size) {
    if (minor_ >= 43) return void(chunk(size) + chunk(size));
    const std::uintptr_t first = chunk(size) + 16, second = chunk(size) + 16;
    process.put(first, link(first, second));
    process.put(second, link(second, 0));
    name("fast", first - 16, 32 + size);
  }

  void fill_main() {
    at_ = kMain;
    const std::uintptr_t cache = chunk(cache_chunk());
    name("thread cache", cache, 24);
    name("entries", cache + 16 + 2 * bins(), 16);
    cached(cache, {32, 1040});
    sampled.push_back(chunk(64) + 16);
    fast(48);
    name("live", chunk(80), 32);
    name("free", free_chunk(256), 32);
    name("after free", chunk(32), 16);
    sampled.push_back(chunk(3 * kPage) + 16);
    name("large free", free_chunk(33 * kPage + 64), 16);
    chunk(48);
    cached(chunk(cache_chunk()), {1024, 512});
    for (int i = 0; i < 40; ++i) chunk(496);
    sampled.push_back(chunk(2 * kPage - 32) + 16);
    name("top", at_, 16);
    chunk(kMain + kMainBytes - at_);
  }
  void fill_arena() {
    const std::uint64_t info_bytes = minor_ >= 35 ? 48 : 32;
    const std::uint64_t info[] = {kArena + info_bytes, 0, kArenaBytes, kArenaBytes};
    process.put(kArena, info);
    name("heap", kArena, 32);
    at_ = kArena + align_up(info_bytes + (minor_ >= 43 ? 2112 : 2200), 16);
    before_ = 0;
    const std::uintptr_t cache = chunk(cache_chunk(), 4);
    cached(cache, {32});
    fast(32);
    name("in arena", chunk(4000, 4), 16);
    chunk(64, 4);
    const std::uint64_t top_at = minor_ >= 43 ? 8 : 96, threads_at = minor_ >= 43 ? 2088 : 2176;
    process.put(kArena + info_bytes + top_at, at_);
    process.put(kArena + info_bytes + threads_at, std::uint64_t{1});
    name("top of arena", kArena + info_bytes + top_at, 8);
    name("threads of arena", kArena + info_bytes + threads_at, 8);
    name("arena's top", at_, 16);
    chunk(kArena + kArenaBytes - at_, 4);
  }

  std::uint64_t bins() const { return minor_ >= 42 ? 76 : 64; }
  std::uint64_t cache_chunk() const { return minor_ >= 42 ? 768 : 656; }

  int minor_;
  std::uintptr_t at_ = 0;
  std::uint64_t before_ = 0;  ///< size of the chunk before, if it is free
};

}  // namespace

TEST_CASE("census: what becomes of glibc's heap with one number that is another one") {
  // Plain links; mangled ones; a key that is random; larger thread caches; no fastbins.
  for (const int minor : {31, 33, 36, 42, 43}) {
    MadeUpHeap made(minor);
    Damage damage(made.process, [&] { return made.look(); });
    for (const MadeUpHeap::Place& place : made.places) damage.range(place.name, place.at, place.bytes);
    damage.range("mapped", kMapped, 16);
    expect_golden(("damage_glibc_2." + std::to_string(minor) + ".txt").c_str(), damage.text());
  }
}
