// SPDX-License-Identifier: Apache-2.0
// The start of the process, as the exports and the parts that lifecycle.cpp puts together see it.
#pragma once

namespace mallard::interpose {

/// Chooses the backend if that has not happened: on the first call of an exported function or in the
/// constructor, whichever is first. Afterwards mallard_table serves (from the boot arena where the backend
/// has still to be loaded). \context init
void ensure_started() noexcept;

/// Ends the process, which ALLOC_STRICT=1 asks for. \context init
[[noreturn]] void refuse_to_start() noexcept;

/// Finds out who else wants to see mappings. The exports of mapping_exports.cpp work from the first
/// instruction of the process on. \context init
void mappings_start() noexcept;

/// Installs the handler for options().signal, which is shared with the host: the host's own
/// handler for it, installed before or after ours, still runs and is what sigaction shows. \context init
void signals_start() noexcept;
void signals_after_fork_in_child() noexcept;

}  // namespace mallard::interpose
