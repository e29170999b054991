// SPDX-License-Identifier: Apache-2.0
#include "inside/outcome.hpp"

namespace mallard::inside {
namespace {

constinit TakeoverOutcome g_outcome;

}  // namespace

const TakeoverOutcome& takeover_outcome() noexcept { return g_outcome; }
void set_takeover_outcome(const TakeoverOutcome& outcome) noexcept { g_outcome = outcome; }

}  // namespace mallard::inside
