// SPDX-License-Identifier: Apache-2.0
#include "record/record.hpp"

#include <initializer_list>

#include <errno.h>

#include "base/os.hpp"
#include "base/parts.hpp"
#include "base/reservation.hpp"
#include "base/threads.hpp"
#include "record/latency.hpp"
#include "record/mappings.hpp"
#include "record/published.hpp"
#include "unwind/own_stack.hpp"

namespace mallard::record {
namespace {

using Counter = std::atomic<std::uint64_t>;

struct AllCounters {
  Counter sampled{0}, sampled_frees{0}, dropped_full{0}, overflow_sites{0}, missed_frees{0}, reentrant{0},
      filter_misses{0};
};
constinit AllCounters g_counters;

constinit std::atomic<bool> g_recording{false};
constinit std::atomic<bool> g_has_tables{false};
constinit std::atomic<bool> g_with_process{true};
constinit std::uint64_t g_started_ns = 0;
MALLARD_FORK_DATA constinit std::uint64_t g_forked_ns = 0;

MALLARD_PART(counters, g_counters);
MALLARD_PART(recording, g_recording);
MALLARD_PART(has_tables, g_has_tables);
MALLARD_PART(with_process, g_with_process);
MALLARD_PART(started_ns, g_started_ns);
MALLARD_PART(forked_ns, g_forked_ns);

/// Release, and acquire in counters(): what was counted has been done, for whoever reads the tables then.
void bump(Counter& counter) noexcept { counter.fetch_add(1, std::memory_order_release); }

class [[nodiscard]] ErrnoGuard {
 public:
  ErrnoGuard() noexcept : saved_(errno) {}
  ~ErrnoGuard() { errno = saved_; }
  ErrnoGuard(const ErrnoGuard&) = delete;
  ErrnoGuard& operator=(const ErrnoGuard&) = delete;

