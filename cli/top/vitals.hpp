// SPDX-License-Identifier: Apache-2.0
// The kernel's own figures of a process, from /proc: cheap, and at no cost to the process.
#pragma once

#include <cstdint>
#include <string>

namespace mallard::cli {

struct Vitals {
  double at_seconds = 0;  ///< CLOCK_MONOTONIC
  double peak = 0;        ///< the most that was resident, bytes
  double resident = 0, anonymous = 0, file = 0, shared = 0, swapped = 0;  ///< bytes
  std::uint64_t threads = 0, minor_faults = 0, major_faults = 0;
  double cpu_seconds = 0, age_seconds = 0;
  std::string name;
};

/// Between two readings.
struct VitalRates {
  double resident = 0;   ///< bytes a second
  double cpu_share = 0;  ///< of one processor
  double minor_faults = 0, major_faults = 0;  ///< a second
};
VitalRates rates_between(const Vitals& before, const Vitals& now);

/// \return false if the process is gone
bool read_vitals(int pid, Vitals* out);

}  // namespace mallard::cli
