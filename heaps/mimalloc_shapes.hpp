// SPDX-License-Identifier: Apache-2.0
// Where the members of a mimalloc's page structure lie, version by version. Facts from
// include/mimalloc/types.h (mimalloc-types.h in 2.0); of 3.6 from mi_usable_size, which every build shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace mallard::heaps {

inline constexpr std::uintptr_t kMimallocSlice = 64 << 10;  ///< what pages of mimalloc are made of

/// How the structure of a page is found.
enum class MimallocFamily : std::uint8_t {
  kSegments,  ///< 2.x: segments of 32 or 64 MiB begin with an array of structures, one for each slice
  kPageMap,   ///< 3.0 to 3.4: a map of two levels has a pointer for each slice
  kSlots,     ///< 3.6: each multiple of 256 MiB begins with an array of 128 bytes for each slice
};

/// How a structure tells where the first block of its page is.
enum class MimallocStart : std::uint8_t { kNotTold, kAddress, kWordsOn, kBytesOn };

/// Offsets of members in a page structure, in bytes; 0: the structure has no such member.
struct MimallocShape {
  MimallocFamily family;
  std::uint8_t bytes;  ///< of the structure; of 2.x with what pads it in its array
  std::uint8_t free, local_free, used, used_bytes, capacity, reserved, block, block_bytes, thread_free, owner;
  MimallocStart start_is;
  std::uint8_t start, keys, memory;
  std::uint8_t
      kind_of_arena;  ///< the number for "from an arena" in what tells where the page's memory is from
  // A segment of 2.x has so many slices, and so many bytes from the number of entries to the array.
  std::uint16_t segment_slices;
  std::uint8_t entries_before;
};

/// Two words that encode the links of free lists, in builds that are secure or debug, come before whatever
/// else lies at `at`.
constexpr MimallocShape with_keys(MimallocShape s, std::uint8_t at) noexcept {
  for (std::uint8_t* member : {&s.free, &s.local_free, &s.used, &s.capacity, &s.reserved, &s.block,
                               &s.thread_free, &s.owner, &s.start, &s.memory})
    if (*member >= at) *member = static_cast<std::uint8_t>(*member + 16);
  s.bytes = static_cast<std::uint8_t>(s.bytes + 16);
  s.keys = at;
  return s;
}

inline constexpr MimallocShape kMimallocSegments20 = {.family = MimallocFamily::kSegments,
                                                      .bytes = 80,
                                                      .free = 16,
                                                      .local_free = 32,
                                                      .used = 24,
                                                      .used_bytes = 4,
                                                      .capacity = 10,
                                                      .reserved = 12,
                                                      .block = 28,
                                                      .block_bytes = 4,
                                                      .thread_free = 40,
                                                      .owner = 48,
                                                      .start_is = MimallocStart::kNotTold,
                                                      .start = 0,
                                                      .keys = 0,
                                                      .memory = 0,
                                                      .kind_of_arena = 0,
                                                      .segment_slices = 512,
                                                      .entries_before = 16};
inline constexpr MimallocShape kMimallocSegments21 = {.family = MimallocFamily::kSegments,
                                                      .bytes = 96,
                                                      .free = 16,
                                                      .local_free = 24,
                                                      .used = 32,
                                                      .used_bytes = 2,
                                                      .capacity = 10,
                                                      .reserved = 12,
                                                      .block = 40,
                                                      .block_bytes = 8,
                                                      .thread_free = 56,
                                                      .owner = 64,
                                                      .start_is = MimallocStart::kAddress,
                                                      .start = 48,
                                                      .keys = 0,
                                                      .memory = 0,
                                                      .kind_of_arena = 0,
                                                      .segment_slices = 512,
                                                      .entries_before = 16};
inline constexpr MimallocShape kMimallocPageMap30 = {.family = MimallocFamily::kPageMap,
                                                     .bytes = 120,
                                                     .free = 8,
                                                     .local_free = 24,
                                                     .used = 16,
                                                     .used_bytes = 2,
                                                     .capacity = 18,
                                                     .reserved = 20,
                                                     .block = 40,
                                                     .block_bytes = 8,
                                                     .thread_free = 32,
                                                     .owner = 64,
                                                     .start_is = MimallocStart::kAddress,
                                                     .start = 48,
                                                     .keys = 0,
                                                     .memory = 96,
                                                     .kind_of_arena = 7,
                                                     .segment_slices = 0,
                                                     .entries_before = 0};