 private:
  int saved_;
};

/// What a sample stands for.
std::int64_t bytes_of(const LiveBlock& block) noexcept {
  return static_cast<std::int64_t>(block.weight * static_cast<double>(block.asked_bytes) + 0.5);
}

void book(const LiveBlock& block) noexcept {
  LiveBlock replaced;
  switch (live_insert(block, &replaced)) {
    case Insert::kNew:
      break;
    case Insert::kReplaced:
      bump(g_counters.missed_frees);
      change_live(replaced.site, -bytes_of(replaced));
      break;
    case Insert::kFull:
      return bump(g_counters.dropped_full);
  }
  change_live(block.site, bytes_of(block));
}

bool unbook(const void* p, LiveBlock* removed) noexcept {
  if (MALLARD_UNLIKELY(!is_recording())) return false;
  if (MALLARD_UNLIKELY(mallard_thread.in_recording != 0)) {
    // A signal handler that interrupted recording: the shard's lock may be ours already.
    bump(g_counters.reentrant);
    return false;
  }
  InRecording in_recording;
  ErrnoGuard keep;
  const bool found = live_remove(p, removed);
  if (found) change_live(removed->site, -bytes_of(*removed));
  else bump(g_counters.filter_misses);
  return found;
}

}  // namespace

bool start(std::uint64_t mean_bytes, Expected expected) noexcept {
  mallard_published.parts_at = address_of(own_parts().begin);
  mallard_published.parts_count = static_cast<std::uint64_t>(own_parts().end - own_parts().begin);
  unwind::note_first_thread();
  if (mean_bytes == 0) {
    sampler_init(0);
    return true;
  }
  if (!sites_init(expected) || !live_init()) {
    sites_release();  // what little there is belongs to the host
    live_release();
    sampler_init(0);
    return false;
  }
  unwind::stacks_init();
  g_has_tables.store(true);
  g_started_ns = os::monotonic_ns();
  g_recording.store(true, std::memory_order_release);
  sampler_init(mean_bytes);
  return true;
}

bool is_recording() noexcept { return g_recording.load(std::memory_order_acquire); }

void pause() noexcept { g_recording.store(false); }

bool resume(std::uint64_t mean_bytes) noexcept {
  g_with_process.store(false);
  if (!g_has_tables.load()) return start(mean_bytes, Expected::kFewStacks);
  {
    InRecording in_recording;
    live_clear();
    sites_clear_sums();
  }
  for (Counter* counter :
       {&g_counters.sampled, &g_counters.sampled_frees, &g_counters.dropped_full, &g_counters.overflow_sites,
        &g_counters.missed_frees, &g_counters.reentrant, &g_counters.filter_misses})
    counter->store(0);
  g_forked_ns = 0;  // the books begin in this process
  g_started_ns = os::monotonic_ns();
  g_recording.store(true, std::memory_order_release);
  return true;
}

void on_alloc(const void* block, std::size_t asked_bytes, std::size_t usable_bytes,
              const arch::Caller& caller) noexcept {
  if (mallard_thread.in_recording != 0) return;
  InRecording in_recording;
  ErrnoGuard keep;
  std::uintptr_t pcs[unwind::kMaxDepth];
  const int depth = unwind::capture_stack(caller, pcs, unwind::kMaxDepth);
  const double weight = weight_of(asked_bytes);
  const SiteId site = add_sample(intern_site(pcs, depth), asked_bytes, weight);
  if (site == kOverflowSite) bump(g_counters.overflow_sites);
  bump(g_counters.sampled);
  const std::size_t rounding = usable_bytes > asked_bytes ? usable_bytes - asked_bytes : 0;
  book({address_of(block), asked_bytes, weight, os::monotonic_ns(), site,
        rounding < UINT32_MAX ? static_cast<std::uint32_t>(rounding) : UINT32_MAX});
}

bool site_of_call(const arch::Caller& caller, SiteId* site) noexcept {
  if (!is_recording() || mallard_thread.in_recording != 0) return false;
  InRecording in_recording;
  ErrnoGuard keep;
  std::uintptr_t pcs[unwind::kMaxDepth];
  *site = intern_site(pcs, unwind::capture_stack(caller, pcs, unwind::kMaxDepth));
  return *site != kOverflowSite;
}

bool on_free(const void* block) noexcept {
  LiveBlock removed;
  return on_move(block, &removed);
}

bool on_move(const void* block, LiveBlock* saved) noexcept {
  const bool was_sample = unbook(block, saved);
  if (was_sample) bump(g_counters.sampled_frees);
  return was_sample;
}

void on_move_failed(const LiveBlock& saved) noexcept {
  if (mallard_thread.in_recording != 0) return;
  InRecording in_recording;
  ErrnoGuard keep;
  g_counters.sampled_frees.fetch_sub(1, std::memory_order_relaxed);
  book(saved);
}

namespace {

/// How many samples there were, later than the other counters.
bool adopt_sampled(const OtherParts& parts) noexcept {
  alignas(AllCounters) char copy[sizeof(AllCounters)];
  if (!parts.copy_of(g_counters, copy)) return false;
  const auto& later = *reinterpret_cast<const AllCounters*>(copy);
  g_counters.sampled.store(later.sampled.load(std::memory_order_relaxed), std::memory_order_relaxed);
  return true;
}

}  // namespace

bool adopt(const OtherParts& parts, std::uint64_t* torn) noexcept {
  if (!parts.adopt(g_has_tables) || !parts.adopt(g_with_process) || !parts.adopt(g_started_ns) ||
      !parts.adopt(g_forked_ns) || !parts.adopt(g_recording) || !sampler_adopt(parts))
    return false;
  if (!latency_adopt(parts)) return false;  // before the sites that it names
  // In the order of copy_live_samples(): what is freed, live, all. A stack is in the tree before its site.
  LiveSamples live;
  return parts.adopt(g_counters) && given_back_adopt(parts) && live.read(parts) && sites_adopt(parts) &&
         unwind::adopt(parts) && live.keep(torn) && adopt_sampled(parts) && mappings_adopt(parts);
}

bool adopt_sums(const OtherParts& parts) noexcept {
  return parts.adopt(g_counters) && sites_adopt_sums(parts);
}

Counters counters() noexcept {
  const auto get = [](const Counter& c) { return c.load(std::memory_order_acquire); };
  return {get(g_counters.sampled),        get(g_counters.sampled_frees), get(g_counters.dropped_full),
          get(g_counters.overflow_sites), get(g_counters.missed_frees),  get(g_counters.reentrant),
          get(g_counters.filter_misses),  given_back_bytes()};
}

std::uint64_t started_ns() noexcept { return g_started_ns; }
bool began_with_process() noexcept { return g_with_process.load(); }
std::uint64_t forked_ns() noexcept { return g_forked_ns; }

std::uint64_t own_bytes() noexcept {
  const std::uint64_t log = mappings_own_bytes() + latency_own_bytes();  // are kept in every mode
  return g_has_tables.load() ? log + sites_own_bytes() + live_own_bytes() + unwind::stacks_own_bytes() : log;
}

// A signal handler may fork although it interrupted recording, whose locks its own thread then holds: they
// are not taken. Blocking signals around them would be simpler, but costs four system calls for each sample.

// Where there is no other thread nobody can hold them, and a lock that is not written costs no page fault.

MALLARD_FORK_TEXT bool before_fork() noexcept {
  ThreadState& t = mallard_thread;
  if (t.in_recording++ != 0)
    return false;  // also: other fork handlers may free samples while we hold the locks
  t.recording_locked_for_fork = !single_threaded();
  if (t.recording_locked_for_fork) {
    unwind::stacks_before_fork();
    live_before_fork();
  }
  t.fork_began_ns = os::monotonic_ns();  // nothing is sampled from here to the fork
  return t.recording_locked_for_fork;
}

MALLARD_FORK_TEXT bool recording_is_locked_for_fork() noexcept {
  return mallard_thread.in_recording == 1 && mallard_thread.recording_locked_for_fork;
}

MALLARD_FORK_TEXT void after_fork_in_parent() noexcept {
  if (recording_is_locked_for_fork()) {
    mallard_thread.recording_locked_for_fork = false;
    live_after_fork();
    unwind::stacks_after_fork();
  }
  --mallard_thread.in_recording;
}

MALLARD_FORK_TEXT bool after_fork_in_child() noexcept {
  const bool interrupted_recording = mallard_thread.in_recording > 1;
  after_fork_in_parent();
  g_forked_ns = interrupted_recording ? os::monotonic_ns() : mallard_thread.fork_began_ns;
  latency_after_fork_in_child(g_forked_ns);
  reseed_after_fork();
  if (!interrupted_recording) return true;
  // Threads that are no more may have held other locks: this child is not recorded.
  g_recording.store(false);
  sampler_init(0);
  return false;
}

}  // namespace mallard::record
