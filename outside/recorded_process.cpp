// SPDX-License-Identifier: Apache-2.0
#include "outside/recorded_process.hpp"

#include <link.h>
#include <string.h>

#include <algorithm>

#include "base/options.hpp"
#include "inside/outcome.hpp"
#include "outside/heaps_found.hpp"
#include "outside/served_heap.hpp"
#include "record/exact/exact.hpp"
#include "record/published.hpp"
#include "record/record.hpp"
#include "report/facts/thread_times.hpp"
#include "report/model/model.hpp"

namespace mallard::outside {
namespace {

constinit os::OwnRange g_own_ranges[os::kMaxOwnRanges];
constinit char g_why_off[192] = "", g_bypass_owner[256] = "";
constinit backends::Backend g_beside{};  ///< its name and version alone mean something here
constinit const OtherParts* g_parts = nullptr;

const char* why_off() noexcept { return g_why_off[0] != '\0' ? g_why_off : nullptr; }

void look_again() noexcept {
  if (g_parts) record::adopt_sums(*g_parts);
}

/// Copies a text that ends with NUL, as far as there is room.
void copy_text(const ProcessMemory& process, std::uintptr_t from, char* to, std::size_t room) noexcept {
  std::size_t n = 0;
  while (from != 0 && n + 1 < room && process.get(from + n, &to[n]) && to[n] != '\0') ++n;
  to[n] = '\0';
}

constexpr const char* kOtherBuild = "its libmallard.so is of another build than this command";
constexpr const char* kGone = "its memory could not be read to the end";

}  // namespace

const char* RecordedProcess::find_parts(std::uintptr_t published) noexcept {
  Published books{};
  if (!get(published, &books) || books.bytes != sizeof books ||
      memcmp(books.mark, kPublishedMark, sizeof kPublishedMark) != 0)
    return kOtherBuild;
  if (books.parts_at == 0 || books.version[0] == '\0') return "it is starting";
  books.version[sizeof books.version - 1] = '\0';
  if (view_of(books.version) != view_of(report::kVersion)) return kOtherBuild;
  parts_.emplace(*this, books.parts_at, books.parts_count);
  g_parts = &*parts_;
  std::uintptr_t why = 0;
  g_why_off[0] = '\0';
  if (books.why_off_at != 0 && get(books.why_off_at, &why))
    copy_text(*this, why, g_why_off, sizeof g_why_off);
  return nullptr;
}

const char* RecordedProcess::adopt(std::uintptr_t published) noexcept {
  if (const char* why_not = find_parts(published)) return why_not;
  if (!parts_->are_ours()) return kOtherBuild;
  served_.own_at = published;
  if (const char* why_not = adopt_served()) return why_not;
  set_books_adopted();
  return adopt_books();
}

const char* RecordedProcess::adopt_attached(std::uintptr_t published) noexcept {
  if (const char* why_not = find_parts(published)) return why_not;
  // A part that is not there, or of another size, is one of another build.
  if (!inside::takeover_outcome_adopt(*parts_)) return kGone;
  served_ = served_of_other_process();
  served_.own_at = published;
  served_.look_again = look_again;
  served_.is_attached = true;
  take_own_ranges();
  std::uint64_t unsure = 0;
  const bool is_done = options_adopt(*parts_) && record::adopt(*parts_, &torn_) &&
                       record::exact_adopt(*parts_, &unsure);
  return is_done ? nullptr : kGone;
}

void RecordedProcess::adopt_own(std::uintptr_t published) noexcept {
  served_ = served_of_other_process();
  served_.own_at = published;
  if (published != 0 && !find_parts(published)) take_own_ranges();
}

void RecordedProcess::take_own_ranges() noexcept {
  const std::uint32_t ranges = os::other_own_ranges(*parts_, g_own_ranges, &served_.unknown_own_ranges);
  served_.own_ranges = {g_own_ranges, ranges};
}

const char* RecordedProcess::adopt_served() noexcept {
  report::Served theirs{};
  backends::Backend backend{};
  if (!parts_->get("served", &theirs)) return kGone;
  if (!theirs.backend) return "it is starting";
  if (!get(address_of(theirs.backend), &backend)) return kGone;
  if (!can_be_divided(backend)) return "its allocator can be asked from inside alone";
  served_.bypassed = theirs.bypassed;
  served_.stepped_aside = theirs.stepped_aside;
  const std::size_t name = std::min(theirs.bypass_owner.size(), sizeof g_bypass_owner - 1);
  if (name > 0 && !copy(g_bypass_owner, address_of(theirs.bypass_owner.data()), name)) return kGone;
  served_.bypass_owner = {g_bypass_owner, name};
  if (backend.object) {
    link_map object{};
    if (!copy(&object, address_of(backend.object), offsetof(link_map, l_next))) return kGone;
    served_.backend_at = address_of(object.l_ld);
  }
  served_.backend_code = theirs.backend_code;
  served_.beside = nullptr;
  if (theirs.beside && get(address_of(theirs.beside), &g_beside)) served_.beside = &g_beside;
  served_.backend = serve_from(backend, served_);
  served_.why_off = why_off;
  served_.claim_heaps = claim_served_heap;
  served_.look_again = look_again;
  parts_->get("report_number", &number_);
  take_own_ranges();
  return nullptr;
}

const char* RecordedProcess::adopt_books() noexcept {
  std::uint64_t unsure = 0;
  const bool is_done = options_adopt(*parts_) && inside::takeover_outcome_adopt(*parts_) &&
                       report::thread_times_adopt(*parts_) && record::adopt(*parts_, &torn_) &&
                       record::exact_adopt(*parts_, &unsure);
  return is_done ? nullptr : kGone;
}

}  // namespace mallard::outside
