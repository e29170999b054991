// SPDX-License-Identifier: Apache-2.0
#include "outside/lost_sites.hpp"

#include <algorithm>
#include <initializer_list>
#include <span>

#include "base/os.hpp"
#include "record/exact/exact.hpp"
#include "record/record.hpp"
#include "report/facts/sampled_sites.hpp"

namespace mallard::outside {
namespace {

using report::LostSite;

constexpr std::size_t kShown = 20;

class LostSites {
 public:
  LostSites(Arena& arena, const BlockMap& blocks, report::LostBlocks& out) noexcept
      : arena_(arena), blocks_(blocks), out_(out) {}

  bool run() noexcept {
    sites_ = {arena_.array<LostSite>(record::site_count() + 1), record::site_count()};
    if (!sites_.data()) return false;
    is_exact_ = record::exact_is_on();
    if (is_exact_) add_booked();
    if (!add_samples()) return false;
    return write();
  }

 private:
  FoundBlock lost_at(std::uintptr_t at) const noexcept {
    const FoundBlock block = blocks_.find(at);
    return block.begin != 0 && blocks_.is_noted(block.begin) ? block : FoundBlock{};
  }

  /// The books are asked for the pieces of memory that have lost blocks.
  void add_booked() noexcept {
    constexpr std::uintptr_t kNear = 64 << 10;
    AddressRange piece{};
    const auto ask = [&] {
      record::exact_for_each_live(
          piece.begin, piece.end,
          [](const record::ExactLive& live, void* self) { static_cast<LostSites*>(self)->add(live); }, this);
    };
    blocks_.each_note([&](std::uintptr_t begin) {
      const std::uintptr_t end = begin + blocks_.block_at(begin).bytes;
      if (piece.end != 0 && begin < piece.end + kNear) {
        piece.end = std::max(piece.end, end);
        return;
      }
      ask();
      piece = {begin, end};
    });
    ask();
  }

  void add(const record::ExactLive& live) noexcept {
    const FoundBlock block = lost_at(live.begin);
    const auto id = static_cast<std::uint32_t>(live.site);
    if (block.begin == 0 || id >= sites_.size()) return;
    sites_[id].bytes.add(1, static_cast<double>(block.bytes));
    sites_[id].blocks.add(1, 1);
    ++booked_blocks_;
    booked_bytes_ += block.bytes;
  }

  bool add_samples() noexcept {
    report::Recording about{};
    const std::span<const record::LiveBlock> samples = report::copy_live_samples(arena_, &about);
    if (!samples.data()) return false;
    are_all_there_ = about.counters.dropped_full == 0;
    const std::uint64_t now = os::monotonic_ns();
    for (const record::LiveBlock& sample : samples) {
      const FoundBlock block = lost_at(sample.address);
      const auto id = static_cast<std::uint32_t>(sample.site);
      if (block.begin == 0 || id >= sites_.size()) continue;
      LostSite& site = sites_[id];
      if (!is_exact_) {
        site.bytes.add(sample.weight, static_cast<double>(block.bytes));
        site.blocks.add(sample.weight, 1);
      } else if (site.blocks.value == 0 || sample.born_ns < record::exact_since_ns()) {
        continue;  // of a block that the exact books do not know
      }
      const std::uint64_t age = now > sample.born_ns ? now - sample.born_ns : 0;
      site.youngest_ns = site.aged == 0 ? age : std::min(site.youngest_ns, age);
      site.oldest_ns = std::max(site.oldest_ns, age);
      ++site.aged;
    }
    return true;
  }

  bool write() noexcept {
    out_.by_site = true;
    out_.by_samples = !is_exact_;
    for (std::uint32_t id = 0; id < sites_.size(); ++id) sites_[id].id = id;
    std::sort(sites_.begin(), sites_.end(), [](const LostSite& a, const LostSite& b) {
      return a.bytes.value != b.bytes.value ? a.bytes.value > b.bytes.value : a.id < b.id;
    });
    std::size_t count = 0;
    while (count < sites_.size() && sites_[count].bytes.value > 0) ++count;
    for (LostSite& site : sites_.first(std::min(count, kShown)))
      for (report::Estimate* figure : {&site.bytes, &site.blocks}) {
        if (is_exact_ || are_all_there_) report::set_interval(*figure);
        report::round_outward(*figure);
      }
    out_.sites = sites_.first(std::min(count, kShown));
    out_.other_sites = static_cast<std::uint32_t>(count - out_.sites.size());
    if (!is_exact_) return true;
    out_.unbooked_blocks = out_.blocks - std::min(out_.blocks, booked_blocks_);
    out_.unbooked_bytes = out_.bytes - std::min(out_.bytes, booked_bytes_);
    return true;
  }

  Arena& arena_;
  const BlockMap& blocks_;
  report::LostBlocks& out_;
  std::span<LostSite> sites_;  ///< by id, until they are sorted
  bool is_exact_ = false, are_all_there_ = true;
  std::uint64_t booked_blocks_ = 0, booked_bytes_ = 0;
};

}  // namespace

bool find_lost_sites(Arena& arena, const BlockMap& blocks, report::LostBlocks* out) noexcept {
  return LostSites(arena, blocks, *out).run();
}

}  // namespace mallard::outside
