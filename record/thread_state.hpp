// SPDX-License-Identifier: Apache-2.0
// What recording keeps per thread: zero-initialised initial-exec TLS without a destructor, so that it works
// before main, in TLS destructors and after exit, and never allocates.
#pragma once

#include <cstdint>

#include "base/attributes.hpp"

namespace mallard::record {

struct ThreadState {
  /// Bytes left until the next sample. First member: the hot exports subtract from it. 0 at thread start,
  /// so that the first call draws a gap instead of sampling.
  std::uint64_t countdown;
  /// Calls left until the next one is timed (latency.hpp). Second member: their code subtracts from it.
  std::uint64_t calls_left;
  std::uint64_t random;  ///< state of the generator; 0 = not seeded
  std::uint32_t in_recording;  ///< > 0 while this thread records: its allocations are not booked
  std::uint32_t in_mapping_log;  ///< > 0 while this thread notes a mapping: a signal handler must not
  std::uint64_t latency_random;  ///< state of the generator of gaps between timed calls
  void* latency_record;          ///< where this thread counts times (latency.cpp); nullptr at first
  void* exact_record;  ///< where this thread counts in exact mode (thread_record.hpp); nullptr at first
  /// When the fork in progress began, CLOCK_MONOTONIC. Here, and so are the flags, because a fork's child
  /// gets and the parent keeps a copy of this page anyway.
  std::uint64_t fork_began_ns;
  bool mapping_log_locked_for_fork;    ///< the fork in progress holds the mapping log
  bool recording_locked_for_fork;  ///< the fork in progress holds the locks of the books
};

}  // namespace mallard::record

extern "C" {
/// `__thread`, because thread_local would go through an initialisation wrapper.
extern __thread mallard::record::ThreadState mallard_thread
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
}

namespace mallard::record {

/// Marks the calling thread as inside recording for a scope.
class [[nodiscard]] InRecording {
 public:
  InRecording() noexcept { ++mallard_thread.in_recording; }
  ~InRecording() { --mallard_thread.in_recording; }
  InRecording(const InRecording&) = delete;
  InRecording& operator=(const InRecording&) = delete;
};

}  // namespace mallard::record
