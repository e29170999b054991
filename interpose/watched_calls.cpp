// SPDX-License-Identifier: Apache-2.0
#include "interpose/watched_calls.hpp"

#include <string.h>

#include "arch/hot_exports.h"
#include "inside/observed.hpp"
#include "interpose/alone_again.hpp"
#include "interpose/slow_paths.hpp"
#include "record/exact/exact.hpp"
#include "record/exact/moved_block.hpp"
#include "record/latency_clock.hpp"

// As watched_calls.S has them.
static_assert(offsetof(mallard::inside::Observed, original) == 0);
static_assert(mallard::record::duties_of(mallard::Mode::kSample) == MALLARD_COUNTS);

extern "C" {
void mallard_watch();
void mallard_watch_first();
void mallard_watch_second();
void mallard_watch_product();
void mallard_watch_free();
void mallard_watch_move();
}

namespace mallard::interpose {
namespace {

using inside::BlockAction, inside::BlockCall, inside::Observed, inside::Unmoved;

/// An argument or a result, whatever it is.
using Word = std::uintptr_t;
constexpr std::size_t kArguments = 5;

void* block_in(Word word) noexcept { return reinterpret_cast<void*>(word); }

struct Call {
  Word arguments[kArguments];
  const Observed& observed;
  Caller caller;
  bool is_drawn;  ///< counted already, and may be a sample

