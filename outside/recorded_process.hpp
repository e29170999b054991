// SPDX-License-Identifier: Apache-2.0
// A process with mallard, looked at from outside: its books, its options and what it remembers of earlier
// reports are copied into this command's own globals (base/parts.hpp), so that the code which makes its
// reports inside makes them here. Nothing happens in it. Context: offline, one such process in a command.
#pragma once

#include <optional>

#include "base/parts.hpp"
#include "outside/other_process.hpp"
#include "report/model/served.hpp"

namespace mallard::outside {

class RecordedProcess : public OtherProcess {
 public:
  explicit RecordedProcess(int pid) noexcept : OtherProcess(pid) {}

  /// \param published  where it has its `Published`, in its libmallard.so
  /// \return why that cannot be done, a clause; nullptr if it was done
  const char* adopt(std::uintptr_t published) noexcept;
  /// The same of a process that was attached to: it has the books, and neither a mapping log nor earlier
  /// reports. Its heaps are found as those of a process without mallard are.
  const char* adopt_attached(std::uintptr_t published) noexcept;
  /// Only what memory is mallard's own, of a process that is inspected: its books may have ended, or be of
  /// another build.
  void adopt_own(std::uintptr_t published) noexcept;

  /// For take_snapshot(). \context after adopt()
  const report::Served& served() const noexcept { return served_; }
  const OtherParts& parts() const noexcept { return *parts_; }
  std::uint64_t torn_samples() const noexcept { return torn_; }
  int last_report_number() const noexcept { return number_; }

 private:
  const char* find_parts(std::uintptr_t published) noexcept;
  void take_own_ranges() noexcept;
  const char* adopt_books() noexcept;
  const char* adopt_served() noexcept;

  std::optional<OtherParts> parts_;
  report::Served served_{};
  std::uint64_t torn_ = 0;
  int number_ = 0;
};

}  // namespace mallard::outside
