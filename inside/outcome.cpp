// SPDX-License-Identifier: Apache-2.0
#include "inside/outcome.hpp"

#include "base/parts.hpp"

namespace mallard::inside {
namespace {

constinit TakeoverOutcome g_outcome;
MALLARD_PART(takeover_outcome, g_outcome);

}  // namespace

const TakeoverOutcome& takeover_outcome() noexcept { return g_outcome; }
bool takeover_outcome_adopt(const OtherParts& parts) noexcept { return parts.adopt(g_outcome); }
void set_takeover_outcome(const TakeoverOutcome& outcome) noexcept { g_outcome = outcome; }

}  // namespace mallard::inside
