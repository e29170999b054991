// SPDX-License-Identifier: Apache-2.0
// libmallard-attach.so in another process: having it loaded, and having it act.
#pragma once

#include <string>

#include "attach/door.hpp"

namespace mallard::cli {

/// Borrows a thread of the process and has the object act, which is loaded first if it is not there.
/// \param who  the process, for messages \throws Error if any of that cannot be done; then the process is as
/// it was
AttachDoor act_in(int pid, const std::string& who, AttachAction action, Mode mode);

}  // namespace mallard::cli
