// SPDX-License-Identifier: Apache-2.0
// Whose heaps lie in the memory of another process: allocators are known by the form of what they keep there
// and by the symbols of the objects that carry them. Context: offline, one process at a time.
#pragma once

#include "report/facts/memory.hpp"
#include "report/model/served.hpp"

namespace mallard::outside {

/// What a report is to take for the allocator that serves another process. What it finds out stays in tables
/// of this file and in the report's arena until the next one is looked at.
report::Served served_of_other_process() noexcept;

}  // namespace mallard::outside
