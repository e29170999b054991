// SPDX-License-Identifier: Apache-2.0
// Structures of mimalloc's pages, read by each shape that is known, and what of them can be true.
#include "heaps/mimalloc_shapes.hpp"

#include <cstdint>
#include <cstring>

#include "unit/catch.hpp"

using namespace mallard::heaps;

namespace {

constexpr std::uintptr_t kAt = 0x7123'0000'0400;

/// A structure's bytes, in which all that no member lies in is set.
struct Bytes {
  unsigned char bytes[kMostMimallocShapeBytes];
  Bytes() { std::memset(bytes, 0xee, sizeof bytes); }
  Bytes& put(std::size_t at, std::uint64_t value, std::size_t count) {
    std::memcpy(bytes + at, &value, count);
    return *this;
  }
};

Bytes filled(const MimallocShape& shape) {
  Bytes b;
  b.put(shape.free, 0x7123'0001'0010, 8).put(shape.local_free, 0x7123'0001'0020, 8);
  b.put(shape.thread_free, 0x7123'0001'0033, 8).put(shape.owner, 0x7123'0002'0040, 8);
  b.put(shape.used, 5, shape.used_bytes).put(shape.reserved, 0x1234, 2).put(shape.block, 48, shape.block_bytes);
  if (shape.capacity) b.put(shape.capacity, 0x321, 2);
  if (shape.start_is == MimallocStart::kAddress) b.put(shape.start, 0x7123'0001'0000, 8);
  if (shape.start_is == MimallocStart::kWordsOn) b.put(shape.start, 0x1000, 4);
  if (shape.start_is == MimallocStart::kBytesOn) b.put(shape.start, 0x9000, 8);
  if (shape.keys) b.put(shape.keys, 0x1111'2222'3333'4444, 8).put(std::size_t{shape.keys} + 8, 0x5555'6666'7777'8888, 8);
  if (shape.memory)
    b.put(shape.memory, 0x7100'0000'0000, 8)
        .put(std::size_t{shape.memory} + 8, 0x0000'0007'0000'0009, 8)
        .put(std::size_t{shape.memory} + 16, shape.kind_of_arena, 1);
  return b;
}

MimallocStructure read(const MimallocShape& shape, const Bytes& b) { return read_mimalloc_structure(shape, b.bytes, kAt); }

}  // namespace

TEST_CASE("mimalloc's shapes: each member is read where it lies") {
  for (const MimallocShape& shape : kMimallocShapes) {
    INFO("shape " << &shape - kMimallocShapes);
    const MimallocStructure s = read(shape, filled(shape));
    CHECK(s.at == kAt);
    CHECK(s.free == 0x7123'0001'0010);
    CHECK(s.local_free == 0x7123'0001'0020);
    CHECK(s.thread_free == 0x7123'0001'0033);
    CHECK(s.owner == 0x7123'0002'0040);
    CHECK(s.used == 5);
    CHECK(s.reserved == 0x1234);
    CHECK(s.capacity == (shape.capacity ? 0x321 : 0x1234));
    CHECK(s.block_bytes == 48);
    switch (shape.start_is) {
      case MimallocStart::kNotTold:
        CHECK(s.first_block == 0);
        break;
      case MimallocStart::kAddress:
        CHECK(s.first_block == 0x7123'0001'0000);
        break;
      case MimallocStart::kWordsOn:
        CHECK(s.first_block == kAt + 0x8000);
        break;
      case MimallocStart::kBytesOn:
        CHECK(s.first_block == kAt + 0x9000);
        break;
    }
    CHECK(s.keys[0] == (shape.keys ? 0x1111'2222'3333'4444 : 0));
    CHECK(s.keys[1] == (shape.keys ? 0x5555'6666'7777'8888 : 0));
    CHECK(s.of_arena == (shape.memory != 0));
    CHECK(s.source == (shape.memory ? 0x7100'0000'0000 : 0));
    CHECK(s.extent == (shape.memory ? 0x0000'0007'0000'0009 : 0));
    CHECK(s.slice_index == (shape.memory ? 9 : 0));
    CHECK(s.slices == (shape.memory ? 7 : 0));
    CHECK_FALSE(s.ownerless);
  }
}

TEST_CASE("mimalloc's shapes: which pages no thread owns") {
  for (const MimallocShape& shape : kMimallocShapes) {
    INFO("shape " << &shape - kMimallocShapes);
    const std::size_t at = shape.family == MimallocFamily::kSegments  ? shape.owner
                           : shape.family == MimallocFamily::kPageMap ? 0
                                                                      : 8;
    CHECK(read(shape, filled(shape).put(at, 0, 8)).ownerless);
    CHECK_FALSE(read(shape, filled(shape).put(at, 8, 8)).ownerless);
    // Flags say nothing of a thread; where the owner is a heap there are none.
    CHECK(read(shape, filled(shape).put(at, 7, 8)).ownerless == (shape.family != MimallocFamily::kSegments));
    if (shape.family != MimallocFamily::kSegments) CHECK_FALSE(read(shape, filled(shape).put(shape.owner, 0, 8)).ownerless);
  }
}

TEST_CASE("mimalloc's shapes: memory of another kind is not an arena's") {
  for (const MimallocShape& shape : kMimallocShapes) {
    if (!shape.memory) continue;
    const std::size_t at = std::size_t{shape.memory} + 16;
    CHECK_FALSE(read(shape, filled(shape).put(at, shape.kind_of_arena - 1u, 1)).of_arena);
    CHECK_FALSE(read(shape, filled(shape).put(at, shape.kind_of_arena + 1u, 1)).of_arena);
  }
}

namespace {

constexpr std::uintptr_t kBegin = 0x7123'0001'0000, kEnd = kBegin + kMimallocSlice, kFirst = kBegin + 64;

/// A page of 100 blocks of 48 bytes, of which 80 have been made and 7 are in use.
MimallocStructure page() {
  MimallocStructure s{};
  s.free = kFirst + 48;
  s.local_free = kFirst + 96;
  s.used = 7;
  s.capacity = 80;
  s.reserved = 100;
  s.block_bytes = 48;
  s.first_block = kFirst;
  return s;
}

template <class Change>
bool is_page(Change change, std::uintptr_t begin = kBegin, std::uintptr_t end = kEnd) {
  MimallocStructure s = page();
  change(s);
  return describes_mimalloc_page(s, begin, end);
}

template <class Change>
bool is_block(Change change, std::uintptr_t block = kFirst + 48 * 3, std::uint64_t usable = 48) {
  MimallocStructure s = page();
  change(s);
  return describes_mimalloc_block(s, block, usable, kBegin, kEnd);
}

void nothing(MimallocStructure&) {}

}  // namespace

TEST_CASE("mimalloc's shapes: a page's counts fit each other and the page") {
  CHECK(is_page(nothing));
  CHECK(is_page([](MimallocStructure& s) { s.used = 0; }));
  CHECK(is_page([](MimallocStructure& s) { s.used = 80; }));
  CHECK_FALSE(is_page([](MimallocStructure& s) { s.used = 81; }));
  CHECK(is_page([](MimallocStructure& s) { s.capacity = 100; }));
  CHECK_FALSE(is_page([](MimallocStructure& s) { s.capacity = 101; }));
  CHECK_FALSE(is_page([](MimallocStructure& s) { s.used = s.capacity = s.reserved = 0; }));
  CHECK(is_page([](MimallocStructure& s) { s.block_bytes = 8; }));
  CHECK_FALSE(is_page([](MimallocStructure& s) { s.block_bytes = 7; }));
  CHECK_FALSE(is_page([](MimallocStructure& s) { s.block_bytes = 0; }));
  CHECK_FALSE(is_page(nothing, kBegin, kBegin));
  CHECK_FALSE(is_page(nothing, kEnd, kBegin));
  // Blocks that fill the page, and one more.
  CHECK(is_page([](MimallocStructure& s) { s.reserved = kMimallocSlice / 48, s.first_block = 0; }));
  CHECK_FALSE(is_page([](MimallocStructure& s) { s.reserved = kMimallocSlice / 48 + 1, s.first_block = 0; }));
}

TEST_CASE("mimalloc's shapes: a page's lists and blocks lie in it") {
  for (const auto member : {&MimallocStructure::free, &MimallocStructure::local_free}) {
    const auto with = [member](std::uintptr_t head) { return is_page([=](MimallocStructure& s) { s.*member = head; }); };
    CHECK(with(0));
    CHECK(with(kBegin));
    CHECK(with(kEnd - 8));
    CHECK_FALSE(with(kBegin - 8));
    CHECK_FALSE(with(kEnd));
    CHECK_FALSE(with(kBegin + 4));
  }
  const auto from = [](std::uintptr_t first) { return is_page([=](MimallocStructure& s) { s.first_block = first; }); };
  CHECK(from(0));
  CHECK(from(kBegin));
  CHECK_FALSE(from(kBegin - 48));
  CHECK(from(kEnd - 100 * 48));
  CHECK_FALSE(from(kEnd - 100 * 48 + 1));
}

TEST_CASE("mimalloc's shapes: a block is one of its page's") {
  CHECK(is_block(nothing));
  CHECK(is_block(nothing, kFirst));
  CHECK(is_block(nothing, kFirst + 48 * 79));
  CHECK_FALSE(is_block(nothing, kFirst + 48 * 80));
  CHECK_FALSE(is_block(nothing, kFirst - 48));
  CHECK_FALSE(is_block(nothing, kFirst + 48 * 3 + 16));
  CHECK_FALSE(is_block([](MimallocStructure& s) { s.used = 0; }));
  CHECK(is_block([](MimallocStructure& s) { s.used = 1; }));
  CHECK_FALSE(is_block([](MimallocStructure& s) { s.free = kEnd; }));
  // Where the page does not tell where its blocks begin, any address will do.
  CHECK(is_block([](MimallocStructure& s) { s.first_block = 0; }, kFirst + 48 * 3 + 16));
  // What can be used of it is less by an eighth and some padding at most.
  CHECK_FALSE(is_block(nothing, kFirst, 49));
  const auto with = [](std::uint64_t usable, std::uint64_t bytes) {
    return is_block(
        [=](MimallocStructure& s) {
          s.block_bytes = bytes;
          s.reserved = s.capacity = 8;
          s.free = s.local_free = 0;
        },
        kFirst, usable);
  };
  CHECK(with(4000, 4000 + 1000 + 64));
  CHECK_FALSE(with(4000, 4000 + 1000 + 65));
  CHECK(with(8, 8 + 2 + 64));
  CHECK_FALSE(with(8, 8 + 2 + 65));
}
