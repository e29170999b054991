// SPDX-License-Identifier: Apache-2.0
// What unwinding means at one code address, read from DWARF call frame information by ourselves: those forms
// that compilers write for nearly all code. Whatever else stands there is left to libunwind (unwinder.hpp),
// whose answer ours has to equal. No lock, no state: a handler may interrupt it, and ask as well.
#pragma once

#include <cstdint>

#include "unwind/rules.hpp"
#include "unwind/unwinder_memory.hpp"

namespace mallard::unwind {

/// \param code    an address within the instruction in question
/// \param table   address of the object's .eh_frame_hdr, a sorted table
/// \param memory  readable memory around it; nothing outside of it is read, whatever the table says
/// \return false if only libunwind can tell; `out` is then unchanged \context hot (slow path)
bool rule_from_cfi(std::uintptr_t code, std::uintptr_t table, const Segment& memory, Rule* out) noexcept;

}  // namespace mallard::unwind
