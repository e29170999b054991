// SPDX-License-Identifier: Apache-2.0
#include "report/facts/huge_tails.hpp"

#include <string.h>

#include <algorithm>

#include "base/os.hpp"

namespace mallard::report {
namespace {

constexpr std::uintptr_t kHugeBytes = 2u << 20;
constexpr std::size_t kPagesOfHuge = kHugeBytes / kPageBytes;
constexpr std::uint64_t kLeastHugeBytes = 16u << 20;
/// The beginning of a page tells of most that they are not all zeros.
constexpr std::size_t kGlimpse = 64;
constexpr std::size_t kPagesAtOnce = 16;

bool is_zero(const unsigned char* from, std::size_t bytes) noexcept {
  std::uint64_t any = 0, words[8];
  for (std::size_t i = 0; i < bytes && any == 0; i += sizeof words) {
    memcpy(words, from + i, sizeof words);
    for (const std::uint64_t word : words) any |= word;
  }
  return any == 0;
}

/// Looks at huge pages one by one.
class Reader {
 public:
  Reader(Arena& arena, const ProcessMemory& process) noexcept : process_(process), zeros_(arena) {
    buffer_ = arena.array<unsigned char>(kPagesAtOnce * kPageBytes);
  }
  bool has_memory() const noexcept { return buffer_ && !zeros_.out_of_memory(); }

  /// \return bytes of zeros in the huge page at `huge`; 0 where it holds nothing else
  std::uint64_t look_at(std::uintptr_t huge) noexcept {
    std::size_t count = 0;
    glimpse(huge);
    for (std::size_t i = 0; i < kPagesOfHuge;) {
      std::size_t n = 0;
      while (n < kPagesAtOnce && i + n < kPagesOfHuge && may_be_zero_[i + n]) ++n;
      if (n == 0) {
        ++i;
        continue;
      }
      const bool readable = process_.copy(buffer_, huge + i * kPageBytes, n * kPageBytes);
      for (std::size_t k = 0; k < n; ++k)
        count += may_be_zero_[i + k] = readable && is_zero(buffer_ + k * kPageBytes, kPageBytes);
      i += n;
    }
    if (count == kPagesOfHuge) return 0;
    add_found(huge);
    return count * kPageBytes;
  }

  std::span<const AddressRange> found() noexcept {
    const std::span<AddressRange> all = zeros_.all();
    std::sort(all.begin(), all.end(),
              [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
    return all;
  }

 private:
  void glimpse(std::uintptr_t huge) noexcept {
    std::uintptr_t from[os::kMaxPieces];
    for (std::size_t i = 0; i < kPagesOfHuge; i += os::kMaxPieces) {
      for (std::size_t k = 0; k < os::kMaxPieces; ++k) from[k] = huge + (i + k) * kPageBytes;
      const std::size_t got = process_.copy_pieces(buffer_, from, os::kMaxPieces, kGlimpse);
      for (std::size_t k = 0; k < os::kMaxPieces; ++k)
        may_be_zero_[i + k] = k < got && is_zero(buffer_ + k * kGlimpse, kGlimpse);
    }
  }

  void add_found(std::uintptr_t huge) noexcept {
    for (std::size_t i = 0; i < kPagesOfHuge; ++i) {
      if (!may_be_zero_[i]) continue;
      const std::uintptr_t page = huge + i * kPageBytes;
      if (i > 0 && may_be_zero_[i - 1]) zeros_[zeros_.size() - 1].end = page + kPageBytes;
      else zeros_.add({page, page + kPageBytes});
    }
  }

  const ProcessMemory& process_;
  Growing<AddressRange> zeros_;
  unsigned char* buffer_;
  bool may_be_zero_[kPagesOfHuge] = {};
};

/// Huge pages of private anonymous memory that is not ours.
std::span<const std::uintptr_t> huge_pages_of(Arena& arena, const Memory& memory) noexcept {
  Growing<std::uintptr_t> pages(arena);
  const std::span<const Region> regions = memory.regions.all;
  std::size_t region = 0;
  for (const ResidentRun& run : memory.residency.runs()) {
    if (!run.huge || run.file) continue;
    for (std::uintptr_t page = align_up(run.begin, kHugeBytes); page + kHugeBytes <= run.end;
         page += kHugeBytes) {
      while (region < regions.size() && regions[region].end <= page) ++region;
      if (region == regions.size()) break;
      const Owner owner = regions[region].owner;
      if (regions[region].begin <= page && owner != Owner::kOwn && owner != Owner::kKernel) pages.add(page);
    }
  }
  return pages.all();
}

bool are_everywhere() noexcept {
  char text[64] = "";
  return os::read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text) > 0 &&
         strstr(text, "[always]") != nullptr;
}

}  // namespace

void find_huge_tails(Arena& arena, const Memory& memory, std::uint64_t budget_ns, HugeTails* out) noexcept {
  if (memory.residency.method() != ResidencyMethod::kPagemapScan)
    return void(out->why_not = "the kernel does not tell which pages are huge");
  const std::span<const std::uintptr_t> pages = huge_pages_of(arena, memory);
  out->huge_bytes = pages.size() * kHugeBytes;
  out->known = true;
  if (out->huge_bytes < kLeastHugeBytes) return void(out->looked_at = out->huge_bytes);
  out->everywhere = are_everywhere();
  Reader reader(arena, *memory.process);
  // Where the time does not last for all, those that were looked at are spread over all.
  constexpr std::size_t kSpread = 64;
  const std::size_t stride = std::max<std::size_t>(1, pages.size() / kSpread);
  const std::uint64_t began = os::thread_work_ns();
  double sum = 0, squares = 0, count = 0;
  bool is_time = true;
  for (std::size_t first = 0; first < stride && is_time; ++first)
    for (std::size_t i = first; i < pages.size() && is_time && reader.has_memory(); i += stride) {
      const auto bytes = static_cast<double>(reader.look_at(pages[i]));
      sum += bytes;
      squares += bytes * bytes;
      out->looked_at += kHugeBytes;
      count += 1;
      is_time = os::thread_work_ns() - began < budget_ns;
    }
  if (!reader.has_memory()) return void(*out = {.why_not = "there is no memory for it"});
  out->zeros = reader.found();
  const auto all = static_cast<double>(pages.size());
  if (count < all && count > 1)
    out->variance =
        all * all * (1 - count / all) * std::max(0.0, squares / count - sum / count * (sum / count)) / count;
}

std::uint64_t bytes_within(std::span<const AddressRange> zeros, std::uintptr_t begin,
                           std::uintptr_t end) noexcept {
  const AddressRange* range =
      std::upper_bound(zeros.data(), zeros.data() + zeros.size(), begin,
                       [](std::uintptr_t at, const AddressRange& r) { return at < r.end; });
  std::uint64_t bytes = 0;
  for (; range != zeros.data() + zeros.size() && range->begin < end; ++range)
    bytes += std::min(range->end, end) - std::max(range->begin, begin);
  return bytes;
}

}  // namespace mallard::report
