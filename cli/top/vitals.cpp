// SPDX-License-Identifier: Apache-2.0
#include "cli/top/vitals.hpp"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "cli/demangled.hpp"
#include "cli/file.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {
namespace {

/// A line such as "VmRSS:     1234 kB".
double kilobytes(const std::string& status, const std::string& name) {
  const std::size_t at = status.find("\n" + name + ":");
  return at == status.npos ? 0 : std::strtod(status.c_str() + at + name.size() + 2, nullptr) * 1024;
}

}  // namespace

bool read_vitals(int pid, Vitals* out) {
  std::string status;
  const std::optional<ProcessStat> stat = read_stat(pid);
  if (!stat || !read_whole(fmt::format("/proc/{}/status", pid), &status)) return false;
  if (const std::string& state = stat->fields[ProcessStat::kState]; state == "Z" || state == "X") return false;
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  out->at_seconds = now_seconds();
  out->name = printable(stat->name);
  out->peak = kilobytes(status, "VmHWM");
  out->resident = kilobytes(status, "VmRSS");
  out->anonymous = kilobytes(status, "RssAnon");
  out->file = kilobytes(status, "RssFile");
  out->shared = kilobytes(status, "RssShmem");
  out->swapped = kilobytes(status, "VmSwap");
  out->minor_faults = stat->number(ProcessStat::kMinorFaults);
  out->major_faults = stat->number(ProcessStat::kMajorFaults);
  out->threads = stat->number(ProcessStat::kThreads);
  out->cpu_seconds =
      static_cast<double>(stat->number(ProcessStat::kUserTicks) + stat->number(ProcessStat::kSystemTicks)) / ticks;
  timespec up{};
  clock_gettime(CLOCK_BOOTTIME, &up);
  const double now = static_cast<double>(up.tv_sec) + static_cast<double>(up.tv_nsec) / 1e9;
  out->age_seconds = std::max(0.0, now - static_cast<double>(stat->number(ProcessStat::kStartTicks)) / ticks);
  return true;
}

VitalRates rates_between(const Vitals& before, const Vitals& now) {
  const double seconds = now.at_seconds - before.at_seconds;
  const auto rate = [seconds](auto one, auto other) {
    return (static_cast<double>(other) - static_cast<double>(one)) / seconds;
  };
  return {rate(before.resident, now.resident), rate(before.cpu_seconds, now.cpu_seconds),
          rate(before.minor_faults, now.minor_faults), rate(before.major_faults, now.major_faults)};
}

}  // namespace mallard::cli
