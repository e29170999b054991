// SPDX-License-Identifier: Apache-2.0
// What the hot exports do in each mode. Their first instruction is at least 5 bytes long, so that one jump can
// stand in its place: off jumps straight to the backend, exact to functions that book every call, sample has
// the instruction itself. A mode is put in force by mapping a patched copy over the exports' pages in one step:
// no thread ever sees half an instruction.
#pragma once

#include "base/options.hpp"

namespace mallard::interpose {

/// \return the mode in force
Mode mode() noexcept;

/// Switches the running process. sample -> exact begins exact books, and sampling goes on underneath; leaving
/// off begins empty books. \param why_not  set to one clause if it fails; then nothing has changed
/// \return false if it cannot be done
/// \context reporter, init
bool switch_mode(Mode to, const char** why_not) noexcept;

}  // namespace mallard::interpose
