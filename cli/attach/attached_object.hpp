// SPDX-License-Identifier: Apache-2.0
// libmallard-attach.so in another process: having it loaded, and having it act.
#pragma once

#include <string>

#include "attach/door.hpp"
#include "cli/attach/own_allocator.hpp"

namespace mallard::cli {

/// Borrows a thread of the process and has the object act, which is loaded first if it is not there. The entry points
/// of the executable's own allocator lead to the object before it records, and back after it has left.
/// \param who  the process, for messages \throws Error if any of that cannot be done; then the process is as
/// it was
AttachDoor act_in(int pid, const std::string& who, const OwnAllocator& own, AttachAction action, Mode mode);

}  // namespace mallard::cli
