// SPDX-License-Identifier: Apache-2.0
// Registers of the threads of a running process. Each thread is stopped by ptrace for as long as they are
// read, well below a millisecond; the others run on.
#pragma once

#include "outside/lost_blocks.hpp"

namespace mallard::cli {

class StoppedThreads {
 public:
  /// \param may_stop  false: nothing is stopped, and no registers are read
  StoppedThreads(int pid, bool may_stop) : pid_(pid), may_stop_(may_stop) {}

  outside::Threads source() {
    return {[](void* self, void (*visit)(const outside::ThreadState&, void*), void* opaque,
               report::LostBlocks* out) { static_cast<StoppedThreads*>(self)->each(visit, opaque, out); },
            this};
  }

 private:
  void each(void (*visit)(const outside::ThreadState&, void*), void* opaque, report::LostBlocks* out) const;

  int pid_;
  bool may_stop_;
};

}  // namespace mallard::cli
