// SPDX-License-Identifier: Apache-2.0
// What answers the entry points of an embedded allocator once it is taken over: our own exports, and
// functions with the semantics of mimalloc's and jemalloc's own interfaces.
#pragma once

#include <string_view>

namespace mallard::interpose {

/// The code behind a target of inside/entry_points.hpp; nullptr if there is none. \context init
const void* function_for(std::string_view target) noexcept;

}  // namespace mallard::interpose
