// SPDX-License-Identifier: Apache-2.0
// The names of backends, for whoever checks, completes or explains them.
#pragma once

#include <string_view>

namespace mallard {

inline constexpr std::string_view kBackendNames[] = {
#define BACKEND(name) name,
#include "base/backend_names.def"
#undef BACKEND
};

/// "system, jemalloc, ..., or the path of a shared object that defines malloc"
inline constexpr char kBackendsInWords[] =
#define BACKEND(name) name ", "
#include "base/backend_names.def"
    "or the path of a shared object that defines malloc";

inline constexpr char kBackendsTaken[] =
    "ALLOC_BACKEND takes "
#include "base/backend_names.def"
    "or the path of a shared object that defines malloc";

inline constexpr char kBackendHelp[] =
    "allocator that serves every call (next: the program's own, the default): "
#include "base/backend_names.def"
    "or the path of a shared object that defines malloc";
#undef BACKEND

}  // namespace mallard
