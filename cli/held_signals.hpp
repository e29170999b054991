// SPDX-License-Identifier: Apache-2.0
// A request that comes while `mallard run` becomes a program would end it: nobody has a handler yet. So
// signals are blocked from the first moment on, and the report signal beyond exec, until the library's
// handler stands.
#pragma once

namespace mallard::cli {

/// Blocks all signals. Called once, before anything else.
void hold_signals() noexcept;

/// Puts back the mask from before hold_signals(), but for `signal`, which stays blocked; 0 = none does.
/// \return whether the library is to unblock it: false if it had been blocked before
bool release_signals(int signal) noexcept;

}  // namespace mallard::cli
