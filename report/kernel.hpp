// SPDX-License-Identifier: Apache-2.0
// What the kernel knows of this process, read from /proc.
#pragma once

#include "report/arena.hpp"
#include "report/model.hpp"

namespace mallard::report {

ProcessFacts read_process_facts(Arena& arena) noexcept;
Rss read_rss() noexcept;

}  // namespace mallard::report
