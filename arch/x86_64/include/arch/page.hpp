// SPDX-License-Identifier: Apache-2.0
// The size of a page, known when mallard is compiled: the linker script aligns to it, and tables count in it.
// A port to a machine with several page sizes aligns to the largest that its kernels may have.
#pragma once

#include <cstddef>

namespace mallard::arch {
inline constexpr std::size_t kPageBytes = 4096;
}
