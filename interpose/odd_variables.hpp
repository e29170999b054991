// SPDX-License-Identifier: Apache-2.0
// Variables that will not do what whoever set them expects: names that are near to one that exists, and
// values that contradict each other.
#pragma once

namespace mallard::interpose {

/// Says each in one line, in the first process of a run alone: not in children of one that has said so.
/// \context constructor, once the options are read
void tell_odd_variables() noexcept;

/// Not one of the children of what `mallard run` started: there may be hundreds. By hand, each is taken for
/// the first.
bool is_first_process() noexcept;

}  // namespace mallard::interpose
