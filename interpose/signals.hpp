// SPDX-License-Identifier: Apache-2.0
// The signal that asks for a report, shared with the host: its own handler for the same signal, installed
// before or after ours, still runs and is what sigaction shows it.
#pragma once

namespace mallard::interpose {

/// Installs the handler for options().signal. \context init
void signals_start() noexcept;
void signals_after_fork_in_child() noexcept;

}  // namespace mallard::interpose