  Word argument(std::uint8_t number) const noexcept { return arguments[number]; }
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

/// Goes on, and times it if it is the call's turn.
Word answer(const Call& call, record::Operation operation, std::size_t bytes) {
  if (drawn_to_be_timed() == Timed::kNo) return call.go_on();
  const std::uint64_t before = record::time_before();
  const Word result = call.go_on();
  const std::uint64_t after = record::time_after();
  record::latency_note(operation, record::size_group_of(bytes), before, after, call.caller);
  return result;
}

record::Operation operation_of(const BlockCall& call) noexcept {
  return call.request == inside::Request::kZeroed    ? record::Operation::kCalloc
         : call.request == inside::Request::kAligned ? record::Operation::kAligned
                                                     : record::Operation::kMalloc;
}

bool is_sample(const Call& call, std::size_t bytes) noexcept {
  if (!call.is_drawn) return counts_as_sample(bytes);
  if (MALLARD_LIKELY(bytes <= kMaxRequestBytes)) return record::decide(bytes);
  record::restart_countdown();  // it may have wrapped
  return false;
}

void enter(const Call& call, void* p, std::size_t bytes, bool sampled) noexcept {
  if (!p) return;
  if (has_duty(kBooksExactly)) record::exact_alloc(p, bytes, call.caller);
  if (!sampled) return;
  inside::UsableSize* const usable_size = call.observed.usable_size;
  record::on_alloc(p, bytes, usable_size ? usable_size(p) : bytes, call.caller);
  tell_when_alone();
}

void leave(void* p) noexcept {
  if (!p) return;
  if (record::may_be_tracked(p)) record::on_free(p);
  if (has_duty(kUnbooksExactly)) record::exact_release(p);
}

Word allocate(const Call& call) {
  const std::size_t bytes = call.bytes();
  const bool sampled = is_sample(call, bytes);
  const Word result = answer(call, operation_of(call.observed.call), bytes);
  enter(call, block_in(result), bytes, sampled);
  return result;
}

/// The function may write into memory of the caller's instead.
Word allocate_text(const Call& call) {
  const std::uint8_t buffer = call.observed.call.block;
  const bool has_buffer = buffer != BlockCall::kNoArgument && call.argument(buffer) != 0;
  const Word result = call.go_on();
  if (has_buffer || result == 0) return result;
  const std::size_t bytes = strlen(static_cast<const char*>(block_in(result))) + 1;
  enter(call, block_in(result), bytes, is_sample(call, bytes));
  return result;
}

Word allocate_to(const Call& call) {
  const std::size_t bytes = call.bytes();
  const bool sampled = is_sample(call, bytes);
  const Word error = answer(call, operation_of(call.observed.call), bytes);
  if (static_cast<int>(error) == 0)
    enter(call, *static_cast<void**>(block_in(call.argument(call.observed.call.block))), bytes, sampled);
  return error;
}

Word release(const Call& call) {
  void* const p = block_in(call.argument(call.observed.call.block));
  leave(p);
  if (!p || drawn_to_be_timed() == Timed::kNo) return call.go_on();
  int group = record::kUnknownSize;
  if (inside::UsableSize* usable_size = call.observed.usable_size; usable_size && record::latency_asks_size())
    group = record::size_group_of(usable_size(p));
  const std::uint64_t before = record::time_before();
  const Word result = call.go_on();
  const std::uint64_t after = record::time_after();
  record::latency_note(record::Operation::kFree, group, before, after, call.caller);
  return result;
}

Word move(const Call& call) {
  const BlockCall& how = call.observed.call;
  const std::size_t bytes = call.bytes();
  void* const p = block_in(call.argument(how.block));
  const bool sampled = is_sample(call, bytes);
  const record::Unbooked before = record::unbook(p, unbooks_exactly);
  const Word moved = answer(call, record::Operation::kRealloc, bytes);
  const bool stays =
      how.unmoved == Unmoved::kStays || (how.unmoved == Unmoved::kFreedForNothing && bytes != 0);
  if (moved == 0 && stays) record::book_again(p, before);
  enter(call, block_in(moved), bytes, sampled);
  return moved;
}

Word move_at(const Call& call) {
  const std::size_t bytes = call.bytes();
  void** const at = static_cast<void**>(block_in(call.argument(call.observed.call.block)));
  void* const p = *at;
  const bool sampled = is_sample(call, bytes);
  const record::Unbooked before = record::unbook(p, unbooks_exactly);
  const Word error = answer(call, record::Operation::kRealloc, bytes);
  if (static_cast<int>(error) != 0) record::book_again(p, before);
  else enter(call, *at, bytes, sampled);
  return error;
}

/// Never moves a block.
Word resize(const Call& call) {
  void* const p = block_in(call.argument(call.observed.call.block));
  inside::UsableSize* const usable_size = call.observed.usable_size;
  const std::size_t bytes_before = usable_size ? usable_size(p) : 0;
  const record::Unbooked before = record::unbook(p, unbooks_exactly);
  const Word now = call.go_on();
  if (!usable_size || now == bytes_before) record::book_again(p, before);
  else enter(call, p, now, counts_as_sample(now));
  return now;
}

Word watched(const Call& call) {
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

const void* code(void (*function)()) noexcept { return reinterpret_cast<const void*>(function); }

}  // namespace

const void* watcher_for(const inside::BlockCall& call) noexcept {
  constexpr std::uint8_t kNo = BlockCall::kNoArgument;
  switch (call.action) {
    case BlockAction::kAllocates:
      if (call.bytes == 1 && call.count == 0) return code(mallard_watch_product);
      if (call.count != kNo) break;
      if (call.bytes == 0) return code(mallard_watch_first);
      if (call.bytes == 1) return code(mallard_watch_second);
      break;
    case BlockAction::kFrees:
      if (call.block == 0) return code(mallard_watch_free);
      break;
    case BlockAction::kMoves:
      if (call.block == 0 && call.bytes == 1 && call.count == kNo) return code(mallard_watch_move);
      break;
    default:
      break;
  }
  return code(mallard_watch);
}

}  // namespace mallard::interpose

// Where watched_calls.S leaves to. The frame of each has the host's call as its caller.
namespace {
using namespace mallard::interpose;
}  // namespace

extern "C" {

__attribute__((visibility("hidden"))) Word mallard_watched(Word a, Word b, Word c, Word d, Word e,
                                                           const Observed* observed) {
  return watched({{a, b, c, d, e}, *observed, MALLARD_CALLER(), false});
}

__attribute__((visibility("hidden"))) Word mallard_watched_drawn(Word a, Word b, Word c, Word d, Word e,
                                                                 const Observed* observed) {
  return watched({{a, b, c, d, e}, *observed, MALLARD_CALLER(), true});
}
}
