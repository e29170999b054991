// SPDX-License-Identifier: Apache-2.0
// The environment that the process was started with. Context: reporter.
#pragma once

#include <string_view>

#include "base/arena.hpp"
#include "base/process_memory.hpp"

namespace mallard::report {

/// Its variables, each with a NUL behind it, cut at 128 KiB. Empty where the kernel does not tell it; of a
/// program that writes over it (setproctitle) whatever stands there now.
std::string_view read_environment(Arena& arena, const ProcessMemory& process) noexcept;

}  // namespace mallard::report
