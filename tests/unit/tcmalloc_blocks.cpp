// SPDX-License-Identifier: Apache-2.0
// Blocks of a made-up tcmalloc one by one: a span with free ones, and lists of them in a thread's cache and between.
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "heaps/tcmalloc_blocks.hpp"
#include "heaps/tcmalloc_caches.hpp"
#include "unit/catch.hpp"
#include "unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::heaps;

namespace {

constexpr std::uintptr_t kSpan = 0x1'0000'0000, kCache = 0x2'0000'0000, kSlots = 0x3'0000'0000;
constexpr std::uint64_t kEach = 128, kSpanBytes = 8192, kInSpan = kSpanBytes / kEach;

struct Tcmalloc {
  MadeUpProcess process;
  TcmallocFound found{};
  std::map<std::uintptr_t, std::uint64_t> sure, unsure;
  std::set<std::uintptr_t> cached;
  std::vector<Unit> units;

  Tcmalloc() {
    process.map(kSpan, kSpanBytes);
    process.map(kCache, 2 * kPageBytes);
    process.map(kSlots, kPageBytes);
    found.map.page_shift = 13;
    found.class_bytes[1] = kEach;
    found.moved[1] = 3;
    found.first_cache = kCache;
    found.first_transfer = kSlots + kTransferSlots * kSlotBytes;
    found.transfer_stride = 1216;
  }
  static std::uintptr_t block(std::uint64_t i) { return kSpan + i * kEach; }
  /// \return the first one
  std::uintptr_t link(const std::vector<std::uint64_t>& blocks) {
    for (std::size_t i = 0; i < blocks.size(); ++i)
      process.put(block(blocks[i]), i + 1 < blocks.size() ? block(blocks[i + 1]) : std::uintptr_t{0});
    return blocks.empty() ? 0 : block(blocks[0]);
  }
  void run(std::uint64_t handed_out, std::uintptr_t free_list, unsigned size_class = 1) {
    const std::vector<AddressRange> resident = process.resident();
    const CensusRequest request{
        .process = process,
        .heap = {},
        .resident = resident,
        .sampled_blocks = {},
        .budget_bytes = ~std::uint64_t{0},
        .on_unit = [](const Unit& unit, void* self) { static_cast<Tcmalloc*>(self)->units.push_back(unit); },
        .opaque = this,
        .on_block =
            [](std::uintptr_t begin, std::uint64_t bytes, bool is_sure, void* self) {
              auto& all = *static_cast<Tcmalloc*>(self);
              (is_sure ? all.sure : all.unsure)[begin] = bytes;
            },
        .on_cached =
            [](std::uintptr_t begin, void* self) { static_cast<Tcmalloc*>(self)->cached.insert(begin); }};
    TcmallocBlocks blocks(found, request);
    blocks.report_span({kSpan >> 13, 1, handed_out | std::uint64_t{size_class} << 16, free_list});
    blocks.take_out_cached();
  }
};

}  // namespace

TEST_CASE("tcmalloc blocks: those of a span are all but the ones on its list") {
  Tcmalloc t;
  t.run(kInSpan - 3, t.link({5, 0, 63}));
  CHECK(t.unsure.empty());
  CHECK(t.sure.size() == kInSpan - 3);
  CHECK(t.sure.at(Tcmalloc::block(1)) == kEach);
  for (const std::uint64_t free : {5, 0, 63}) CHECK(t.sure.count(Tcmalloc::block(free)) == 0);
  Tcmalloc full;
  full.run(kInSpan, 0);
  CHECK(full.sure.size() == kInSpan);
  Tcmalloc large;
  large.run(1, 0, 0);
  CHECK(large.sure == std::map<std::uintptr_t, std::uint64_t>{{kSpan, kSpanBytes}});
}

TEST_CASE("tcmalloc blocks: a span whose list is not what the span says is one that is not sure") {
  const auto is_unsure = [](auto prepare) {
    Tcmalloc t;
    std::uint64_t handed_out = kInSpan - 3;
    std::uintptr_t list = t.link({5, 0, 63});
    prepare(t, handed_out, list);
    t.run(handed_out, list);
    return t.sure.empty() && t.unsure == std::map<std::uintptr_t, std::uint64_t>{{kSpan, kSpanBytes}};
  };
  CHECK_FALSE(is_unsure([](Tcmalloc&, std::uint64_t&, std::uintptr_t&) {}));
  CHECK(is_unsure([](Tcmalloc&, std::uint64_t& handed_out, std::uintptr_t&) { ++handed_out; }));
  CHECK(is_unsure([](Tcmalloc&, std::uint64_t& handed_out, std::uintptr_t&) { --handed_out; }));
  CHECK(is_unsure([](Tcmalloc&, std::uint64_t&, std::uintptr_t& list) { list += 8; }));
  CHECK(is_unsure([](Tcmalloc& t, std::uint64_t&, std::uintptr_t&) { t.process.put(Tcmalloc::block(0), Tcmalloc::block(5)); }));
  CHECK(is_unsure([](Tcmalloc& t, std::uint64_t&, std::uintptr_t&) { t.process.put(Tcmalloc::block(0), kSpan + kSpanBytes); }));
  CHECK(is_unsure([](Tcmalloc& t, std::uint64_t&, std::uintptr_t&) { t.process.swap_out(kSpan + kPageBytes); }));
  CHECK(is_unsure([](Tcmalloc& t, std::uint64_t&, std::uintptr_t&) { t.found.first_cache = 0; }));
  CHECK(is_unsure([](Tcmalloc& t, std::uint64_t&, std::uintptr_t&) { t.found.first_transfer = 0; }));
}

TEST_CASE("tcmalloc blocks: what is in caches is taken out") {
  Tcmalloc t;
  t.process.put(kCache + kListBytes, t.link({10, 11}));
  t.process.put(kCache + kListBytes + kLengthInList, std::uint32_t{2});
  t.found.next_in_cache = kCacheTail + 16;
  t.process.put(kCache + t.found.next_in_cache, std::uintptr_t{0});
  t.process.put(kSlots, t.link({20, 21, 22}));
  t.process.put(kSlots + kSlotBytes, t.link({30, 31, 32}));
  t.process.put(t.found.first_transfer, std::int32_t{1});  // the second slot is old
  t.run(kInSpan, 0);
  CHECK(t.sure.size() == kInSpan);
  std::set<std::uintptr_t> expected;
  for (const std::uint64_t i : {10, 11, 20, 21, 22}) expected.insert(Tcmalloc::block(i));
  CHECK(t.cached == expected);
  CHECK(t.units.empty());
}

TEST_CASE("tcmalloc blocks: a cached list that cannot be followed is no reason to call blocks lost") {
  Tcmalloc t;
  t.process.put(kCache + kListBytes, t.link({10, 11, 12}));
  t.process.put(kCache + kListBytes + kLengthInList, std::uint32_t{2});
  t.run(kInSpan, 0);
  CHECK(t.cached.empty());
  REQUIRE(t.units.size() == 1);
  CHECK((t.units[0].kind == UnitKind::kNotExamined && t.units[0].begin == kCache + kListBytes &&
         t.units[0].end == kCache + kListBytes + 8));
}
