// SPDX-License-Identifier: Apache-2.0
// What is adopted of another process's exact books: counts that its threads keep to themselves, and blocks.
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/attributes.hpp"
#include "record/exact/counts.hpp"
#include "record/exact/exact.hpp"
#include "record/exact/thread_record.hpp"
#include "record/record.hpp"
#include "record/site_table.hpp"
#include "tests/unit/other_recorded.hpp"

using namespace mallard;
using namespace mallard::record;

namespace {

constexpr std::uintptr_t kBegin = 0x72'0000'0000, kBlocks = 3000, kEnd = kBegin + kBlocks * 64;
const void* block(std::uintptr_t n) { return reinterpret_cast<const void*>(kBegin + n * 64); }
[[gnu::noinline]] void allocate(const void* p, std::size_t asked) { exact_alloc(p, asked, MALLARD_CALLER()); }
[[gnu::noinline]] void allocate_elsewhere(const void* p, std::size_t asked) { exact_alloc(p, asked, MALLARD_CALLER()); }

struct Truth {
  std::uint32_t sites, blocks, rows;
  ExactCounts all, of_site[64];
  ExactLive live[kBlocks];
  std::uint64_t since_ns;
  Peak peak;
  std::size_t sizes_of[64];
  std::uintptr_t second_row;
};

void read_books(Truth* to) {
  to->sites = site_count();
  to->all = exact_read({to->of_site, 64});
  to->since_ns = exact_since_ns();
  to->peak = exact_peak();
  to->rows = count_rows_end();
  for (std::uint32_t i = 0; i < to->sites && i < 64; ++i) {
    ExactSizes sizes[32];
    to->sizes_of[i] = exact_sizes(SiteId{i}, sizes);
  }
  exact_for_each_live(
      kBegin, kEnd,
      [](const ExactLive& b, void* opaque) {
        auto* truth = static_cast<Truth*>(opaque);
        truth->live[truth->blocks++] = b;
      },
      to);
}

bool equal(const ExactCounts& a, const ExactCounts& b) {
  return a.allocated_bytes == b.allocated_bytes && a.allocated_count == b.allocated_count &&
         a.freed_bytes == b.freed_bytes && a.freed_count == b.freed_count && a.temporary_count == b.temporary_count &&
         a.largest_bytes == b.largest_bytes && a.peak_bytes == b.peak_bytes && a.at_peak_bytes == b.at_peak_bytes;
}

void record_some() {
  if (!resume(1 << 20) || !exact_prepare()) _exit(1);
  exact_begin(true);
  for (std::uintptr_t n = 0; n < kBlocks; ++n) {
    if (n % 3) allocate(block(n), 10 + n % 40);
    else allocate_elsewhere(block(n), n == 999 ? (std::size_t{5} << 20) + 3 : 5000 + n % 7);
    if (n % 4 == 1) exact_release(block(n));
  }
  exact_release(block(kBlocks + 5));  // which nobody booked
}

void record_exactly(Truth* truth) {
  record_some();
  std::thread([] {  // which has ended: what it counted stays in its record
    for (std::uintptr_t n = 0; n < kBlocks; n += 8) {
      exact_release(block(n));
      allocate_elsewhere(block(n), 99);
    }
  }).join();
  // What threads without a record count stands in the rows themselves.
  for (std::uint32_t row = 1; row < count_rows_end(); ++row) add_to_count_row(count_row_at(row), {row, 2, row, 2, 1});
  truth->second_row = address_of(&count_row_at(2));
  read_books(truth);
}

int examine(const OtherParts& parts, const Truth* truth) {
  std::uint64_t torn = 9, unsure = 9;
  EXPECT(adopt(parts, &torn) && torn == 0);
  EXPECT(exact_adopt(parts, &unsure));
  EXPECT(unsure == 0);
  static Truth now{};
  read_books(&now);
  EXPECT(now.sites == truth->sites && now.rows == truth->rows);
  EXPECT(exact_since_start());
  EXPECT(now.since_ns == truth->since_ns && now.since_ns != 0);
  EXPECT(equal(now.all, truth->all));
  const std::uint64_t in_rows = 2 * (now.rows - 1);
  EXPECT(now.all.allocated_count == kBlocks + kBlocks / 8 + in_rows);
  EXPECT(thread_records_end() == 2);
  EXPECT(now.all.freed_count == kBlocks / 4 + kBlocks / 8 + in_rows);
  for (std::uint32_t i = 0; i < 64; ++i) {
    EXPECT(equal(now.of_site[i], truth->of_site[i]));
    EXPECT(now.sizes_of[i] == truth->sizes_of[i]);
  }
  EXPECT(now.peak.bytes == truth->peak.bytes && now.peak.at_ns == truth->peak.at_ns);
  EXPECT(exact_trouble().unknown_frees == 1);
  EXPECT(now.blocks == truth->blocks && now.blocks == kBlocks - kBlocks / 4);
  for (std::uint32_t i = 0; i < now.blocks; ++i)
    EXPECT(now.live[i].begin == truth->live[i].begin && now.live[i].asked_bytes == truth->live[i].asked_bytes &&
           now.live[i].site == truth->live[i].site);
  return 0;
}

/// \return what `examined` says of the books after `damage`
template <class Damage, class Examined>
int after(Damage damage, Examined examined) {
  return examined_from_outside<Truth>(
      [damage](Truth* truth) {
        record_exactly(truth);
        damage();
      },
      examined);
}
int is_refused(const OtherParts& parts, const Truth*) {
  std::uint64_t torn = 0, unsure = 0;
  EXPECT(adopt(parts, &torn));
  return exact_adopt(parts, &unsure) ? 0 : 1;
}
int how_many_unsure(const OtherParts& parts, const Truth*) {
  std::uint64_t torn = 0, unsure = 0;
  EXPECT(adopt(parts, &torn));
  EXPECT(exact_adopt(parts, &unsure));
  return static_cast<int>(unsure);
}

using Number = std::atomic<std::uint32_t>;

/// How many rows are unsure if the word `offset` into the second one changes so often while it is read, and its value.
struct Changed {
  std::uint64_t unsure, value;
};
template <class Read>
int changed(const OtherParts& parts, const Truth* truth, std::size_t offset, std::uint64_t changes, Read read,
            Changed* to) {
  const ChangingProcess process(parts.process(), truth->second_row + offset, changes);
  const OwnParts own = own_parts();
  const OtherParts changing(process, address_of(own.begin), static_cast<std::uint64_t>(own.end - own.begin));
  std::uint64_t torn = 0;
  EXPECT(adopt(parts, &torn));
  EXPECT(exact_adopt(changing, &to->unsure));
  to->value = read();
  return 0;
}

}  // namespace

