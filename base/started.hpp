// SPDX-License-Identifier: Apache-2.0
// How the first process of a run is told from its children.
#pragma once

namespace mallard {

/// `mallard run` sets it to the id of the process that it becomes: what concerns the whole run is said there,
/// and not by every child.
inline constexpr char kStartedVariable[] = "ALLOC_STARTED";

}  // namespace mallard
