// SPDX-License-Identifier: Apache-2.0
#include "interpose/watched_calls.hpp"

#include <cstddef>

#include "arch/hot_exports.h"
#include "inside/watched_call.hpp"
#include "inside/watchers.hpp"
#include "interpose/alone_again.hpp"
#include "interpose/slow_paths.hpp"
#include "record/exact/exact.hpp"
#include "record/exact/moved_block.hpp"
#include "record/latency_clock.hpp"

// As watched_calls.S has it.
static_assert(mallard::record::duties_of(mallard::Mode::kSample) == MALLARD_COUNTS);

namespace mallard::interpose {
namespace {

using inside::BlockAction, inside::BlockCall, inside::WatchedCall, inside::Word;

record::Operation operation_of(const BlockCall& call) noexcept {
  if (call.action == BlockAction::kMoves || call.action == BlockAction::kMovesAt) return record::Operation::kRealloc;
  return call.request == inside::Request::kZeroed    ? record::Operation::kCalloc
         : call.request == inside::Request::kAligned ? record::Operation::kAligned
                                                     : record::Operation::kMalloc;
}

struct Books {
  static bool is_sample(const WatchedCall& call, std::size_t bytes) noexcept {
    if (!call.is_drawn) return counts_as_sample(bytes);
    if (MALLARD_LIKELY(bytes <= kMaxRequestBytes)) return record::decide(bytes);
    record::restart_countdown();  // it may have wrapped
    return false;
  }
  static void enter(const WatchedCall& call, void* p, std::size_t bytes, bool sampled) noexcept {
    if (has_duty(kBooksExactly)) record::exact_alloc(p, bytes, call.caller);
    if (!sampled) return;
    inside::UsableSize* const usable_size = call.observed.usable_size;
    record::on_alloc(p, bytes, usable_size ? usable_size(p) : bytes, call.caller);
    tell_when_alone();
  }
  static void leave(void* p) noexcept {
    if (record::may_be_tracked(p)) record::on_free(p);
    if (has_duty(kUnbooksExactly)) record::exact_release(p);
  }
  static record::Unbooked unbook(void* p) noexcept { return record::unbook(p, unbooks_exactly); }
  static void book_again(void* p, const record::Unbooked& before) noexcept { record::book_again(p, before); }

  /// Goes on, and times it if it is the call's turn.
  static Word answer(const WatchedCall& call, std::size_t bytes) {
    if (drawn_to_be_timed() == Timed::kNo) return call.go_on();
    return timed(call, operation_of(call.observed.call), record::size_group_of(bytes));
  }
  static Word answer_free(const WatchedCall& call) {
    void* const p = call.block();
    if (!p || drawn_to_be_timed() == Timed::kNo) return call.go_on();
    int group = record::kUnknownSize;
    if (inside::UsableSize* usable_size = call.observed.usable_size; usable_size && record::latency_asks_size())
      group = record::size_group_of(usable_size(p));
    return timed(call, record::Operation::kFree, group);
  }
  static Word timed(const WatchedCall& call, record::Operation operation, int group) {
    const std::uint64_t before = record::time_before();
    const Word result = call.go_on();
    const std::uint64_t after = record::time_after();
    record::latency_note(operation, group, before, after, call.caller);
    return result;
  }
};

constexpr inside::Watchers kAll = inside::kAllWatchers;

}  // namespace

const inside::Watchers& watchers() noexcept { return kAll; }

}  // namespace mallard::interpose

// Where watched_calls.S leaves to. The frame of each has the host's call as its caller.
namespace {
using namespace mallard;
using mallard::inside::Observed, mallard::inside::WatchedWith, mallard::inside::Word;
}  // namespace

extern "C" {

__attribute__((visibility("hidden"))) Word mallard_watched(Word a, Word b, Word c, Word d, Word e,
                                                           const Observed* observed) {
  return WatchedWith<interpose::Books>::run({{a, b, c, d, e}, *observed, MALLARD_CALLER(), false});
}

__attribute__((visibility("hidden"))) Word mallard_watched_drawn(Word a, Word b, Word c, Word d, Word e,
                                                                 const Observed* observed) {
  return WatchedWith<interpose::Books>::run({{a, b, c, d, e}, *observed, MALLARD_CALLER(), true});
}
}
