// SPDX-License-Identifier: Apache-2.0
// Damaged call frame information: it may lead to a wrong rule or to none, never to a read outside of the
// memory that was named. Meant for AddressSanitizer, which sees such reads: all that lies outside is
// poisoned.
#include <link.h>
#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "unwind/cfi.hpp"
#include "unwind/unwind_table.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard::unwind;

namespace {

template <typename T>
T read(const unsigned char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// A copy of this program's .eh_frame_hdr and .eh_frame. All in them is relative, so code moves along.
class Copy {
 public:
  Copy() {
    const unsigned char* table = nullptr;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* out) {
          for (int i = 0; i < info->dlpi_phnum; ++i)
            if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
              *static_cast<std::uintptr_t*>(out) = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
          return 1;  // the program itself comes first
        },
        &table);
    REQUIRE(table);
    count = read<std::uint32_t>(table + 8);
    const unsigned char* end = table + 4 + read<std::int32_t>(table + 4);
    while (const auto entry = read<std::uint32_t>(end)) end += 4 + entry;
    REQUIRE(end > table + 12 + 8 * std::size_t{count});
    size = static_cast<std::size_t>(end - table);
    bytes = std::make_unique<unsigned char[]>(size);
    std::memcpy(bytes.get(), table, size);
  }

  std::uintptr_t table() const { return reinterpret_cast<std::uintptr_t>(bytes.get()); }
  std::uintptr_t code_of(std::uint32_t i) const {
    return table() + static_cast<std::uintptr_t>(std::intptr_t{read<std::int32_t>(&bytes[12 + 8 * i])});
  }
  std::size_t fde_of(std::uint32_t i) const {
    return static_cast<std::size_t>(read<std::int32_t>(&bytes[16 + 8 * i]));
  }

  std::size_t size;
  std::uint32_t count;
  std::unique_ptr<unsigned char[]> bytes;
};

/// The copy with everything outside of [begin, end) out of reach.
class Cut {
 public:
  Cut(const Copy& copy, std::size_t begin, std::size_t end) : copy_(copy) {
    memory = {copy.table() + begin, copy.table() + end};
    __asan_poison_memory_region(copy.bytes.get(), begin);
    __asan_poison_memory_region(copy.bytes.get() + end, copy.size - end);
  }
  ~Cut() { __asan_unpoison_memory_region(copy_.bytes.get(), copy_.size); }
  Cut(const Cut&) = delete;
  Cut& operator=(const Cut&) = delete;

  Segment memory;

 private:
  const Copy& copy_;
};

/// All answers about the undamaged copy in one number.
std::uint64_t digest(const Copy& copy, std::size_t* known) {
  std::uint64_t sum = 0;
  *known = 0;
  for (std::uint32_t i = 0; i < copy.count; ++i)
    for (std::uintptr_t by = 0; by < 64; by += 3) {
      Rule rule;
      *known +=
          rule_from_cfi(copy.code_of(i) + by, copy.table(), {copy.table(), copy.table() + copy.size}, &rule);
      sum = sum * 0x9e3779b97f4a7c15u + PackedRule(rule, 0).bits();
    }
  return sum;
}

}  // namespace

TEST_CASE("cfi: damaged unwind information is never read outside of its bounds") {
  Copy copy;
  std::size_t known_before, known_after;
  const std::uint64_t before = digest(copy, &known_before);
  CHECK(known_before > copy.count * 20);

  std::mt19937_64 random(7);
  const auto below = [&random](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  constexpr unsigned char kEdges[] = {0, 1, 0x7f, 0x80, 0xff, 0x0f, 0x10, 0x16, 0x0a, 0x0b};
  constexpr int kRounds = 100'000;
  std::size_t asked = 0, known = 0, changed = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto function = static_cast<std::uint32_t>(below(copy.count));
    const std::uintptr_t code = copy.code_of(function);
    const std::size_t fde = copy.fde_of(function), cie = fde + 4 - read<std::uint32_t>(&copy.bytes[fde + 4]);
    Rule sound[4];
    const Segment whole{copy.table(), copy.table() + copy.size};
    for (std::uintptr_t i = 0; i < 4; ++i) rule_from_cfi(code + 7 * i, copy.table(), whole, &sound[i]);

    // Bytes of the header, the function's row, its FDE, its CIE, or anywhere.
    const std::size_t places[] = {0, 12 + 8 * std::size_t{function}, fde, cie, below(copy.size)};
    const std::size_t lengths[] = {12, 8, 40, 24, 16};
    const std::size_t where = below(5);
    std::vector<std::pair<std::size_t, unsigned char>> undo;
    for (std::size_t n = below(4) + (round % 4 != 0); n > 0; --n) {
      const std::size_t at = std::min(places[where] + below(lengths[where]), copy.size - 1);
      undo.emplace_back(at, copy.bytes[at]);
      copy.bytes[at] = below(2) ? kEdges[below(sizeof kEdges)] : static_cast<unsigned char>(random());
    }
    // Memory that ends early: near what is read next, or anywhere.
    std::size_t end = copy.size;
    if (round % 3 == 0) end = below(2) ? std::min(places[where] + below(48), copy.size) : below(copy.size);
    const std::size_t begin = round % 16 == 0 ? below(std::min<std::size_t>(end, 4096) + 1) : 0;
    {
      const Cut cut(copy, begin, end);
      for (std::uintptr_t i = 0; i < 4; ++i) {
        Rule rule;
        ++asked;
        known += rule_from_cfi(code + 7 * i, copy.table(), cut.memory, &rule);
        changed += PackedRule(rule, 0).bits() != PackedRule(sound[i], 0).bits();
      }
    }
    for (; !undo.empty(); undo.pop_back()) copy.bytes[undo.back().first] = undo.back().second;
  }
  std::printf("%d times damaged: %zu of %zu addresses known, %zu answers changed\n", kRounds, known, asked,
              changed);
  CHECK(known > asked / 10);
  CHECK(asked - known > asked / 10);
  CHECK(changed > asked / 10);
  CHECK(digest(copy, &known_after) == before);
  CHECK(known_after == known_before);
}
