// SPDX-License-Identifier: Apache-2.0
// Booking. A thread counts in its own record; a signal handler that interrupted its thread in here, and a
// thread for which there is no record, count on the shared tables directly.
#include "record/exact/exact.hpp"

#include "base/os.hpp"
#include "base/parts.hpp"
#include "record/exact/adopt_counts.hpp"
#include "record/exact/counts.hpp"
#include "record/exact/incremental.hpp"
#include "record/exact/path_counts.hpp"
#include "record/exact/shadow.hpp"
#include "record/exact/state.hpp"
#include "record/exact/thread_record.hpp"

namespace mallard::record {

constinit ExactOdd g_exact_odd{};
MALLARD_PART(exact_odd, g_exact_odd);

namespace {

constinit std::atomic<std::uint64_t> g_since_ns{0};
constinit std::atomic<bool> g_since_start{false};
constinit bool g_ready = false;
MALLARD_PART(exact_since_ns, g_since_ns);
MALLARD_PART(exact_since_start, g_since_start);
MALLARD_FORK_DATA constinit Lock g_fork_lock;
MALLARD_FORK_DATA constinit std::uint32_t g_locked_records = 0;  // by the thread that forks

void bump(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }

/// The calling thread's record, if it is at hand: only where the books are on, and no handler interrupted
/// them.
inline ThreadRecord* record_at_hand(std::uint32_t epoch) noexcept {
  if (MALLARD_UNLIKELY(mallard_thread.in_recording != 1)) return nullptr;
  auto* record = static_cast<ThreadRecord*>(mallard_thread.exact_record);
  return MALLARD_LIKELY(record && record->epoch.load(std::memory_order_relaxed) == epoch) ? record : nullptr;
}

/// The calling thread's record; nullptr: count directly.
MALLARD_NOINLINE ThreadRecord* my_record(std::uint32_t epoch) noexcept {
  if (MALLARD_UNLIKELY(mallard_thread.in_recording != 1)) return nullptr;  // interrupted its own booking
  return find_thread_record(epoch);
}

MALLARD_NOINLINE std::uint32_t look_up_row(ThreadRecord& record, std::uint64_t key, RangeId range) noexcept {
  std::uint32_t row = path_row(key);
  if (!row) {
    const SiteId site = site_of_path(*stack_memory_of(&record));
    row = find_count_row(site, range);
    // What stands on the overflow site instead must look again.
    if (!row || site == kOverflowSite || count_row_at(row).site != static_cast<std::uint32_t>(site))
      return row;
    keep_path_row(key, row);
  }
  write_first(record, row);
  record.finder[place_in_finder(key)] = key << kFoundRowBits | row;
  return row;
}

/// The row of the newest stack.
inline std::uint32_t count_row_of(ThreadRecord& record, PathHash path, RangeId range) noexcept {
  const std::uint64_t key = path ^ (range + 1) * 0x9e3779b97f4a7c15u;
  const std::uint64_t row = record.finder[place_in_finder(key)] ^ key << kFoundRowBits;
  if (MALLARD_LIKELY(row < 1u << kFoundRowBits)) return static_cast<std::uint32_t>(row);
  return look_up_row(record, key, range);
}

template <typename Delta>
MALLARD_NOINLINE void settle(Delta& own, Level& shared) noexcept {
  add_to_level(shared, own.delta.load(std::memory_order_relaxed), own.most.load(std::memory_order_relaxed));
  own.most.store(0, std::memory_order_relaxed);
  own.delta.store(0, std::memory_order_release);
}

/// Tells the process what the thread's blocks come to. At a new peak its sites are told first, so that they
/// have at the peak what they had; what other threads have not told yet is missing there.
MALLARD_NOINLINE void settle_process(ThreadRecord& record) noexcept {
  settle(record, process_level());
  const std::int64_t live = process_level().live_bytes.load(std::memory_order_relaxed);
  if (!process_peak().is_new(live)) return;
  for (SiteEntry& entry : record.sites)
    if (const std::uint32_t site = entry.site.load(std::memory_order_relaxed))
      settle(entry, level_of(site - 1));
  process_peak().raise(live);
}

/// Live bytes of a site or of the process, as far as this thread moved them. What is live in the process is
/// the last that is counted of a block: the release there hands all of it to whoever takes the record over.
/// \return whether that is so much by now that it has to be settled
template <typename Delta>
inline bool raise_live(Delta& own, std::int64_t bytes) noexcept {
  const std::int64_t delta = own.delta.load(std::memory_order_relaxed) + bytes;
  own.delta.store(delta, std::memory_order_release);
  if (delta > own.most.load(std::memory_order_relaxed)) own.most.store(delta, std::memory_order_relaxed);
  return MALLARD_UNLIKELY(delta > kMostUnseenBytes);
}

template <typename Delta>
inline bool lower_live(Delta& own, std::int64_t bytes) noexcept {
  const std::int64_t delta = own.delta.load(std::memory_order_relaxed) - bytes;
  own.delta.store(delta, std::memory_order_release);
  return MALLARD_UNLIKELY(delta < -kMostUnseenBytes);
}

inline void count_alloc(ThreadRecord& record, std::uint32_t index, std::uint64_t bytes) noexcept {
  const auto live = static_cast<std::int64_t>(bytes);
  CountEntry& entry = count_entry(record, index);
  add_own(entry.allocated_bytes, bytes);
  add_own(entry.allocated_count, std::uint64_t{1});
  SiteEntry& site = site_entry(record, entry.site);
  if (MALLARD_UNLIKELY(bytes > site.largest_bytes.load(std::memory_order_relaxed)))
    site.largest_bytes.store(bytes, std::memory_order_relaxed);
  if (raise_live(site, live)) settle(site, level_of(entry.site));
  if (raise_live(record, live)) settle_process(record);
}

inline void count_free(ThreadRecord& record, CountEntry& entry, std::uint64_t bytes,
                       bool temporary) noexcept {
  add_own(entry.freed_bytes, bytes);
  add_own(entry.freed_count, std::uint64_t{1});
  if (temporary) add_own(entry.temporary_count, std::uint64_t{1});
  const auto live = static_cast<std::int64_t>(bytes);
  SiteEntry& site = site_entry(record, entry.site);
  if (lower_live(site, live)) settle(site, level_of(entry.site));
  if (lower_live(record, live)) settle(record, process_level());
}

/// Without a record.
void count_alloc(std::uint32_t index, std::uint64_t bytes) noexcept {
  const auto live = static_cast<std::int64_t>(bytes);
  CountRow& row = count_row_at(index);
  add_to_count_row(row, {bytes, 1, 0, 0, 0});
  raise_to(level_of(row.site).largest_bytes, bytes);
  add_to_level(level_of(row.site), live, live);
  add_to_level(process_level(), live, live);
  process_peak().raise(process_level().live_bytes.load(std::memory_order_relaxed));
}

void count_free(std::uint32_t index, std::uint64_t bytes) noexcept {
  const auto live = static_cast<std::int64_t>(bytes);
  CountRow& row = count_row_at(index);
  add_to_count_row(row, {0, 0, bytes, 1, 0});
  add_to_level(level_of(row.site), -live, 0);
  add_to_level(process_level(), -live, 0);
}

/// Takes a free back.
void count_back(ThreadRecord* record, const ExactBlock& block) noexcept {
  const std::uint64_t bytes = block.asked_bytes, temporary = block.temporary;
  const auto live = static_cast<std::int64_t>(bytes);
  if (record) {
    CountEntry& entry = count_entry(*record, block.row);
    add_own(entry.freed_bytes, -bytes);
    add_own(entry.freed_count, ~std::uint64_t{0});
    add_own(entry.temporary_count, -temporary);
    SiteEntry& site = site_entry(*record, entry.site);
    if (raise_live(site, live)) settle(site, level_of(entry.site));
    if (raise_live(*record, live)) settle_process(*record);
    return;
  }
  CountRow& row = count_row_at(block.row);
  add_to_count_row(row, {0, 0, -bytes, ~std::uint64_t{0}, -temporary});
  add_to_level(level_of(row.site), live, live);
  add_to_level(process_level(), live, live);
}

/// A block whose free was not seen, and whose address has come again.
void count_missed(ThreadRecord* record, const ShadowBlock& old) noexcept {
  bump(g_exact_odd.missed_frees);
  const RangeId range = count_row_at(old.row).range;
  const std::uint64_t bytes = range_begin(range) + old.low;
  if (record) count_free(*record, count_entry(*record, old.row), bytes, false);
  else count_free(old.row, bytes);
}

/// Whatever is not the plain case.
MALLARD_NOINLINE bool put(ThreadRecord* record, std::uintptr_t block, std::uint32_t row,
                          SizePlace size) noexcept {
  ShadowBlock old;
  switch (shadow_put(block, row, size.remainder, remainder_bits(size.range), &old)) {
    case Put::kNew:
      return true;
    case Put::kReplaced:
      count_missed(record, old);
      return true;
    case Put::kNoMemory:
      break;
  }
  bump(g_exact_odd.unbooked);
  return false;
}

/// The books reserve some 360 MiB whatever happens: they may be a quarter of what a limit allows.
constexpr std::uint64_t kLeastAddressLimit = 1536u << 20;

}  // namespace

bool exact_prepare() noexcept {
  g_ready = g_ready || (os::address_limit() >= kLeastAddressLimit && shadow_init() && counts_init() &&
                        path_counts_init() && thread_records_init());
  if (!g_ready) {  // what little there is belongs to the host
    thread_records_release();
    path_counts_release();
    counts_release();
    shadow_release();
  }
  return g_ready;
}

void exact_begin(bool with_the_process) noexcept {
  exact_end();
  if (g_since_ns.load(std::memory_order_relaxed) != 0) shadow_clear();  // of earlier books
  counts_clear();
  g_exact_odd.clear();
  g_since_start.store(with_the_process, std::memory_order_relaxed);
  g_since_ns.store(os::monotonic_ns(), std::memory_order_relaxed);
  g_exact_epoch.fetch_add(1, std::memory_order_release);
}

bool exact_since_start() noexcept { return g_since_start.load(std::memory_order_relaxed); }
bool exact_is_on() noexcept { return g_exact_epoch.load(std::memory_order_acquire) & 1; }

void exact_end() noexcept {
  if (exact_is_on()) g_exact_epoch.fetch_add(1, std::memory_order_release);
}

bool exact_adopt(const OtherParts& parts, std::uint64_t* unsure) noexcept {
  *unsure = 0;
  return parts.adopt(g_since_ns) && parts.adopt(g_since_start) && parts.adopt(g_exact_odd) &&
         path_counts_adopt(parts) && shadow_adopt(parts) && adopt_counts(parts, unsure);
}

std::uint64_t exact_since_ns() noexcept { return g_since_ns.load(std::memory_order_relaxed); }

namespace {

MALLARD_NOINLINE void alloc_without_record(const void* p, std::size_t asked_bytes,
                                           const arch::Caller& caller) noexcept {
  const SiteId site = capture_site(caller, nullptr);
  const SizePlace size = place_of_size(asked_bytes);
  const std::uint32_t row = find_count_row(site, size.range);
  if (!row) return bump(g_exact_odd.unbooked);
  if (put(nullptr, address_of(p), row, size)) count_alloc(row, asked_bytes);
}

/// What the shadow's word does not hold of the size of a block of this range.
inline std::uint64_t take_high(std::uintptr_t block, RangeId range) noexcept {
  return MALLARD_LIKELY(!has_remainder_above(range, kLowBits))
             ? 0
             : shadow_take_high(block, remainder_bits(range));
}

/// \return what was taken off the books, if somebody wants to know
[[gnu::always_inline]] inline ExactBlock take_off(std::uintptr_t p) noexcept {
  const std::uint32_t epoch = g_exact_epoch.load(std::memory_order_acquire);
  InRecording in_recording;
  ThreadRecord* record = record_at_hand(epoch);
  if (MALLARD_UNLIKELY(!record)) {
    if (p == 0 || !(epoch & 1)) return {};
    record = my_record(epoch);
  }
  ShadowBlock block;
  if (MALLARD_UNLIKELY(!shadow_take(p, &block))) {
    if (p == 0) return {};
    if (record) add_own(record->unknown_frees, std::uint64_t{1});
    else bump(g_exact_odd.unknown_frees);
    return {};
  }
  if (MALLARD_UNLIKELY(!record)) {
    const CountRow& row = count_row_at(block.row);
    const std::uint64_t bytes = range_begin(row.range) + block.low + take_high(p, row.range);
    count_free(block.row, bytes);
    return {SiteId{row.site}, block.row, bytes, false};
  }
  CountEntry& entry = count_entry(*record, block.row);
  const std::uint64_t bytes = entry.range_begins + block.low + take_high(p, entry.range);
  const bool temporary = record->last_block.load(std::memory_order_relaxed) == p;
  if (temporary) record->last_block.store(0, std::memory_order_relaxed);
  const ExactBlock taken{SiteId{entry.site}, block.row, bytes, temporary};
  count_free(*record, entry, bytes, temporary);  // nothing of the record is read behind it: see raise_live()
  return taken;
}

}  // namespace

void exact_alloc(const void* p, std::size_t asked_bytes, const arch::Caller& caller) noexcept {
  const std::uint32_t epoch = g_exact_epoch.load(std::memory_order_acquire);
  if (MALLARD_UNLIKELY(!p || !(epoch & 1))) return;
  InRecording in_recording;
  ThreadRecord* record = record_at_hand(epoch);
  if (MALLARD_UNLIKELY(!record) && !(record = my_record(epoch)))
    return alloc_without_record(p, asked_bytes, caller);
  const std::uintptr_t block = address_of(p);
  shadow::AtomicWord* word = shadow_expect(block);
  const PathHash path = capture_path(caller, *stack_memory_of(record));
  const SizePlace size = place_of_size(asked_bytes);
  const std::uint32_t row = MALLARD_LIKELY(path != 0) ? count_row_of(*record, path, size.range)
                                                      : find_count_row(capture_in_full(caller), size.range);
  if (MALLARD_UNLIKELY(!row)) return bump(g_exact_odd.unbooked);
  if (MALLARD_UNLIKELY(has_remainder_above(size.range, kLowBits) ||
                       !shadow_put_at(word, block, row, size.remainder)) &&
      !put(record, block, row, size))
    return;
  count_alloc(*record, row, asked_bytes);
  record->last_block.store(block, std::memory_order_relaxed);
}

ExactBlock exact_free(const void* p) noexcept { return take_off(address_of(p)); }
void exact_release(const void* p) noexcept { take_off(address_of(p)); }

void exact_restore(const void* p, const ExactBlock& saved) noexcept {
  const std::uint32_t epoch = g_exact_epoch.load(std::memory_order_acquire);
  if (saved.row == 0 || !(epoch & 1)) return;
  InRecording in_recording;
  ThreadRecord* record = record_at_hand(epoch);
  if (!record) record = my_record(epoch);
  if (!put(record, address_of(p), saved.row, place_of_size(saved.asked_bytes))) return;
  count_back(record, saved);
  if (record && saved.temporary) record->last_block.store(address_of(p), std::memory_order_relaxed);
}

MALLARD_FORK_TEXT void exact_before_fork() noexcept {
  g_fork_lock.lock();
  g_locked_records = thread_records_before_fork();
}

MALLARD_FORK_TEXT void exact_after_fork_in_parent() noexcept {
  thread_records_after_fork_in_parent(g_locked_records);
  g_fork_lock.unlock();
}

MALLARD_FORK_TEXT void exact_after_fork_in_child(bool is_recorded) noexcept {
  if (!is_recorded) exact_end();
  thread_records_after_fork_in_child();
}

}  // namespace mallard::record
