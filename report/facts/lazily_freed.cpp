// SPDX-License-Identifier: Apache-2.0
// Pages given back by MADV_FREE, mapping by mapping, from /proc/self/smaps. Context: reporter.
#include "base/lines.hpp"
#include "base/text.hpp"
#include "report/facts/regions.hpp"

namespace mallard::report {
namespace {

/// Leading digits of a number in base 16 or 10. \return what follows them
std::string_view number(std::string_view s, unsigned base, std::uint64_t* out) noexcept {
  std::size_t n = 0;
  for (*out = 0; n < s.size(); ++n) {
    const char c = s[n];
    const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                           : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                                                  : 99;
    if (digit >= base) break;
    *out = *out * base + digit;
  }
  return part_of(s, n);
}

class Reader {
 public:
  Reader(const Residency& residency, std::span<Region> regions) noexcept
      : residency_(residency), regions_(regions) {}

  void read_line(std::string_view line) noexcept {
    constexpr std::string_view kField = "LazyFree:";
    if (line.starts_with(kField)) {
      line = part_of(line, kField.size());
      while (line.starts_with(' ')) line.remove_prefix(1);
      std::uint64_t kib;
      number(line, 10, &kib);
      if (kib > 0) spread(kib * 1024);
      return;
    }
    std::uint64_t begin, end;
    std::string_view rest = number(line, 16, &begin);
    if (rest.size() == line.size() || !rest.starts_with('-')) return;
    rest = number(part_of(rest, 1), 16, &end);
    if (!rest.starts_with(' ')) return;
    begin_ = begin;
    end_ = end;
  }

 private:
  /// Over the regions of the current mapping.
  void spread(std::uint64_t bytes) noexcept {
    const std::uint64_t resident = residency_.resident_bytes(begin_, end_);
    if (resident == 0) return;
    while (next_ < regions_.size() && regions_[next_].end <= begin_) ++next_;
    for (std::size_t i = next_; i < regions_.size() && regions_[i].begin < end_; ++i) {
      const std::uint64_t here = residency_.resident_bytes(regions_[i].begin, regions_[i].end);
      const double share =
          static_cast<double>(bytes) * static_cast<double>(here) / static_cast<double>(resident);
      const auto freed = static_cast<std::uint64_t>(share);
      regions_[i].lazily_freed_bytes = freed < here ? freed : here;
    }
  }

  const Residency& residency_;
  std::span<Region> regions_;
  std::uintptr_t begin_ = 0, end_ = 0;
  std::size_t next_ = 0;
};

}  // namespace

bool find_lazily_freed(Arena& arena, const ProcessMemory& process, const Residency& residency,
                       Regions* regions) noexcept {
  Reader reader(residency, regions->all);
  return for_each_line(
      arena, ProcessMemory::Path(process, "smaps").c_str(),
      [](std::string_view line, void* to) noexcept { static_cast<Reader*>(to)->read_line(line); }, &reader);
}

}  // namespace mallard::report
