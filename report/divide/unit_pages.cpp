// SPDX-License-Identifier: Apache-2.0
#include "report/divide/unit_pages.hpp"

#include <algorithm>

namespace mallard::report {

bool UnitPages::begin(Arena& arena) noexcept {
  pages_ = arena.array<Page>(all_bytes() / kPageBytes + 1);
  return pages_ != nullptr;
}

/// The run that holds `address` or, if none does, the next one. Units mostly ascend: look near the last
/// first.
std::size_t UnitPages::run_at(std::uintptr_t address) noexcept {
  std::size_t i = run_hint_;
  if (i >= runs_.size() || (i > 0 && runs_[i - 1].end > address)) i = runs_.size();
  for (int step = 0; step < 4 && i < runs_.size() && runs_[i].end <= address; ++step) ++i;
  if (i >= runs_.size() || runs_[i].end <= address)
    i = static_cast<std::size_t>(
        std::upper_bound(runs_.begin(), runs_.end(), address,
                         [](std::uintptr_t a, const ResidentRun& run) { return a < run.end; }) -
        runs_.begin());
  run_hint_ = i;
  return i;
}

std::uint64_t UnitPages::resident(std::uintptr_t begin, std::uintptr_t end) noexcept {
  std::uint64_t bytes = 0;
  for (std::size_t i = begin < end ? run_at(begin) : runs_.size(); i < runs_.size() && runs_[i].begin < end;
       ++i)
    bytes += std::min(end, runs_[i].end) - std::max(begin, runs_[i].begin);
  return bytes;
}

/// What is known of a page that is in memory; nullptr if it is not.
UnitPages::Page* UnitPages::page_at(std::uintptr_t address) noexcept {
  const std::size_t i = run_at(address);
  if (i >= runs_.size() || runs_[i].begin > address) return nullptr;
  return &pages_[(runs_[i].before + (page_of(address) - runs_[i].begin)) / kPageBytes];
}

/// The first unit on a page takes all of it.
std::uint64_t UnitPages::pin_shared(std::uintptr_t page) noexcept {
  Page* const p = page_at(page);
  if (!p || p->pinned) return 0;
  p->pinned = true;
  return kPageBytes;
}

std::uint64_t UnitPages::pin(std::uintptr_t begin, std::uintptr_t end) noexcept {
  const std::uintptr_t whole_begin = page_end_of(begin), whole_end = page_of(end);
  if (whole_begin > whole_end) return pin_shared(page_of(begin));
  std::uint64_t bytes = resident(whole_begin, whole_end);
  if (begin != whole_begin) bytes += pin_shared(page_of(begin));
  if (end != whole_end) bytes += pin_shared(whole_end);
  return bytes;
}

void UnitPages::note_metadata(std::uintptr_t begin, std::uintptr_t end) noexcept {
  metadata_ += static_cast<double>(resident(begin, end));
  const auto part_of_page = [this](std::uintptr_t from, std::uintptr_t to) {
    Page* const p = page_at(from);
    if (p)
      p->metadata_bytes =
          static_cast<std::uint16_t>(std::min<std::uint64_t>(p->metadata_bytes + (to - from), kPageBytes));
  };
  const std::uintptr_t whole_begin = page_end_of(begin), whole_end = page_of(end);
  if (whole_begin > whole_end) return part_of_page(begin, end);
  if (begin != whole_begin) part_of_page(begin, whole_begin);
  if (end != whole_end) part_of_page(whole_end, end);
}

void UnitPages::note_free(const heaps::Unit& unit, double free_bytes) noexcept {
  if (unit.ownerless) noted_.ownerless_holes += free_bytes;
  if (zeros_.empty()) return;
  const auto bytes = static_cast<double>(bytes_within(zeros_, unit.begin, unit.end));
  const double free = std::min(bytes, std::max(0.0, free_bytes));
  noted_.hole_zeros += free;
  noted_.live_zeros += bytes - free;
}

double UnitPages::pinned_metadata() const noexcept {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < all_bytes() / kPageBytes; ++i)
    if (pages_[i].pinned) sum += pages_[i].metadata_bytes;
  return static_cast<double>(sum);
}

}  // namespace mallard::report
