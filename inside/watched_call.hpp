// SPDX-License-Identifier: Apache-2.0
// A call of an allocator that is observed, once it has left the watcher's assembly (watched_calls.S): what comes off
// the books and onto them, around the very function that the program called. Its answers, its odd cases and its
// exceptions stay its own. Who keeps the books is a parameter.
#pragma once

#include <string.h>

#include <cstddef>
#include <cstdint>

#include "arch/caller.hpp"
#include "inside/observed.hpp"

namespace mallard::inside {

/// An argument or a result, whatever it is.
using Word = std::uintptr_t;

struct WatchedCall {
  static constexpr std::size_t kArguments = 5;

  Word arguments[kArguments];
  const Observed& observed;
  arch::Caller caller;
  bool is_drawn;  ///< counted already, and may be a sample

  static void* block_in(Word word) noexcept { return reinterpret_cast<void*>(word); }
  Word argument(std::uint8_t number) const noexcept { return arguments[number]; }
  /// The argument that is the block, or points to it.
  void* block() const noexcept { return block_in(argument(observed.call.block)); }
  /// All bits set if there are more than fit.
  std::size_t bytes() const noexcept {
    const BlockCall& call = observed.call;
    std::size_t bytes = argument(call.bytes);
    if (call.count != BlockCall::kNoArgument && __builtin_mul_overflow(bytes, argument(call.count), &bytes))
      return ~std::size_t{0};
    return bytes;
  }
  /// Not noexcept, like all that calls it: operator new throws, through these frames.
  Word go_on() const {
    return reinterpret_cast<Word (*)(Word, Word, Word, Word, Word)>(const_cast<void*>(observed.original))(
        arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]);
  }
};

/// \tparam Books  static functions: is_sample(call, bytes), enter(call, p, bytes, sampled), leave(p), unbook(p) and
/// book_again(p, what that returned); answer(call, bytes) and answer_free(call) go on, and time the call where it is due
template <class Books>
class WatchedWith {
 public:
  static Word run(const WatchedCall& call) {
    switch (call.observed.call.action) {
      case BlockAction::kAllocates:
        return allocate(call);
      case BlockAction::kAllocatesText:
        return allocate_text(call);
      case BlockAction::kAllocatesTo:
        return allocate_to(call);
      case BlockAction::kFrees:
        return release(call);
      case BlockAction::kMoves:
        return move(call);
      case BlockAction::kMovesAt:
        return move_at(call);
      case BlockAction::kResizes:
        return resize(call);
      case BlockAction::kNone:
        break;
    }
    return call.go_on();
  }

 private:
  static void enter(const WatchedCall& call, void* p, std::size_t bytes, bool sampled) noexcept {
    if (p) Books::enter(call, p, bytes, sampled);
  }

  static Word allocate(const WatchedCall& call) {
    const std::size_t bytes = call.bytes();
    const bool sampled = Books::is_sample(call, bytes);
    const Word result = Books::answer(call, bytes);
    enter(call, WatchedCall::block_in(result), bytes, sampled);
    return result;
  }

  /// The function may write into memory of the caller's instead.
  static Word allocate_text(const WatchedCall& call) {
    const std::uint8_t buffer = call.observed.call.block;
    const bool has_buffer = buffer != BlockCall::kNoArgument && call.argument(buffer) != 0;
    const Word result = call.go_on();
    if (has_buffer || result == 0) return result;
    void* const text = WatchedCall::block_in(result);
    const std::size_t bytes = strlen(static_cast<const char*>(text)) + 1;
    enter(call, text, bytes, Books::is_sample(call, bytes));
    return result;
  }

  static Word allocate_to(const WatchedCall& call) {
    const std::size_t bytes = call.bytes();
    const bool sampled = Books::is_sample(call, bytes);
    const Word error = Books::answer(call, bytes);
    if (static_cast<int>(error) == 0) enter(call, *static_cast<void**>(call.block()), bytes, sampled);
    return error;
  }

  static Word release(const WatchedCall& call) {
    if (void* const p = call.block()) Books::leave(p);
    return Books::answer_free(call);
  }

  static Word move(const WatchedCall& call) {
    const std::size_t bytes = call.bytes();
    void* const p = call.block();
    const bool sampled = Books::is_sample(call, bytes);
    const auto before = Books::unbook(p);
    const Word moved = Books::answer(call, bytes);
    const Unmoved unmoved = call.observed.call.unmoved;
    const bool stays = unmoved == Unmoved::kStays || (unmoved == Unmoved::kFreedForNothing && bytes != 0);
    if (moved == 0 && stays) Books::book_again(p, before);
    enter(call, WatchedCall::block_in(moved), bytes, sampled);
    return moved;
  }

  static Word move_at(const WatchedCall& call) {
    const std::size_t bytes = call.bytes();
    void** const at = static_cast<void**>(call.block());
    void* const p = *at;
    const bool sampled = Books::is_sample(call, bytes);
    const auto before = Books::unbook(p);
    const Word error = Books::answer(call, bytes);
    if (static_cast<int>(error) != 0) Books::book_again(p, before);
    else enter(call, *at, bytes, sampled);
    return error;
  }

  /// Never moves a block.
  static Word resize(const WatchedCall& call) {
    void* const p = call.block();
    UsableSize* const usable_size = call.observed.usable_size;
    const std::size_t bytes_before = usable_size ? usable_size(p) : 0;
    const auto before = Books::unbook(p);
    const Word now = call.go_on();
    if (!usable_size || now == bytes_before) Books::book_again(p, before);
    else enter(call, p, now, Books::is_sample(call, now));
    return now;
  }
};

}  // namespace mallard::inside
