// SPDX-License-Identifier: Apache-2.0
// The exact counts as rows of a report. There may be 300,000 call sites and more: all are counted, those that
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

/// Every figure of a site, as the table of figures names them.
SiteFigures<double> figures_of(const record::ExactCounts& c, const ExactShare& share) noexcept {
  SiteFigures<double> f;
  f.live_bytes = live_bytes(c);
  f.live_count = live_count(c);
  f.allocated_bytes = static_cast<double>(c.allocated_bytes);
  f.allocated_count = static_cast<double>(c.allocated_count);
  f.temporary_count = static_cast<double>(c.temporary_count);
  f.peak_bytes = static_cast<double>(c.peak_bytes);
  f.at_peak_bytes = static_cast<double>(c.at_peak_bytes);
  f.resident_bytes = share.resident;
  f.resident_live_bytes = share.live;
  f.hole_bytes = share.holes;
  f.alone_bytes = share.alone;
  f.alone_hole_bytes = share.alone_holes;
  return f;
}

/// Sets row_of to anything but kNoRow for the sites that get a row.
void mark_leading(const RecordCopy& copy, const Pins& pins, std::span<std::uint32_t> used,
                  std::uint32_t* row_of) noexcept {
  if (used.size() <= kMostRows) {
    for (std::uint32_t id : used) row_of[id] = 0;
    return;
  }
  for (const PinSet& set : pins.sets)
    for (int i = 0; i < set.count; ++i) row_of[set.sites[i]] = 0;
  for (const FigureFacts& figure : kFigures) {
    if (figure.name.empty()) continue;  // nobody can ask for its leading sites
    const auto value = [&](std::uint32_t id) {
      return figure.of(figures_of(copy.counts[id], copy.shares[id]));
    };
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

void fill_row(Arena& arena, std::uint32_t id, const RecordCopy& copy, bool pins_known,
              SiteRow& row) noexcept {
  const record::Site& site = record::site(record::SiteId{id});
  const record::ExactCounts& c = copy.counts[id];
  const SiteFigures<double> figures = figures_of(c, copy.shares[id]);
  for (const FigureFacts& figure : kFigures)
    figure.of(row) = pins_known || !figure.may_be_untold() ? counted(figure.of(figures)) : Estimate{};
  row.id = id;
  row.depth = static_cast<int>(site.depth.load(std::memory_order_relaxed));
  row.samples = record::site_sums(site).samples.load(std::memory_order_relaxed);
  row.largest_bytes = c.largest_bytes;
  row.sizes = sizes_of(arena, record::SiteId{id});
}

void add_other(const SiteFigures<double>& figures, OtherSites* to) noexcept {
  ++to->sites;
  for (const FigureFacts& figure : kFigures)
    if (figure.adds_up()) figure.of(*to) += figure.of(figures);
}

/// Ages come from the samples underneath: a site without one has none.
void add_ages(Arena& arena, const RecordCopy& copy, Snapshot* out) noexcept {
  auto* weights = arena.array<double>(copy.row_count + 1);
  if (!weights) return;
  for (const record::LiveBlock& block : copy.blocks) {
    if (block.born_ns < record::exact_since_ns()) continue;
    if (block.born_ns < record::forked_ns())
      out->inherited_live_bytes.add(block.weight, static_cast<double>(block.asked_bytes));
    if (SiteRow* row = copy.find(block.site)) {
      double& weight = weights[row - copy.rows];
      weight += block.weight;
      add_age(*row, block, weight, copy.read_ns);
    }
  }
  set_interval(out->inherited_live_bytes);
}

}  // namespace

bool copy_exact_record(Arena& arena, RecordCopy* copy, Snapshot* out) noexcept {
  Recording& r = out->recording;
  const std::size_t sites = record::site_count();
  copy->counts = {arena.array<record::ExactCounts>(sites + 1), sites};
  copy->shares = {arena.array<ExactShare>(sites + 1), sites};
  if (!copy->counts.data() || !copy->shares.data()) return false;
  copy->blocks = copy_live_samples(arena, &r);
  if (!copy->blocks.data()) return false;
  const record::ExactCounts all = record::exact_read(copy->counts);
  copy->read_ns = os::monotonic_ns();
  r.exact.trouble = record::exact_trouble();
  r.exact.complete = record::exact_since_start() && r.exact.trouble.unbooked == 0;
  r.exact.live_blocks = static_cast<std::uint64_t>(live_count(all));
  out->live_bytes = counted(live_bytes(all));
  out->live_count = counted(live_count(all));
  out->allocated_bytes = counted(static_cast<double>(all.allocated_bytes));
  out->allocated_count = counted(static_cast<double>(all.allocated_count));
  out->peak_bytes = std::max(all.peak_bytes, static_cast<std::uint64_t>(live_bytes(all)));
  out->temporary_count = all.temporary_count;
  const record::Peak peak = record::exact_peak();
  out->peak = {peak.bytes > 0, copy->read_ns - std::min(copy->read_ns, peak.at_ns),
               counted(static_cast<double>(peak.bytes)), false};
  out->inherited = record::forked_ns() != 0;
  return true;
}

bool choose_rows(Arena& arena, RecordCopy* copy, Snapshot* out) noexcept {
  const std::size_t sites = copy->counts.size();
  auto* row_of = arena.array<std::uint32_t>(sites + 1);
  auto* used = arena.array<std::uint32_t>(sites + 1);
  if (!row_of || !used) return false;
  std::uint32_t used_count = 0;
  for (std::uint32_t id = 0; id < sites; ++id) {
    row_of[id] = RecordCopy::kNoRow;
    if (copy->counts[id].allocated_count > 0) used[used_count++] = id;
  }
  mark_leading(*copy, out->ledger.pins, {used, used_count}, row_of);
  for (const LostSite& lost : out->lost.sites)
    if (lost.id < sites && copy->counts[lost.id].allocated_count > 0) row_of[lost.id] = 0;
  std::uint32_t rows = 0;
  for (std::uint32_t id = 0; id < sites; ++id)
    if (row_of[id] != RecordCopy::kNoRow) row_of[id] = rows++;
  copy->rows = arena.array<SiteRow>(rows + 1);
  if (!copy->rows) return false;
  copy->exact = true;
  copy->row_of = row_of;
  copy->site_count = static_cast<std::uint32_t>(sites);
  copy->row_count = rows;
  for (std::uint32_t id = 0; id < sites; ++id) {
    if (row_of[id] != RecordCopy::kNoRow)
      fill_row(arena, id, *copy, out->ledger.pins.known, copy->rows[row_of[id]]);
    else if (copy->counts[id].allocated_count > 0)
      add_other(figures_of(copy->counts[id], copy->shares[id]), &out->others);
  }
  out->recording.sites = used_count;
  add_ages(arena, *copy, out);
  return true;
}

}  // namespace mallard::report
