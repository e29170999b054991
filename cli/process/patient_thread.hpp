// SPDX-License-Identifier: Apache-2.0
// Which thread of a process a signal disturbs least.
#pragma once

namespace mallard::cli {

/// A thread that does not block `signal` and waits in a system call which the kernel begins again after a
/// handler: for a futex without a time limit (condition variables and joins, which also look again), for a
/// child, for data. Sleeps, polls and waits with a limit end early, with EINTR, whatever the handler's flags.
/// \return its id; 0 = there is none, or its system call may not be read
int find_patient_thread(int pid, int signal);

}  // namespace mallard::cli
