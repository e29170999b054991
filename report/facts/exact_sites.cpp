// SPDX-License-Identifier: Apache-2.0
// The exact books as rows of a report. There may be 300,000 call sites and more: all are counted, those that
// lead in any order get a row, the others are one sum.
#include <algorithm>

#include "base/os.hpp"
#include "report/facts/sampled_sites.hpp"

namespace mallard::report {
namespace {

/// So many sites all get a row; of more, kLeading by each figure do.
constexpr std::uint32_t kMostRows = 2'000, kLeading = 500;

double live_bytes(const record::ExactCounts& c) noexcept {
  // Freed may be read after allocated: a block that came and went in between.
  return c.allocated_bytes > c.freed_bytes ? static_cast<double>(c.allocated_bytes - c.freed_bytes) : 0;
}
double live_count(const record::ExactCounts& c) noexcept {
  return c.allocated_count > c.freed_count ? static_cast<double>(c.allocated_count - c.freed_count) : 0;
}

using Figure = double (*)(const record::ExactCounts&, const ExactShare&);
constexpr Figure kFigures[] = {
    [](const record::ExactCounts& c, const ExactShare&) { return live_bytes(c); },
    [](const record::ExactCounts& c, const ExactShare&) { return live_count(c); },
    [](const record::ExactCounts& c, const ExactShare&) { return static_cast<double>(c.allocated_bytes); },
    [](const record::ExactCounts& c, const ExactShare&) { return static_cast<double>(c.temporary_count); },
    [](const record::ExactCounts& c, const ExactShare&) { return static_cast<double>(c.peak_bytes); },
    [](const record::ExactCounts&, const ExactShare& s) { return s.resident; },
    [](const record::ExactCounts&, const ExactShare& s) { return s.holes; },
};

/// Sets row_of to anything but kNoRow for the sites that get a row.
void mark_leading(const Books& books, std::span<std::uint32_t> used, std::uint32_t* row_of) noexcept {
  if (used.size() <= kMostRows) {
    for (std::uint32_t id : used) row_of[id] = 0;
    return;
  }
  for (Figure figure : kFigures) {
    const auto value = [&](std::uint32_t id) { return figure(books.counts[id], books.shares[id]); };
    std::nth_element(used.begin(), used.begin() + kLeading, used.end(),
                     [&](std::uint32_t a, std::uint32_t b) {
                       const double left = value(a), right = value(b);
                       return left != right ? left > right : a < b;
                     });
    for (std::uint32_t i = 0; i < kLeading; ++i)
      if (value(used[i]) > 0) row_of[used[i]] = 0;
  }
}

/// The size ranges of a site; none if memory is out.
std::span<const record::ExactSizes> sizes_of(Arena& arena, record::SiteId site) noexcept {
  constexpr std::size_t kFew = 64;
  record::ExactSizes few[kFew];
  const std::size_t n = record::exact_sizes(site, few);
  auto* sizes = arena.array<record::ExactSizes>(n);
  if (n == 0 || !sizes) return {};
  if (n <= kFew) std::copy(few, few + n, sizes);
  else return {sizes, std::min(n, record::exact_sizes(site, {sizes, n}))};
  return {sizes, n};
}

void fill_row(Arena& arena, std::uint32_t id, const Books& books, SiteRow& row) noexcept {
  const record::Site& site = record::site(record::SiteId{id});
  const record::ExactCounts& c = books.counts[id];
  const ExactShare& share = books.shares[id];
  row.id = id;
  row.depth = static_cast<int>(site.depth.load(std::memory_order_relaxed));
  row.live_bytes = counted(live_bytes(c));
  row.live_count = counted(live_count(c));
  row.allocated_bytes = counted(static_cast<double>(c.allocated_bytes));
  row.allocated_count = counted(static_cast<double>(c.allocated_count));
  row.resident_bytes = counted(share.resident);
  row.resident_live_bytes = counted(share.live);
  row.hole_bytes = counted(share.holes);
  row.samples = record::site_sums(site).samples.load(std::memory_order_relaxed);
  row.largest_bytes = c.largest_bytes;
  row.peak_bytes = c.peak_bytes;
  row.temporary_count = c.temporary_count;
  row.sizes = sizes_of(arena, record::SiteId{id});
}

void add_other(const record::ExactCounts& c, const ExactShare& share, OtherSites* to) noexcept {
  ++to->sites;
  to->live_bytes += static_cast<std::uint64_t>(live_bytes(c));
  to->live_count += static_cast<std::uint64_t>(live_count(c));
  to->allocated_bytes += c.allocated_bytes;
  to->allocated_count += c.allocated_count;
  to->temporary_count += c.temporary_count;
  to->resident_bytes += share.resident;
  to->resident_live_bytes += share.live;
  to->hole_bytes += share.holes;
}

/// Ages come from the samples underneath: a site without one has none.
void add_ages(Arena& arena, const Books& books, Snapshot* out) noexcept {
  auto* weights = arena.array<double>(books.row_count + 1);
  if (!weights) return;
  for (const record::LiveBlock& block : books.blocks) {
    if (block.born_ns < record::exact_since_ns()) continue;
    if (block.born_ns < record::forked_ns())
      out->inherited_live_bytes.add(block.weight, static_cast<double>(block.asked_bytes));
    if (SiteRow* row = books.find(block.site)) {
      double& weight = weights[row - books.rows];
      weight += block.weight;
      add_age(*row, block, weight, books.read_ns);
    }
  }
  finish(out->inherited_live_bytes);
}

}  // namespace

bool read_exact_books(Arena& arena, Books* books, Snapshot* out) noexcept {
  Recording& r = out->recording;
  const std::size_t sites = record::site_count();
  books->counts = {arena.array<record::ExactCounts>(sites + 1), sites};
  books->shares = {arena.array<ExactShare>(sites + 1), sites};
  if (!books->counts.data() || !books->shares.data()) return false;
  books->blocks = copy_live_samples(arena, &r);
  if (!books->blocks.data()) return false;
  const record::ExactCounts all = record::exact_read(books->counts);
  books->read_ns = os::monotonic_ns();
  r.exact.trouble = record::exact_trouble();
  r.exact.complete = record::exact_since_start() && r.exact.trouble.unbooked == 0;
  r.exact.live_blocks = static_cast<std::uint64_t>(live_count(all));
  out->live_bytes = counted(live_bytes(all));
  out->live_count = counted(live_count(all));
  out->allocated_bytes = counted(static_cast<double>(all.allocated_bytes));
  out->allocated_count = counted(static_cast<double>(all.allocated_count));
  out->peak_bytes = std::max(all.peak_bytes, static_cast<std::uint64_t>(live_bytes(all)));
  out->temporary_count = all.temporary_count;
  out->inherited = record::forked_ns() != 0;
  return true;
}

bool choose_rows(Arena& arena, Books* books, Snapshot* out) noexcept {
  const std::size_t sites = books->counts.size();
  auto* row_of = arena.array<std::uint32_t>(sites + 1);
  auto* used = arena.array<std::uint32_t>(sites + 1);
  if (!row_of || !used) return false;
  std::uint32_t used_count = 0;
  for (std::uint32_t id = 0; id < sites; ++id) {
    row_of[id] = Books::kNoRow;
    if (books->counts[id].allocated_count > 0) used[used_count++] = id;
  }
  mark_leading(*books, {used, used_count}, row_of);
  std::uint32_t rows = 0;
  for (std::uint32_t id = 0; id < sites; ++id)
    if (row_of[id] != Books::kNoRow) row_of[id] = rows++;
  books->rows = arena.array<SiteRow>(rows + 1);
  if (!books->rows) return false;
  books->exact = true;
  books->row_of = row_of;
  books->site_count = static_cast<std::uint32_t>(sites);
  books->row_count = rows;
  for (std::uint32_t id = 0; id < sites; ++id) {
    if (row_of[id] != Books::kNoRow) fill_row(arena, id, *books, books->rows[row_of[id]]);
    else if (books->counts[id].allocated_count > 0)
      add_other(books->counts[id], books->shares[id], &out->others);
  }
  out->recording.sites = used_count;
  add_ages(arena, *books, out);
  return true;
}

}  // namespace mallard::report
