// SPDX-License-Identifier: Apache-2.0
// Which signal would get through to a process that does not take the one it was given.
#pragma once

#include <string>

namespace mallard::cli {

/// A hint with the next step: "start it with another signal: ALLOC_SIGNAL=SIGRTMIN+5", which neither is
/// `refused` nor is blocked by all threads or used by the program; or what is left where there is none.
std::string signal_advice(int pid, int refused);

/// "every thread of WHO blocks SIGUSR2", and whether it is one of nearly all, as in servers that leave
/// signals to one thread which waits for them.
std::string blocked_words(int pid, const std::string& who, int signal);

}  // namespace mallard::cli