TEST_CASE("adopted: exact counts of each thread and site, and the blocks, are as the other process has them") {
  CHECK(examined_from_outside<Truth>(record_exactly, examine) == 0);
}

TEST_CASE("adopted: exact books are adopted again, and over books of one's own") {
  CHECK(examined_from_outside<Truth>(record_exactly, [](const OtherParts& parts, const Truth* truth) {
          record_some();
          if (const int line = examine(parts, truth)) return line;
          std::uint64_t torn = 0, unsure = 0;
          EXPECT(adopt(parts, &torn) && exact_adopt(parts, &unsure) && unsure == 0);
          ExactCounts sites[64];
          EXPECT(equal(exact_read(sites), truth->all));
          return 0;
        }) == 0);
}

TEST_CASE("adopted: of a process without exact books there are none") {
  CHECK(examined_from_outside<Truth>(
            [](Truth*) {
              if (!resume(1 << 20)) _exit(1);
            },
            [](const OtherParts& parts, const Truth*) {
              record_some();
              std::uint64_t torn = 0, unsure = 9;
              EXPECT(adopt(parts, &torn));
              EXPECT(exact_adopt(parts, &unsure));
              EXPECT(unsure == 0);
              EXPECT(exact_since_ns() == 0);
              int met = 0;
              exact_for_each_live(kBegin, kEnd, [](const ExactLive&, void* n) { ++*static_cast<int*>(n); }, &met);
              EXPECT(met == 0);
              return 0;
            }) == 0);
}

