// SPDX-License-Identifier: Apache-2.0
#include "record/exact/thread_record.hpp"

#include <cstddef>

#include "base/os.hpp"
#include "base/reservation.hpp"
#include "record/published.hpp"

namespace mallard::record {
namespace {

/// More records are opened by this much, or by a part of those there are: with thousands of threads that is
/// rare.
constexpr std::size_t kStepBytes = 1024 * 1024, kPartOpened = 8;

/// The bytes of a record with its StackMemory. All records lie alike on their pages.
constexpr std::size_t kStride = align_up(kRecordAt + sizeof(ThreadRecord), kPageBytes);
constexpr std::size_t kAllBytes = kStride * kMaxThreadRecords;

constinit Reservation g_space;
constinit char* g_records = nullptr;  ///< where it begins
constinit std::atomic<std::size_t> g_open_bytes{0};
constinit std::atomic<bool> g_is_opening{false};
constinit std::atomic<std::uint32_t> g_end{0};
constinit std::atomic<std::uint64_t> g_turned_away{0};
constinit std::atomic<std::uint32_t> g_looked_at{0};
constinit std::atomic<std::int32_t> g_before_next_look{
    0};  // threads that take a new record without a look for another one
MALLARD_PART(thread_records, g_records);
MALLARD_PART(thread_records_end, g_end);

/// What a thread without a record has in its place, so that it does not look again and again. It has no epoch
/// of books: whoever has it at hand sees that, as of a record of earlier books. Its pages are never written.
constinit ThreadRecord g_none{};

/// Opens the first `count` records. One thread opens more before they are needed, and others need not wait
/// with it for the kernel. \return false if the kernel refused
bool open(std::uint32_t count) noexcept {
  const std::size_t needed = count * kStride, opened = g_open_bytes.load(std::memory_order_acquire);
  if (MALLARD_LIKELY(needed + kStepBytes / 2 <= opened)) return true;
  if (needed <= opened && g_is_opening.exchange(true, std::memory_order_relaxed)) return true;
  std::size_t bytes = align_up((needed + kStepBytes / 2) * (kPartOpened + 1) / kPartOpened, kStepBytes);
  if (const std::size_t all = g_space.bytes(); bytes > all) bytes = all;
  const bool is_open = needed <= bytes && g_space.open(bytes);
  std::size_t now = g_open_bytes.load(std::memory_order_relaxed);
  while (is_open && now < bytes &&
         !g_open_bytes.compare_exchange_weak(now, bytes, std::memory_order_release)) {
  }
  g_is_opening.store(false, std::memory_order_relaxed);
  return is_open || needed <= opened;
}

bool is_current(const ThreadRecord& record) noexcept {
  return record.epoch.load(std::memory_order_relaxed) == g_exact_epoch.load(std::memory_order_acquire);
}

template <typename T>
T read_and_clear(std::atomic<T>& from) noexcept {
  const T value = from.load(std::memory_order_relaxed);
  from.store(0, std::memory_order_relaxed);
  return value;
}

/// The record's lock is held, or its owner is no more.
void move_out(CountEntry& entry, bool keep) noexcept {
  const std::uint32_t version = entry.version.load(std::memory_order_relaxed);
  entry.version.store(version | 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  const Counts counts{read_and_clear(entry.allocated_bytes), read_and_clear(entry.allocated_count),
                      read_and_clear(entry.freed_bytes), read_and_clear(entry.freed_count),
                      read_and_clear(entry.temporary_count)};
  if (const std::uint32_t row = read_and_clear(entry.row); row && keep)
    add_to_count_row(count_row_at(row), counts);
  entry.version.store((version | 1) + 1, std::memory_order_release);
}

void move_out(SiteEntry& entry, bool keep) noexcept {
  const std::int64_t delta = read_and_clear(entry.delta), most = read_and_clear(entry.most);
  const std::uint64_t largest = read_and_clear(entry.largest_bytes);
  const std::uint32_t site = read_and_clear(entry.site);
  if (!site || !keep) return;
  add_to_level(level_of(site - 1), delta, most);
  raise_to(level_of(site - 1).largest_bytes, largest);
}

/// Empties a record; its counts go where they belong, or nowhere if they are of books that have ended.
void move_all_out(ThreadRecord& record) noexcept {
  const bool keep = is_current(record);
  for (CountEntry& entry : record.counts)
    if (entry.row.load(std::memory_order_relaxed)) move_out(entry, keep);
  for (SiteEntry& entry : record.sites)
    if (entry.site.load(std::memory_order_relaxed)) move_out(entry, keep);
  const std::int64_t delta = read_and_clear(record.delta), most = read_and_clear(record.most);
  if (keep) add_to_level(process_level(), delta, most);
  if (!keep) record.unknown_frees.store(0, std::memory_order_relaxed);
  record.last_block.store(0, std::memory_order_relaxed);
}

/// The owners of the records: the address of a thread's mallard_thread, 0 = nobody, and, in the bits below,
/// which claim this is: one that was decided on what an earlier claim's owner looked like fails. Side by
/// side, as each new thread looks for the record that an earlier one with its address has left.
constexpr std::uintptr_t kClaims = alignof(ThreadState) - 1;
static_assert(kClaims == 7);
using Owner = std::atomic<std::uintptr_t>;
MALLARD_LARGE_DATA constinit Owner g_owners[kMaxThreadRecords]{};

void publish() noexcept {
  static_assert(offsetof(CountEntry, freed_count) ==
                offsetof(CountEntry, allocated_bytes) + (Published::kCounts - 1) * sizeof(std::uint64_t));
  mallard_published.threads = {address_of(g_records) + kRecordAt,
                               address_of(&g_end),
                               address_of(&g_exact_epoch),
                               kStride,
                               offsetof(ThreadRecord, epoch),
                               offsetof(ThreadRecord, counts),
                               kCountEntries,
                               sizeof(CountEntry),
                               offsetof(CountEntry, version),
                               offsetof(CountEntry, row),
                               offsetof(CountEntry, allocated_bytes)};
}

/// Whether the thread is gone, as far as memory tells: glibc keeps some stacks, with their TLS, for new
/// threads. Where the kernel refuses to copy memory (a seccomp filter), nobody is known to be gone.
bool owner_is_gone(const ThreadRecord& record, std::uintptr_t owner) noexcept {
  if (owner == 0) return true;
  ThreadState state;
  switch (os::copy(&state, owner & ~kClaims, sizeof state)) {
    case os::Copied::kAll:
      return state.exact_record != &record;
    case os::Copied::kUnreadable:
      return true;
    case os::Copied::kRefused:
      break;
  }
  return false;
}

/// Makes the calling thread the owner in `before`'s place. The thread names the record first, so that whoever
/// asks from then on finds it alive. That the last owner is gone, and all that it wrote is there, follows
/// from the kernel, which clears a thread's id as the last thing, and glibc, which reuses or unmaps the stack
/// only then; with `delta` the same order stands in the language's terms.
bool claim(std::uint32_t index, std::uintptr_t before) noexcept {
  ThreadRecord& record = thread_record_at(index);
  const std::uintptr_t me = reinterpret_cast<std::uintptr_t>(&mallard_thread) | ((before + 1) & kClaims);
  mallard_thread.exact_record = &record;
  if (g_owners[index].compare_exchange_strong(before, me, std::memory_order_acq_rel)) {
    record.last_block.store(0, std::memory_order_relaxed);  // the first access writes: see write_first()
    record.delta.load(std::memory_order_acquire);
    return true;
  }
  mallard_thread.exact_record = nullptr;
  return false;
}

/// A look asks the kernel, and waits there for whoever maps memory. So one thread of sixteen looks; but after
/// a look that found a record the next thread looks, too, as others may have ended with the owner. Where
/// there is no room for more records, each thread looks.
ThreadRecord* take_over_a_dead_ones() noexcept {
  constexpr std::uint32_t kFewEnough = 64, kTries = 8;
  constexpr std::int32_t kThreadsForALook = 16;
  const std::uint32_t end = thread_records_end();
  if (end < kFewEnough) return nullptr;
  if (end < kMaxThreadRecords) {
    if (g_before_next_look.fetch_sub(1, std::memory_order_relaxed) > 0) return nullptr;
    g_before_next_look.store(kThreadsForALook - 1, std::memory_order_relaxed);
  }
  for (std::uint32_t i = 0; i < kTries; ++i) {
    const std::uint32_t index = g_looked_at.fetch_add(1, std::memory_order_relaxed) % end;
    const std::uintptr_t owner = g_owners[index].load(std::memory_order_acquire);
    if (!owner_is_gone(thread_record_at(index), owner) || !claim(index, owner)) continue;
    g_before_next_look.store(0, std::memory_order_relaxed);
    return &thread_record_at(index);
  }
  return nullptr;
}

ThreadRecord* take_record() noexcept {
  const auto me = reinterpret_cast<std::uintptr_t>(&mallard_thread);
  for (std::uint32_t i = 0; i < thread_records_end(); ++i) {
    const std::uintptr_t owner = g_owners[i].load(std::memory_order_acquire);
    if ((owner & ~kClaims) == me && claim(i, owner)) return &thread_record_at(i);
  }
  if (ThreadRecord* record = take_over_a_dead_ones()) return record;
  for (;;) {
    std::uint32_t index = g_end.load(std::memory_order_relaxed);
    do {
      if (index >= kMaxThreadRecords || !open(index + 1)) return nullptr;
    } while (!g_end.compare_exchange_weak(index, index + 1, std::memory_order_acq_rel));
    // From here on others may find it without an owner, and be first: then the next one.
    if (claim(index, 0)) return &thread_record_at(index);
  }
}

}  // namespace

constinit std::atomic<std::uint32_t> g_exact_epoch{0};
MALLARD_PART(exact_epoch, g_exact_epoch);

bool thread_records_init() noexcept {
  if (g_records) return true;
  if (!g_space.init(kAllBytes)) return false;
  g_records = g_space.data();
  publish();
  return true;
}

void thread_records_release() noexcept {
  mallard_published.threads = {};
  if (g_records) g_space.release();
  g_records = nullptr;
  g_open_bytes.store(0, std::memory_order_relaxed);
}

ThreadRecord* find_thread_record(std::uint32_t epoch) noexcept {
  void*& mine = mallard_thread.exact_record;
  if (mine == &g_none) return nullptr;
  auto* record = static_cast<ThreadRecord*>(mine);
  if (!record) record = take_record();
  if (!record) {
    g_turned_away.fetch_add(1, std::memory_order_relaxed);
    mine = &g_none;
    return nullptr;
  }
  record->lock.lock();
  if (record->epoch.load(std::memory_order_relaxed) != 0) {
    move_all_out(*record);
  } else {  // nobody has counted in it: its pages need not be read, and are written first as write_first()
            // says
    record->finder[0] = 0;
    begin_stack_memory(*stack_memory_of(record));
  }
  record->epoch.store(epoch, std::memory_order_release);
  record->lock.unlock();
  mine = record;
  return record;
}

MALLARD_NOINLINE CountEntry& replace_count_entry(ThreadRecord& record, std::uint32_t row) noexcept {
  CountEntry& entry = record.counts[row % kCountEntries];
  LockGuard guard(record.lock);
  move_out(entry, is_current(record));
  entry.site = count_row_at(row).site;
  entry.range = count_row_at(row).range;
  entry.range_begins = range_begin(entry.range);
  entry.row.store(row, std::memory_order_relaxed);
  return entry;
}

MALLARD_NOINLINE SiteEntry& replace_site_entry(ThreadRecord& record, std::uint32_t site) noexcept {
  SiteEntry& entry = record.sites[site % kSiteEntries];
  LockGuard guard(record.lock);
  move_out(entry, is_current(record));
  entry.site.store(site + 1, std::memory_order_relaxed);
  return entry;
}

std::uint32_t thread_records_end() noexcept { return g_end.load(std::memory_order_acquire); }
ThreadRecord& thread_record_at(std::uint32_t index) noexcept {
  return *reinterpret_cast<ThreadRecord*>(g_records + index * kStride + kRecordAt);
}
bool thread_records_adopt(const OtherParts& parts) noexcept {
  const char* theirs = nullptr;
  std::uint32_t end = 0;
  if (!parts.adopt(g_exact_epoch) || !parts.copy_of(g_records, &theirs) || !parts.copy_of(g_end, &end) ||
      end > kMaxThreadRecords)
    return false;
  thread_records_release();
  g_end.store(0, std::memory_order_relaxed);
  if (!theirs) return true;
  if (!g_space.init(kAllBytes)) return false;
  g_records = g_space.data();
  if (!open(end) || !parts.copy_in_memory(g_records, address_of(theirs), end * kStride)) return false;
  g_end.store(end, std::memory_order_relaxed);
  return true;
}

std::uint64_t threads_without_record() noexcept { return g_turned_away.load(std::memory_order_relaxed); }
std::uint64_t thread_records_own_bytes() noexcept {
  return g_records ? os::resident_bytes(g_records, thread_records_end() * kStride) : 0;
}

MALLARD_FORK_TEXT std::uint32_t thread_records_before_fork() noexcept {
  const std::uint32_t end = thread_records_end();
  for (std::uint32_t i = 0; i < end; ++i) thread_record_at(i).lock.lock();
  return end;
}

MALLARD_FORK_TEXT void thread_records_after_fork_in_parent(std::uint32_t locked) noexcept {
  for (std::uint32_t i = 0; i < locked; ++i) thread_record_at(i).lock.unlock();
}

MALLARD_FORK_TEXT void thread_records_after_fork_in_child() noexcept {
  for (std::uint32_t i = 0; i < thread_records_end(); ++i) {
    ThreadRecord& record = thread_record_at(i);
    if (&record == mallard_thread.exact_record) continue;
    move_all_out(record);
    g_owners[i].store(0, std::memory_order_release);
  }
}

}  // namespace mallard::record
