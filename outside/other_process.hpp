// SPDX-License-Identifier: Apache-2.0
// Another process behind the seam of base/process_memory.hpp: its memory by process_vm_readv, its pages by
// /proc/PID/pagemap. Nothing is loaded into it, and nothing of it is stopped. Context: offline.
#pragma once

#include "base/process_memory.hpp"

namespace mallard::outside {

class OtherProcess : public ProcessMemory {
 public:
  /// \param pid  as this command sees it
  explicit OtherProcess(int pid) noexcept;
  ~OtherProcess();

  /// \return 0, or the errno with which the kernel refuses to copy from it
  int why_not_copied() const noexcept;
  /// False once it has ended, or begun another program: its memory is not what was looked at any more.
  bool is_still_there() const noexcept;

 private:
  static const Access kAccess;
  int pid_;
  long pagemap_;  ///< of the program that ran when it was opened, and of no other
};

}  // namespace mallard::outside
