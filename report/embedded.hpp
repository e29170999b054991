// SPDX-License-Identifier: Apache-2.0
// Which allocator a loaded object has inside, for memory that it maps by itself. Context: reporter.
#pragma once

#include <string_view>

#include "report/modules.hpp"

namespace mallard::report {

/// The field's name of an allocator that `module` defines, by its symbols or, if it is stripped, by texts
/// that the allocator would print; empty if none is recognised. Remembers its answers from report to report.
std::string_view allocator_inside(Arena& arena, const Module& module) noexcept;

}  // namespace mallard::report
