// SPDX-License-Identifier: Apache-2.0
#include "report/facts/smaps.hpp"

#include <algorithm>
#include <optional>

#include "base/lines.hpp"
#include "base/text.hpp"
#include "elf/maps.hpp"
#include "report/facts/regions.hpp"

namespace mallard::report {
namespace {

struct Field {
  std::string_view name;
  std::uint64_t SmapsEntry::*to;
};
constexpr Field kFields[] = {
    {"Rss", &SmapsEntry::resident},
    {"Pss", &SmapsEntry::proportional},
    {"Shared_Clean", &SmapsEntry::shared_clean},
    {"Shared_Dirty", &SmapsEntry::shared_dirty},
    {"Private_Clean", &SmapsEntry::private_clean},
    {"Private_Dirty", &SmapsEntry::private_dirty},
    {"Anonymous", &SmapsEntry::anonymous},
    {"LazyFree", &SmapsEntry::lazily_freed},
    {"AnonHugePages", &SmapsEntry::huge_pages},
    {"Swap", &SmapsEntry::swapped},
    {"Locked", &SmapsEntry::locked},
};

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// The number behind the colon and spaces, which the kernel gives in KiB.
std::uint64_t bytes_in(std::string_view text) noexcept {
  return leading_number(part_of(text, std::min(text.find_first_not_of(' '), text.size()))) * 1024;
}

class Reader {
 public:
  explicit Reader(Arena& arena) noexcept : entries_(arena) {}

  void read_line(std::string_view line) noexcept {
    if (line.empty()) return;
    // A mapping begins with its address, in lower case; names of fields begin with a capital.
    if (is_digit(line[0]) || (line[0] >= 'a' && line[0] <= 'f')) return begin_mapping(line);
    const std::size_t colon = line.find(':');
    if (entries_.size() == 0 || colon == line.npos) return;
    for (const Field& field : kFields)
      if (part_of(line, 0, colon) == field.name)
        entries_[entries_.size() - 1].*field.to = bytes_in(part_of(line, colon + 1));
  }

  bool out_of_memory() const noexcept { return entries_.out_of_memory(); }
  std::span<const SmapsEntry> all() noexcept { return entries_.all(); }

 private:
  void begin_mapping(std::string_view line) noexcept {
    const std::optional<elf::Mapping> mapping = elf::parse_mapping(line);
    if (!mapping) return;
    SmapsEntry entry{};
    entry.begin = mapping->begin;
    entry.end = mapping->end;
    entries_.add(entry);
  }

  Growing<SmapsEntry> entries_;
};

}  // namespace

bool read_smaps(Arena& arena, const ProcessMemory& process, std::span<const SmapsEntry>* out) noexcept {
  // A mapping is some 800 bytes: the kernel stops behind one, and lets go of its lock.
  constexpr std::size_t kAtOnce = 512;
  Reader reader(arena);
  const bool complete = for_each_line(
      arena, ProcessMemory::Path(process, "smaps").c_str(),
      [](std::string_view line, void* to) noexcept { static_cast<Reader*>(to)->read_line(line); }, &reader,
      kAtOnce);
  *out = reader.all();
  return complete && !reader.out_of_memory();
}

void find_lazily_freed(std::span<const SmapsEntry> smaps, const Residency& residency,
                       Regions* regions) noexcept {
  std::size_t next = 0;
  for (const SmapsEntry& mapping : smaps) {
    const std::uint64_t resident =
        mapping.lazily_freed > 0 ? residency.resident_bytes(mapping.begin, mapping.end) : 0;
    if (resident == 0) continue;
    while (next < regions->all.size() && regions->all[next].end <= mapping.begin) ++next;
    for (std::size_t i = next; i < regions->all.size() && regions->all[i].begin < mapping.end; ++i) {
      Region& region = regions->all[i];
      const std::uint64_t here = residency.resident_bytes(region.begin, region.end);
      const double share = static_cast<double>(mapping.lazily_freed) * static_cast<double>(here) /
                           static_cast<double>(resident);
      const auto freed = static_cast<std::uint64_t>(share);
      region.lazily_freed_bytes = freed < here ? freed : here;
    }
  }
}

}  // namespace mallard::report
