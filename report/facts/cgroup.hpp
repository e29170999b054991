// SPDX-License-Identifier: Apache-2.0
// The memory cgroup of the process, versions 1 and 2. Context: reporter.
#pragma once

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "report/model/cgroup.hpp"

namespace mallard::report {

/// \param mount  where hierarchies are mounted; that the process is in a folder there is looked up
/// \return nothing known where there is none, or it cannot be found from here
CgroupCharge read_cgroup(Arena& arena, const ProcessMemory& process,
                         std::string_view mount = "/sys/fs/cgroup") noexcept;

}  // namespace mallard::report
