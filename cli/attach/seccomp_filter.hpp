// SPDX-License-Identifier: Apache-2.0
// What a thread's seccomp filters would do to the system calls that loading and recording make.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mallard::cli {

/// What a filter program gives for a call; a program that the kernel would not have taken gives "kill".
/// \param arguments  six of them
std::uint32_t run_filter(std::span<const sock_filter> program, long call,
                         std::span<const std::uint64_t> arguments);

/// Reads all filters of a thread that this one has stopped. \return false if the kernel does not give them:
/// that takes CAP_SYS_ADMIN
bool read_filters(pid_t thread, std::vector<std::vector<sock_filter>>* out);

/// The name of a system call that is needed and would end the process; empty if there is none.
std::string fatal_call(const std::vector<std::vector<sock_filter>>& filters);

}  // namespace mallard::cli
