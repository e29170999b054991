// SPDX-License-Identifier: Apache-2.0
// The way from an exported function to the backend: one table in a page of its own, read-only once a backend
// is chosen. The hot exports are patched so that they do not even read it (patch.hpp).
#pragma once

#include "backends/backend.hpp"

extern "C" {
/// Starts with the functions of first_calls.cpp, which choose a backend first.
extern mallard::backends::Functions mallard_table __attribute__((visibility("hidden")));
}

namespace mallard::interpose {

/// The backend that serves. Valid once is_final().
const backends::Backend& backend() noexcept;
bool is_final() noexcept;

/// Puts temporary functions into the table. \context init, single-threaded
void install_temporary(const backends::Functions& functions) noexcept;
/// Installs the backend for good: the table becomes read-only. \context init, single-threaded
void install_final(const backends::Backend& backend) noexcept;

}  // namespace mallard::interpose
