// SPDX-License-Identifier: Apache-2.0
// Leads the references of a loaded object to functions of other objects elsewhere, in the slots that the
// loader has filled. Only what the loader has bound already: objects that are loaded later, and addresses
// that dlsym gives, are as they were.
#pragma once

#include <link.h>

#include <cstddef>

namespace mallard::elf {

struct Rebinding {
  const char* name;  ///< of the function, undefined in the object that refers to it
  const void* from;  ///< where it leads
  const void* to;    ///< where it is to lead
};

/// \return references that were left as they are, because the kernel does not let their page be written
/// \context init: no other thread runs; takes no lock, allocates nothing
std::size_t rebind(const link_map* object, const Rebinding* list, std::size_t count) noexcept;

}  // namespace mallard::elf
