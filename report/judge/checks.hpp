// SPDX-License-Identifier: Apache-2.0
// Whether the figures of a report agree with each other and with the kernel's. Pure functions of a snapshot.
#pragma once

#include "report/model/model.hpp"

namespace mallard::report {

/// Fills in Snapshot::checks from all else. \context reporter, exit
void check_figures(Snapshot* snapshot) noexcept;

}  // namespace mallard::report
