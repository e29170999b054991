// SPDX-License-Identifier: Apache-2.0
// What a call of an entry point does with blocks, and which of its arguments say how large they are: all that
// whoever watches the call has to know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mallard::inside {

enum class BlockAction : std::uint8_t {
  kNone,           ///< hands out no block and takes none back: nobody has to watch it
  kAllocates,      ///< returns a block
  kAllocatesText,  ///< returns a block with a string in it, which says how large it is
  kAllocatesTo,    ///< writes a block to where the argument `block` points, unless it returns an error
  kFrees,          ///< takes `block` back
  kMoves,          ///< returns another block for `block`
  kMovesAt,        ///< the same for the block that the argument points to, unless it returns an error
  kResizes,        ///< makes `block` another size where it is, and returns that size
};

/// What becomes of a block that could not be moved.
enum class Unmoved : std::uint8_t {
  kStays,
  kFreedForNothing,  ///< stays, unless 0 bytes were asked for
  kFreed,
};

/// As times are told apart.
enum class Request : std::uint8_t { kPlain, kZeroed, kAligned };

struct BlockCall {
  static constexpr std::uint8_t kNoArgument = 0xff;

  BlockAction action = BlockAction::kNone;
  std::uint8_t block = kNoArgument;  ///< number of the argument
  std::uint8_t bytes = kNoArgument;
  std::uint8_t count = kNoArgument;  ///< multiplies `bytes`
  Unmoved unmoved = Unmoved::kStays;
  Request request = Request::kPlain;
};

/// \param target       as in inside/entry_points.hpp
/// \param drops_first  a heap stands before the arguments
BlockCall block_call_of(std::string_view target, bool drops_first) noexcept;

/// The code that watches a call (watched_calls.S of the architecture): what is most frequent has one of its own.
enum class Watcher : std::uint8_t {
  kAny,
  kFirst,    ///< allocates as many bytes as the first argument says
  kSecond,   ///< as the second one says
  kProduct,  ///< as the first two multiplied
  kFree,     ///< frees the first argument
  kMove,     ///< moves the first argument to as many bytes as the second one says
};
inline constexpr std::size_t kWatchers = 6;
Watcher watcher_for(const BlockCall& call) noexcept;
/// Where each is.
struct Watchers {
  void (*code[kWatchers])();
};

}  // namespace mallard::inside
