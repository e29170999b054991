// SPDX-License-Identifier: Apache-2.0
// What people write for a backend.
#pragma once

#include <string>

namespace mallard::cli {

/// \param backend  a name, or the path of a shared object
/// \param what     what it is to the command that it is given to, as the message names it: "--backend"
/// \throws Error (kUsage) if it is no name, or the path cannot be read
void check_backend(const std::string& backend, const std::string& what);

}  // namespace mallard::cli
