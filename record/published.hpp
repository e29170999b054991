// SPDX-License-Identifier: Apache-2.0
// What base/published.hpp describes, in this process. \context init, reporter
#pragma once

#include "base/published.hpp"

extern "C" {
extern mallard::Published mallard_published __attribute__((visibility("hidden")));
}
