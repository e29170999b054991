// SPDX-License-Identifier: Apache-2.0
// jemalloc's own interface (mallocx, rallocx, dallocx and their kin) of a program that is linked with
// libjemalloc. Its blocks cross with those of malloc: redis frees by dallocx what malloc gave.
#pragma once

namespace mallard::interpose {

/// Where the program's own jemalloc serves, its calls are entered in the books and answered by it; under
/// another backend that one answers them. Changes the slots of the objects that are loaded now; says so where
/// the kernel refuses. Nothing where no loaded library defines mallocx, or somebody else owns malloc.
/// \context constructor, once the backend is final
void lead_jemalloc_calls() noexcept;

}  // namespace mallard::interpose
