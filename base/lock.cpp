// SPDX-License-Identifier: Apache-2.0
#include "base/lock.hpp"

#include "base/attributes.hpp"

namespace mallard {

MALLARD_FORK_DATA constinit std::atomic<std::uint32_t> fork_generation{0};

}  // namespace mallard
