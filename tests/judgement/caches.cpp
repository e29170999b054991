// SPDX-License-Identifier: Apache-2.0
// Healthy programs that hold data: loaded once, loading, caches that fill, are full and turn over, data that
// moves from one call site to another. While data still comes, nobody can tell it from a leak.
#include "series.hpp"

using namespace judgement;

SITE_FUNCTION(make_entry, malloc(size))
SITE_FUNCTION(make_row, malloc(size))
SITE_FUNCTION(make_index, malloc(size))
SITE_FUNCTION(make_copy, malloc(size))
SITE_FUNCTION(make_temporary, malloc(size))

namespace {

constexpr std::size_t kEntry = 4000;
constexpr std::uint64_t kFull = 60 * kMega;
Random random_numbers(1);
Pool entries(1 << 20), others(1 << 20);

void work(std::uint64_t bytes) { pass_by(make_temporary, bytes, random_numbers); }

void loaded_once(Series& series) {
  entries.fill(make_entry, 300, kFull);
  while (series.goes_on()) series.report(steady());
}

void loaded_in_two_steps(Series& series) {
  entries.fill(make_entry, 300, 20 * kMega);
  series.report(steady());
  entries.fill(make_row, 900, 80 * kMega);
  while (series.goes_on()) series.report(steady());
}

void loaded_then_read(Series& series) {
  entries.fill(make_entry, 300, kFull);
  for (; series.goes_on(); work(20 * kMega)) series.report(steady());
}

// Loads for a third of the series, at an even pace, and then serves.
void loads_then_serves(Series& series) {
  const int loading = series.steps() / 3;
  while (series.goes_on()) {
    const bool loads = series.step() < loading;
    if (loads) entries.fill(make_row, 700, entries.live() + kFull / static_cast<std::uint64_t>(loading));
    work(16 * kMega);
    series.report(loads ? undecided("leak") : steady());
  }
}

// Every fifth step a file is loaded, three times in all.
void loads_now_and_then(Series& series) {
  while (series.goes_on()) {
    const bool loads = series.step() % 5 == 0 && series.step() < 15;
    if (loads) entries.fill(make_row, 700, entries.live() + 20 * kMega);
    work(16 * kMega);
    series.report(loads ? undecided("leak") : steady());
  }
}

/// Replaces entries until `bytes` were allocated.
template <typename Choose, typename Size>
void turn_over(Pool& pool, Allocate site, std::uint64_t bytes, Choose choose, Size size) {
  for (std::uint64_t done = 0; done < bytes;) {
    const std::size_t each = size();
    pool.replace(choose(), site, each);
    done += each;
  }
}

std::size_t oldest() {
  static std::size_t next = 0;
  return next++ % entries.size();
}
std::size_t anyone() { return random_numbers.below(entries.size()); }
std::size_t same_size() { return kEntry; }
std::size_t mixed_size() { return random_numbers.between(60, 2000); }

void fills_and_is_full(Series& series) {
  while (series.goes_on()) {
    const std::uint64_t before = entries.live();
    entries.fill(make_entry, kEntry, std::min(kFull, before + 15 * kMega));
    const std::uint64_t came = entries.live() - before;
    if (came < 15 * kMega) turn_over(entries, make_entry, 15 * kMega - came, oldest, same_size);
    series.report(came > 0 ? undecided("leak") : steady());
  }
}

void empty_at_first_report(Series& series) {
  series.report(healthy());
  entries.fill(make_entry, kEntry, kFull);
  for (; series.goes_on(); turn_over(entries, make_entry, 100 * kMega, oldest, same_size))
    series.report(steady());
}

void full_first_in_first_out(Series& series) {
  entries.fill(make_entry, kEntry, kFull);
  for (; series.goes_on(); turn_over(entries, make_entry, 25 * kMega, oldest, same_size))
    series.report(steady());
}

void full_random_replacement(Series& series) {
  while (entries.live() < kFull) entries.add(make_entry, mixed_size());
  for (; series.goes_on(); turn_over(entries, make_entry, 25 * kMega, anyone, mixed_size))
    series.report(steady());
}

void full_slow_turnover(Series& series) {
  while (entries.live() < kFull) entries.add(make_entry, mixed_size());
  for (; series.goes_on(); turn_over(entries, make_entry, 2 * kMega, anyone, mixed_size))
    series.report(steady());
}

// The least recently used of eight that are looked at goes; hits are three times as frequent as misses.
void full_least_recently_used(Series& series) {
  static std::uint32_t used[1 << 20];
  std::uint32_t now = 0;
  while (entries.live() < kFull) entries.add(make_entry, mixed_size());
  const auto victim = [&now] {
    std::size_t found = anyone();
    for (int i = 0; i < 8; i++) {
      const std::size_t other = anyone();
      if (used[other] < used[found]) found = other;
    }
    for (int i = 0; i < 3; i++) used[anyone()] = ++now;
    used[found] = ++now;
    return found;
  };
  for (; series.goes_on(); turn_over(entries, make_entry, 25 * kMega, victim, mixed_size))
    series.report(steady());
}

// Entries live for a while of their own: as many come as go.
void entries_expire(Series& series) {
  const auto tick = [] {
    entries.add(make_entry, mixed_size());
    if (entries.live() > kFull)
      while (entries.live() > kFull - (random_numbers.below(4) * kMega) / 2) entries.drop(anyone());
  };
  while (entries.live() < kFull) tick();
  while (series.goes_on()) {
    for (int i = 0; i < 20'000; i++) tick();
    series.report(steady());
  }
}

void cleared_when_full(Series& series) {
  while (series.goes_on()) {
    entries.clear();
    entries.fill(make_entry, kEntry, 40 * kMega);
    series.report(steady());
  }
}

void rebuilt_and_swapped(Series& series) {
  entries.fill(make_entry, 500, 40 * kMega);
  while (series.goes_on()) {
    Pool& fresh = series.step() % 2 ? entries : others;
    Pool& old = series.step() % 2 ? others : entries;
    fresh.fill(make_entry, 500, 40 * kMega);
    old.clear();
    series.report(steady());
  }
}

// 25 MiB by one call site in each of four steps; then half of it moves to another one; the total is flat.
void hand_over(Series& series) {
  for (int i = 0; i < 4; i++) {
    entries.fill(make_entry, kEntry, entries.live() + 20 * kMega);
    series.report(undecided("leak"));
  }
  for (std::size_t next = 0; series.goes_on(); series.report(steady()))
    for (std::size_t i = 0; i < 2000; i++) entries.replace(next++ % (entries.size() / 2), make_copy, kEntry);
}

void hand_over_among_four(Series& series) {
  constexpr Allocate kSites[] = {make_entry, make_row, make_index, make_copy};
  entries.fill(make_copy, kEntry, kFull);
  for (std::size_t round = 0; series.goes_on(); round++) {
    for (std::size_t i = 0; i < entries.size() / 3; i++)
      entries.replace(oldest(), kSites[round / 3 % 4], kEntry);
    series.report(steady());
  }
}

void one_grows_another_shrinks(Series& series) {
  entries.fill(make_entry, 800, kFull);
  while (series.goes_on()) {
    entries.shrink(entries.live() - std::min<std::uint64_t>(entries.live(), 3 * kMega));
    others.fill(make_row, 800, kFull - entries.live());
    work(8 * kMega);
    series.report(steady());
  }
}

// Each request interns one of 120,000 names: fewer and fewer are new.
void names_become_known(Series& series) {
  static bool known[120'000];
  while (series.goes_on()) {
    const std::uint64_t before = entries.live();
    for (int i = 0; i < 60'000; i++) {
      bool& name = known[random_numbers.below(std::size(known))];
      if (!name) entries.add(make_entry, 500);
      name = true;
    }
    work(20 * kMega);
    series.report(entries.live() - before > entries.live() / 20 ? undecided("leak") : steady());
  }
}

// A table of pointers that doubles as entries come, until all are there; lookups go on.
void table_doubles_until_full(Series& series) {
  Pool table(4);
  table.add(make_index, 64 << 10);
  while (series.goes_on()) {
    const std::uint64_t before = entries.live();
    if (before < 30 * kMega) entries.fill(make_entry, 100, before + 6 * kMega);
    for (std::size_t bytes = table.live(); bytes < entries.size() * 16; bytes *= 2)
      table.replace(0, make_index, bytes * 2);
    work(12 * kMega);
    series.report(entries.live() > before ? undecided("leak") : steady());
  }
}

constexpr Shape kShapes[] = {
    {"loaded_once", "healthy", 21, loaded_once},
    {"loaded_in_two_steps", "healthy", 25, loaded_in_two_steps},
    {"loaded_then_read", "healthy", 12, loaded_then_read},
    {"loads_then_serves", "healthy", 18, loads_then_serves},
    {"loads_now_and_then", "healthy", 24, loads_now_and_then},
    {"fills_and_is_full", "healthy", 14, fills_and_is_full},
    {"empty_at_first_report", "healthy", 6, empty_at_first_report},
    {"full_first_in_first_out", "healthy", 12, full_first_in_first_out},
    {"full_random_replacement", "healthy", 12, full_random_replacement},
    {"full_slow_turnover", "healthy", 12, full_slow_turnover},
    {"full_least_recently_used", "healthy", 12, full_least_recently_used},
    {"entries_expire", "healthy", 16, entries_expire},
    {"cleared_when_full", "healthy", 8, cleared_when_full},
    {"rebuilt_and_swapped", "healthy", 8, rebuilt_and_swapped},
    {"hand_over", "healthy", 12, hand_over},
    {"hand_over_among_four", "healthy", 16, hand_over_among_four},
    {"one_grows_another_shrinks", "healthy", 16, one_grows_another_shrinks},
    {"names_become_known", "healthy", 16, names_become_known},
    {"table_doubles_until_full", "healthy", 14, table_doubles_until_full},
};

}  // namespace

int main(int count, char** words) { return run_shape(kShapes, count, words); }
