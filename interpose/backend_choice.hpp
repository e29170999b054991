// SPDX-License-Identifier: Apache-2.0
// Which allocator answers the program's calls: ALLOC_BACKEND's, unless somebody in front of us owns malloc.
#pragma once

#include <string_view>

namespace mallard::interpose {

/// Who owns malloc, where that is not mallard: nothing is recorded then.
struct ForeignOwner {
  bool in_front = false;   ///< the executable or an earlier preload, whose malloc programs call
  bool sanitizer = false;  ///< a sanitizer's runtime, for which mallard steps aside
  std::string_view name;   ///< of the owner in front

  bool is_there() const noexcept { return in_front || sanitizer; }
};
const ForeignOwner& foreign_owner() noexcept;

/// Installs the backend, or the boot arena where its file must be loaded, which only the constructor may do.
/// \context init
void choose_backend() noexcept;
/// Loads the file of the backend, if one is to be loaded, and installs it. \context constructor
void load_backend() noexcept;
/// True after choosing and before the file of the backend is loaded. \context init
bool backend_is_to_be_loaded() noexcept;

}  // namespace mallard::interpose