TEST_CASE("adopted: exact books that have ended keep what they counted") {
  CHECK(after([] { exact_end(); },
              [](const OtherParts& parts, const Truth* truth) {
                std::uint64_t torn = 0, unsure = 9;
                EXPECT(adopt(parts, &torn) && exact_adopt(parts, &unsure) && unsure == 0);
                EXPECT(!exact_is_on());
                ExactCounts sites[64];
                EXPECT(equal(exact_read(sites), truth->all));
                return 0;
              }) == 0);
}

TEST_CASE("adopted: exact tables that say they hold more than there can be are refused") {
  CHECK(after([] {}, is_refused) == 0);
  CHECK(after([] { part_of_own<Number>("count_rows_end") = kMaxCountRows + 1; }, is_refused) == 1);
  CHECK(after([] { part_of_own<Number>("counted_sites_end") = kMaxSites + 1; }, is_refused) == 1);
  CHECK(after([] { part_of_own<Number>("thread_records_end") = kMaxThreadRecords + 1; }, is_refused) == 1);
}

TEST_CASE("adopted: rows whose counts are on the move are unsure, all of a place") {
  const auto moves = [](std::uint32_t place) {
    return [place] { thread_record_at(0).counts[place].version.store(7); };
  };
  CHECK(after(moves(1), how_many_unsure) == 1);
  CHECK(after(moves(kCountEntries - 1), how_many_unsure) == 0);  // no row has that place
  CHECK(after([] { thread_record_at(1).counts[1].version.store(7); }, how_many_unsure) == 1);
  CHECK(after([] { thread_record_at(0).counts[1].version.store(8); }, how_many_unsure) == 0);
  CHECK(after(
            [] {
              exact_end();
              thread_record_at(0).counts[1].version.store(7);
            },
            how_many_unsure) == 1);
  // A record of earlier books counts nothing, whatever it says.
  CHECK(after(
            [] {
              ThreadRecord& record = thread_record_at(0);
              record.counts[1].version.store(7);
              record.epoch.store(record.epoch.load() - 2);
            },
            how_many_unsure) == 0);
}

TEST_CASE("adopted: a row that changes while it is read is read again, four times at most") {
  CHECK(examined_from_outside<Truth>(record_exactly, [](const OtherParts& parts, const Truth* truth) {
          constexpr std::size_t kFirstCount = offsetof(CountRow, allocated_bytes);
          for (std::size_t i = 0; i < 5; ++i) {
            const auto read = [i] {
              const CountRow& row = count_row_at(2);
              const std::atomic<std::uint64_t>* counts[] = {&row.allocated_bytes, &row.allocated_count, &row.freed_bytes,
                                                            &row.freed_count, &row.temporary_count};
              return counts[i]->load();
            };
            Changed still{}, once{}, long_enough{}, all_along{};
            const std::size_t at = kFirstCount + i * sizeof(std::uint64_t);
            if (const int line = changed(parts, truth, at, 0, read, &still)) return line;
            if (const int line = changed(parts, truth, at, 1, read, &once)) return line;
            // It is read twice each time: the last two agree, or nothing does.
            if (const int line = changed(parts, truth, at, 6, read, &long_enough)) return line;
            if (const int line = changed(parts, truth, at, 7, read, &all_along)) return line;
            EXPECT(still.unsure == 0 && once.unsure == 0 && long_enough.unsure == 0 && all_along.unsure == 1);
            EXPECT(once.value == still.value + 1);
            EXPECT(long_enough.value == still.value + 6);
          }
          return 0;
        }) == 0);
}

TEST_CASE("adopted: nothing is told of exact books of which one copy fails") {
  CHECK(examined_from_outside<Truth>(record_exactly, [](const OtherParts& parts, const Truth*) {
          std::uint64_t torn = 0;
          EXPECT(adopt(parts, &torn));
          return is_refused_unless_whole(parts, [](const OtherParts& failing) {
            std::uint64_t unsure = 0;
            return exact_adopt(failing, &unsure);
          });
        }) == 0);
}
