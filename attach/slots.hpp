// SPDX-License-Identifier: Apache-2.0
// The slots through which loaded objects call functions of other objects: finding those of the functions that
// are redirected, leading them elsewhere, and back. The loader's lock is held meanwhile (locked.hpp): no
// object comes, goes or is being relocated. Context: a borrowed thread, or a host's call of dlopen or dlsym.
#pragma once

#include <link.h>

#include <cstdint>

namespace mallard::attach {

struct Slots {
  std::uint32_t led;        ///< lead to this object now
  std::uint32_t objects;    ///< in which those lie
  std::uint32_t elsewhere;  ///< by one of the names, and lead to another function than the process's own
};

/// Finds the process's own functions. \return nullptr, or why that cannot be done, one clause
/// \param is_watched  the entry points of the executable's own allocator lead here: if that has malloc, there is no
/// slot to redirect
/// \param allocator  receives the object that has malloc
const char* find_functions(bool is_watched, const link_map** allocator) noexcept;

enum class Objects : std::uint8_t {
  kAll,
  kNew,  ///< but for those in which a slot leads here already
};
/// Leads every slot of the functions here, all or none. \return nullptr, or why none is led here
const char* lead_here(Objects which, Slots* out) noexcept;

/// Puts every slot back. \return false if the kernel did not let one of them be written: it still leads here,
/// and what stands here hands its calls on
bool lead_back(Slots* out) noexcept;

}  // namespace mallard::attach
