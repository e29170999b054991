// SPDX-License-Identifier: Apache-2.0
#include "cli/top/books_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/math.hpp"
#include "cli/error.hpp"
#include "cli/top/exact_counts.hpp"

namespace mallard::cli {
namespace {

constexpr std::uint32_t kMostBlocks = 1u << 24, kDeepest = 4096;

template <typename T>
T at(const std::vector<char>& rows, std::size_t row, std::uint32_t stride, std::uint32_t offset) {
  T value;
  std::memcpy(&value, rows.data() + row * stride + offset, sizeof value);
  return value;
}

bool is_in_row(std::uint32_t offset, std::size_t bytes, std::uint32_t stride) {
  return stride <= kLongestRow && fits(offset, bytes, stride);
}

std::uint64_t row_at(const Published::Rows& rows, std::uint32_t row) {
  return (row < rows.first_count ? rows.first : rows.rest) + std::uint64_t{row} * rows.stride;
}

}  // namespace

RemoteBooks::RemoteBooks(int pid) : memory_(pid) {
  if (!memory_.is_open())
    throw Error(kUnreadable,
                fmt::format("the memory of process {} cannot be read: {}", pid, std::strerror(errno)),
                "run it as root, or allow it to the user: sysctl kernel.yama.ptrace_scope=0");
  at_ = memory_.find_in_library({kPublishedMark, sizeof kPublishedMark});
  if (at_ == 0 || !memory_.read(at_, &published_) || published_.bytes != sizeof published_)
    throw Error(kUnreadable,
                fmt::format("the books of process {} are those of another build of libmallard.so", pid),
                "use the mallard command that came with it");
}

bool RemoteBooks::is_sound() const {
  const Published::Sums& s = published_.sums;
  const Published::Live& l = published_.live;
  const Published::Sites& t = published_.sites;
  return published_.bytes == sizeof published_ && is_in_row(s.at_bytes, 8, s.rows.stride) &&
         is_in_row(s.at_bytes_variance, 8, s.rows.stride) && is_in_row(s.at_count, 8, s.rows.stride) &&
         is_in_row(l.at_address, 8, l.rows.stride) && is_in_row(l.at_asked, 8, l.rows.stride) &&
         is_in_row(l.at_weight, 8, l.rows.stride) && is_in_row(l.at_born, 8, l.rows.stride) &&
         is_in_row(l.at_site, 4, l.rows.stride) && is_in_row(t.at_node, 4, t.rows.stride) &&
         is_in_row(s.at_row, 4, t.rows.stride);
}

bool RemoteBooks::read(std::uint64_t old_ns, Books* out) {
  *out = {};
  // Tables may be made later than at the start: on a switch from mode off.
  const Published& p = published_;
  if (!memory_.read(at_, &published_)) return false;
  if (p.mode_at && !memory_.read(p.mode_at, &out->mode)) return false;
  out->sample_bytes = static_cast<double>(p.sample_bytes);
  if (!p.sites.rows.rest || !p.live.rows.rest || p.sample_bytes == 0) return true;
  if (!is_sound()) return false;
  // Blocks before sums: a sample is in its site's sums before it is live. Counts before rows: rows are made
  // first.
  std::vector<char> live;
  if (!read_live(&live)) return false;
  std::uint32_t count = 0, sums_count = 0;
  if (!memory_.read(p.sites.count_at, &count) || !memory_.read(p.sums.count_at, &sums_count)) return false;
  if (count > kMostSites || sums_count > kMostSites) return false;
  std::vector<char> sites, sums;
  if (!read_rows(p.sites.rows, count, &sites) || !read_rows(p.sums.rows, sums_count, &sums)) return false;
  out->sites.resize(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto row = at<std::uint32_t>(sites, i, p.sites.rows.stride, p.sums.at_row);
    if (row == 0 || row >= sums_count) continue;
    SiteBooks& site = out->sites[i];
    site.allocated_bytes = {at<double>(sums, row, p.sums.rows.stride, p.sums.at_bytes),
                            at<double>(sums, row, p.sums.rows.stride, p.sums.at_bytes_variance)};
    site.allocated_count = at<double>(sums, row, p.sums.rows.stride, p.sums.at_count);
  }
  if (out->mode != Mode::kExact || !read_exact(out)) add_live(live, old_ns, out);
  return true;
}

/// \return false if there are no counts: the samples underneath then stand for them
bool RemoteBooks::read_exact(Books* out) const {
  ExactCounts counts;
  if (!read_exact_counts(memory_, published_, &counts)) return false;
  out->exact_epoch = counts.epoch;
  out->unsure_counts = counts.unsure;
  if (out->sites.size() < counts.by_site.size()) out->sites.resize(counts.by_site.size());
  for (std::size_t i = 0; i < out->sites.size(); ++i) {
    const ExactCount c = i < counts.by_site.size() ? counts.by_site[i] : ExactCount{};
    SiteBooks& site = out->sites[i];
    site.live_bytes = {static_cast<double>(c.allocated_bytes - c.freed_bytes), 0};
    site.live_count = static_cast<double>(c.allocated_count - c.freed_count);
    site.allocated_bytes = {static_cast<double>(c.allocated_bytes), 0};
    site.allocated_count = static_cast<double>(c.allocated_count);
    site.old_bytes = site.live_bytes;
  }
  return true;
}

bool RemoteBooks::read_rows(const Published::Rows& rows, std::uint32_t count, std::vector<char>* out) const {
  out->resize(std::size_t{count} * rows.stride);
  const std::size_t at_first = std::size_t{std::min(count, rows.first_count)} * rows.stride;
  return memory_.read(rows.first, out->data(), at_first) &&
         memory_.read(rows.rest + at_first, out->data() + at_first, out->size() - at_first);
}

bool RemoteBooks::read_live(std::vector<char>* rows) const {
  const Published::Live& l = published_.live;
  std::uint32_t used = 0;
  return memory_.read(l.used_at, &used) && read_rows(l.rows, std::min(used, kMostBlocks), rows);
}

void RemoteBooks::add_live(const std::vector<char>& rows, std::uint64_t old_ns, Books* out) const {
  const Published::Live& l = published_.live;
  const auto used = static_cast<std::uint32_t>(rows.size() / l.rows.stride);
  for (std::uint32_t i = 1; i < used; ++i) {
    if (at<std::uint64_t>(rows, i, l.rows.stride, l.at_address) == 0) continue;
    const auto size = static_cast<double>(at<std::uint64_t>(rows, i, l.rows.stride, l.at_asked));
    const auto weight = at<double>(rows, i, l.rows.stride, l.at_weight);
    const auto born = at<std::uint64_t>(rows, i, l.rows.stride, l.at_born);
    const auto site = at<std::uint32_t>(rows, i, l.rows.stride, l.at_site);
    // The weight follows from the size: where it does not, the row changed while it was copied.
    const double expected =
        1 / math::one_minus_exp((size + static_cast<double>(published_.bias_bytes)) / out->sample_bytes);
    if (!(std::abs(weight - expected) <= 1e-9 * expected) || site >= out->sites.size()) {
      ++out->torn;
      continue;
    }
    SiteBooks& s = out->sites[site];
    s.live_bytes.add(weight, size);
    s.live_count += weight;
    if (born <= old_ns) s.old_bytes.add(weight, size);
    out->newest_ns = std::max(out->newest_ns, born);
    ++out->live_samples;
  }
}

std::vector<std::uint64_t> RemoteBooks::stack(std::uint32_t site) const {
  const Published::Tree& tree = published_.tree;
  const auto field = [](std::uint64_t word, std::uint32_t shift, std::uint32_t bits) {
    return word >> (shift & 63) & ((std::uint64_t{1} << (bits & 63)) - 1);
  };
  std::vector<std::uint64_t> pcs;
  std::uint32_t node = 0;
  if (!memory_.read(row_at(published_.sites.rows, site) + published_.sites.at_node, &node)) return pcs;
  while (node != 0 && pcs.size() < kDeepest) {
    const std::uint64_t level = field(node, tree.slot_bits, 3), slot = field(node, 0, tree.slot_bits);
    std::uint64_t word = 0, pc = 0;
    if (!memory_.read(tree.level_at[level] + slot * 8, &word)) return {};
    const std::uint64_t code = field(word, tree.code_shift, tree.code_bits);
    const bool has_rule = code < tree.rules;
    const std::uint64_t from =
        has_rule ? tree.rule_rows + code * tree.rule_stride : tree.others + (code - tree.rules) * 8;
    if (!memory_.read(from, &pc)) return {};
    pcs.push_back(has_rule ? pc + 1 : pc);
    node = static_cast<std::uint32_t>(field(word, tree.parent_shift, tree.parent_bits));
  }
  return pcs;
}

}  // namespace mallard::cli
