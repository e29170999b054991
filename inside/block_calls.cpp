// SPDX-License-Identifier: Apache-2.0
#include "inside/block_calls.hpp"

#include <initializer_list>

namespace mallard::inside {
namespace {

constexpr std::uint8_t kNo = BlockCall::kNoArgument;

constexpr BlockCall allocates(std::uint8_t bytes, std::uint8_t count = kNo) noexcept {
  return {BlockAction::kAllocates, kNo, bytes, count};
}
constexpr BlockCall allocates_zeroed(std::uint8_t bytes, std::uint8_t count = kNo) noexcept {
  return {BlockAction::kAllocates, kNo, bytes, count, Unmoved::kStays, Request::kZeroed};
}
constexpr BlockCall allocates_aligned(std::uint8_t bytes, std::uint8_t count = kNo) noexcept {
  return {BlockAction::kAllocates, kNo, bytes, count, Unmoved::kStays, Request::kAligned};
}
constexpr BlockCall moves(std::uint8_t count = kNo, Unmoved unmoved = Unmoved::kStays) noexcept {
  return {BlockAction::kMoves, 0, static_cast<std::uint8_t>(count == kNo ? 1 : 2), count, unmoved};
}
constexpr BlockCall kFreesFirst{BlockAction::kFrees, 0};
constexpr BlockCall kText{BlockAction::kAllocatesText, kNo};

constexpr struct {
  std::string_view target;
  BlockCall call;
} kCalls[] = {
    {"malloc", allocates(0)},
    {"__libc_malloc", allocates(0)},
    {"zalloc", allocates_zeroed(0)},
    {"calloc", allocates_zeroed(1, 0)},
    {"__libc_calloc", allocates_zeroed(1, 0)},
    {"mallocn", allocates(1, 0)},
    {"umalloc", allocates(0)},
    {"uzalloc", allocates_zeroed(0)},
    {"ucalloc", allocates_zeroed(1, 0)},
    {"valloc", allocates_aligned(0)},
    {"pvalloc", allocates_aligned(0)},
    {"__libc_valloc", allocates_aligned(0)},
    {"__libc_pvalloc", allocates_aligned(0)},
    {"memalign", allocates_aligned(1)},
    {"__libc_memalign", allocates_aligned(1)},
    {"aligned_alloc", allocates_aligned(1)},
    {"malloc_aligned", allocates_aligned(0)},
    {"zalloc_aligned", allocates_aligned(0)},
    {"umalloc_aligned", allocates_aligned(0)},
    {"uzalloc_aligned", allocates_aligned(0)},
    {"calloc_aligned", allocates_aligned(1, 0)},
    {"posix_memalign", {BlockAction::kAllocatesTo, 0, 2, kNo, Unmoved::kStays, Request::kAligned}},
    {"mallocx", allocates(0)},
    {"new_n", allocates(1, 0)},
    {"strdup", kText},
    {"strndup", kText},
    {"realpath", kText},
    {"realloc", moves(kNo, Unmoved::kFreedForNothing)},
    {"__libc_realloc", moves(kNo, Unmoved::kFreedForNothing)},
    {"reallocarray", moves(1, Unmoved::kFreedForNothing)},
    {"__libc_reallocarray", moves(1, Unmoved::kFreedForNothing)},
    {"reallocf", moves(kNo, Unmoved::kFreed)},
    {"realloc_never_null", moves()},
    {"reallocn", moves(1)},
    {"rezalloc", moves()},
    {"recalloc", moves(1)},
    {"realloc_aligned", moves()},
    {"rezalloc_aligned", moves()},
    {"recalloc_aligned", moves(1)},
    {"urealloc", moves()},
    {"new_realloc", moves()},
    {"new_reallocn", moves(1)},
    {"rallocx", moves()},
    {"reallocarr", {BlockAction::kMovesAt, 0, 2, 1}},
    {"xallocx", {BlockAction::kResizes, 0, 1}},
    {"free", kFreesFirst},
    {"cfree", kFreesFirst},
    {"ufree", kFreesFirst},
    {"__libc_free", kFreesFirst},
    {"free_sized", kFreesFirst},
    {"free_aligned_sized", kFreesFirst},
};

void move_up(std::uint8_t* argument) noexcept {
  if (*argument != kNo) ++*argument;
}

}  // namespace

BlockCall block_call_of(std::string_view target, bool drops_first) noexcept {
  BlockCall found;
  // The forms of operator new take bytes, then an alignment or a tag; those of operator delete take a block.
  if (target.starts_with("_Zn")) {
    found = target.find("align_val_t") != target.npos ? allocates_aligned(0) : allocates(0);
  } else if (target.starts_with("_Zd")) {
    found = kFreesFirst;
  } else {
    for (const auto& c : kCalls)
      if (c.target == target) found = c.call;
  }
  if (drops_first)
    for (std::uint8_t* argument : {&found.block, &found.bytes, &found.count}) move_up(argument);
  return found;
}

Watcher watcher_for(const BlockCall& call) noexcept {
  switch (call.action) {
    case BlockAction::kAllocates:
      if (call.bytes == 1 && call.count == 0) return Watcher::kProduct;
      if (call.count != kNo) break;
      if (call.bytes == 0) return Watcher::kFirst;
      if (call.bytes == 1) return Watcher::kSecond;
      break;
    case BlockAction::kFrees:
      if (call.block == 0) return Watcher::kFree;
      break;
    case BlockAction::kMoves:
      if (call.block == 0 && call.bytes == 1 && call.count == kNo) return Watcher::kMove;
      break;
    default:
      break;
  }
  return Watcher::kAny;
}

}  // namespace mallard::inside
