// SPDX-License-Identifier: Apache-2.0
// Names for the return addresses of all sites: one pass per loaded object.
#pragma once

#include "base/arena.hpp"
#include "elf/modules.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// Fills the frames of every row, those of slow calls too, and the modules of the snapshot. \return false if
/// memory is out
bool add_frames(Arena& arena, const elf::Modules& modules, SiteRow* rows, Snapshot* out) noexcept;

}  // namespace mallard::report
