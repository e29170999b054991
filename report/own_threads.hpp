// SPDX-License-Identifier: Apache-2.0
// Threads of mallard's own: detached, named "mallard", with every signal blocked.
#pragma once

#include <cstddef>

namespace mallard::report {

/// What a stack must have for code that needs `bytes`: libc puts the thread's static TLS, as large as that of all
/// loaded objects together, on it. \return whole pages
std::size_t own_stack_bytes(std::size_t bytes) noexcept;

/// \param stack  where it is, or nullptr: libc gives it one
/// \param stack_bytes  what own_stack_bytes() returned
/// \return false, after a line on standard error, if there is no thread
/// \context where pthread_create may be called; see interpose/safe_point.hpp
bool create_own_thread(void* (*run)(void*), void* stack, std::size_t stack_bytes) noexcept;

}  // namespace mallard::report
