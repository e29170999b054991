// SPDX-License-Identifier: Apache-2.0
#include "attach/watched_calls.hpp"

#include <cstddef>

#include "arch/hot_exports.h"
#include "attach/booking.hpp"
#include "attach/duties.hpp"
#include "inside/watched_call.hpp"
#include "inside/watchers.hpp"
#include "record/exact/exact.hpp"
#include "record/exact/moved_block.hpp"
#include "record/record.hpp"

// As watched_calls.S has it.
static_assert(mallard::record::duties_of(mallard::Mode::kSample) == MALLARD_COUNTS);

namespace mallard::attach {
namespace {

using inside::WatchedCall, inside::Word;

struct Books {
  static bool is_sample(const WatchedCall& call, std::size_t bytes) noexcept {
    return is_drawn(bytes, call.is_drawn);
  }
  static void enter(const WatchedCall& call, void* p, std::size_t bytes, bool sampled) noexcept {
    book(p, bytes, sampled, call.caller, call.observed.usable_size);
  }
  static void leave(void* p) noexcept { forget(p); }
  static record::Unbooked unbook(void* p) noexcept { return record::unbook(p, unbooks_exactly); }
  static void book_again(void* p, const record::Unbooked& before) noexcept { record::book_again(p, before); }
  static Word answer(const WatchedCall& call, std::size_t) { return call.go_on(); }
  static Word answer_free(const WatchedCall& call) { return call.go_on(); }
};

/// In a forked child, and before and after recording, calls are handed on.
Word watched(const WatchedCall& call) {
  return MALLARD_LIKELY(duties() != 0) ? inside::WatchedWith<Books>::run(call) : call.go_on();
}

}  // namespace

constinit const inside::Watchers watchers = inside::kAllWatchers;

}  // namespace mallard::attach

// Where watched_calls.S leaves to. The frame of each has the host's call as its caller.
namespace {
using namespace mallard;
using mallard::inside::Observed, mallard::inside::Word;
}  // namespace

extern "C" {

__attribute__((visibility("hidden"))) Word mallard_watched(Word a, Word b, Word c, Word d, Word e,
                                                           const Observed* observed) {
  return attach::watched({{a, b, c, d, e}, *observed, MALLARD_CALLER(), false});
}

__attribute__((visibility("hidden"))) Word mallard_watched_drawn(Word a, Word b, Word c, Word d, Word e,
                                                                 const Observed* observed) {
  return attach::watched({{a, b, c, d, e}, *observed, MALLARD_CALLER(), true});
}
}