inline constexpr MimallocShape kMimallocSlots36 = {.family = MimallocFamily::kSlots,
                                                   .bytes = 128,
                                                   .free = 16,
                                                   .local_free = 24,
                                                   .used = 40,
                                                   .used_bytes = 2,
                                                   .capacity = 0,
                                                   .reserved = 58,
                                                   .block = 32,
                                                   .block_bytes = 8,
                                                   .thread_free = 64,
                                                   .owner = 72,
                                                   .start_is = MimallocStart::kBytesOn,
                                                   .start = 48,
                                                   .keys = 0,
                                                   .memory = 104,
                                                   .kind_of_arena = 6,
                                                   .segment_slices = 0,
                                                   .entries_before = 0};

constexpr MimallocShape with_larger_segments(MimallocShape s) noexcept {
  s.segment_slices = 1024;
  s.entries_before = 8;
  return s;
}
constexpr MimallocShape with_owner(MimallocShape s, std::uint8_t at) noexcept {
  s.owner = at;
  return s;
}
constexpr MimallocShape with_words_on(MimallocShape s) noexcept {
  s.start_is = MimallocStart::kWordsOn;
  s.memory = 88;
  s.bytes = 112;
  return s;
}
inline constexpr MimallocShape kMimallocSegments203 = with_larger_segments(kMimallocSegments20);
inline constexpr MimallocShape kMimallocPageMap32 = with_owner(kMimallocPageMap30, 56);
inline constexpr MimallocShape kMimallocPageMap34 = with_words_on(kMimallocPageMap32);

/// All that are known. The blocks that the census allocates must be described by exactly one of them. The
/// second of each pair is what secure and debug builds have.
inline constexpr MimallocShape kMimallocShapes[] = {
    kMimallocSegments203, with_keys(kMimallocSegments203, 24),  // 2.0.3 to 2.0.7
    kMimallocSegments20,  with_keys(kMimallocSegments20, 40),   // 2.0.9 to 2.1.2
    kMimallocSegments21,  with_keys(kMimallocSegments21, 56),   // 2.1.4 to 2.4
    kMimallocPageMap30,   with_keys(kMimallocPageMap30, 64),    // 3.0, 3.1
    kMimallocPageMap32,   with_keys(kMimallocPageMap32, 56),    // 3.2, 3.3
    kMimallocPageMap34,   with_keys(kMimallocPageMap34, 56),    // 3.4
    kMimallocSlots36,                                           // 3.6
};
inline constexpr std::size_t kMimallocShapeCount = sizeof kMimallocShapes / sizeof kMimallocShapes[0];
inline constexpr std::size_t kMostMimallocShapeBytes = 144;

/// What a page structure says, whatever its shape.
struct MimallocStructure {
  std::uintptr_t at;  ///< of the structure itself
  std::uintptr_t free, local_free, thread_free, owner;
  std::uint64_t used, capacity, reserved, block_bytes;
  std::uintptr_t first_block;  ///< 0: the structure does not tell
  std::uint64_t keys[2];       ///< 0: free lists are not encoded
  // Where the memory is from: a mapping with its address and bytes, or an arena with its address, the page's
  // number in it and the page's slices.
  bool of_arena;
  std::uintptr_t source;
  std::uint64_t extent;
  std::uint32_t slice_index, slices;
  bool ownerless;  ///< no thread owns the page
};

/// Reads a structure that has been copied to `from` from the address `at`.
MimallocStructure read_mimalloc_structure(const MimallocShape& shape, const unsigned char* from,
                                          std::uintptr_t at) noexcept;

/// Whether `s` can be the structure of a page that holds the live block at `block`.
/// \param usable  bytes of it that can be used: less than the block in builds that pad blocks
/// \param begin   first byte of the page; `end` is one past the last
bool describes_mimalloc_block(const MimallocStructure& s, std::uintptr_t block, std::uint64_t usable,
                              std::uintptr_t begin, std::uintptr_t end) noexcept;

/// Whether `s` can be the structure of a page in use that has [begin, end).
bool describes_mimalloc_page(const MimallocStructure& s, std::uintptr_t begin, std::uintptr_t end) noexcept;

}  // namespace mallard::heaps
