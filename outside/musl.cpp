// SPDX-License-Identifier: Apache-2.0
#include "outside/musl.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <iterator>

namespace mallard::outside {
namespace {

constexpr std::uint32_t kUnit = 16, kHeaderBytes = 4, kTableBytes = 4096, kEntries = 101;
constexpr std::uint32_t kClasses[] = {1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   12,   15,
                                      18,   20,   25,   31,   36,   42,   50,   63,   72,   84,   102,  127,
                                      146,  170,  204,  255,  292,  340,  409,  511,  584,  682,  818,  1023,
                                      1169, 1364, 1637, 2047, 2340, 2730, 3276, 4095, 4680, 5460, 6552, 8191};
constexpr std::uint64_t kMappedAlone = 63;  ///< in the place of a size class

struct Entry {
  std::uint64_t previous, next, group;
  std::uint32_t available, freed;  ///< slots that hold no block, in either of two ways
  std::uint64_t facts;

  std::uint32_t slots() const noexcept { return (facts & 31) + 1; }
  std::uint64_t size_class() const noexcept { return facts >> 6 & 63; }
  std::uint64_t mapped_pages() const noexcept { return facts >> 12; }
};
static_assert(sizeof(Entry) == 40);

bool is_plausible(const Entry& e) noexcept {
  const bool has_class = e.size_class() < std::size(kClasses);
  const bool is_alone = e.size_class() == kMappedAlone && e.slots() == 1 && e.mapped_pages() > 0;
  return e.group != 0 && e.group % kUnit == 0 && (has_class || is_alone) &&
         (e.mapped_pages() == 0 ||
          (e.group % kPageBytes == 0 && e.mapped_pages() < (std::uint64_t{1} << 36)));
}

MuslGroup group_of(const Entry& e) noexcept {
  const std::uint64_t mapped = e.mapped_pages() * kPageBytes;
  const std::uint64_t slot =
      e.slots() == 1 && mapped > 0 ? mapped - kUnit : kUnit * std::uint64_t{kClasses[e.size_class()]};
  const std::uint32_t all = static_cast<std::uint32_t>((std::uint64_t{2} << (e.slots() - 1)) - 1);
  const std::uint32_t live = all & ~(e.available | e.freed);
  const std::uintptr_t end = mapped > 0 ? e.group + mapped : e.group + kUnit + e.slots() * slot;
  return {e.group, end, slot, live, 0, mapped > 0};
}

}  // namespace

struct MuslHeap::Table {
  std::uint64_t secret, next;
  std::uint32_t entries, unused;
  Entry all[kEntries];
  char rest[kTableBytes - 24 - kEntries * sizeof(Entry)];

  bool has_its_form() const noexcept { return secret != 0 && next % kTableBytes == 0 && entries == kEntries; }
};

bool MuslHeap::read_table(const ProcessMemory& process, std::uintptr_t at,
                          Growing<MuslGroup>& groups) noexcept {
  Table table;
  static_assert(sizeof table == kTableBytes);
  ++reads_;
  if (!process.get(at, &table) || !table.has_its_form() || (secret_ != 0 && table.secret != secret_))
    return false;
  const Entry* entries[kEntries];
  std::uintptr_t begins[kEntries], entry_of[kEntries] = {};
  std::size_t count = 0;
  for (const Entry& e : table.all)
    if (is_plausible(e)) {
      begins[count] = e.group;
      entries[count++] = &e;
    }
  // A group that is given back meanwhile cannot be read, and ends a piece of the work only.
  for (std::size_t i = 0; i < count;) {
    const std::size_t piece = std::min(count - i, os::kMaxPieces);
    const std::size_t got = process.copy_pieces(entry_of + i, begins + i, piece, sizeof entry_of[0]);
    i += std::min(got + (got < piece ? 1 : 0), piece);
  }
  std::size_t confirmed = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto index = static_cast<std::size_t>(entries[i] - table.all);
    const bool points_back = entry_of[i] == at + offsetof(Table, all) + index * sizeof(Entry);
    confirmed += points_back;
    if (points_back) groups.add(group_of(*entries[i]));
    else ++raced_;
  }
  // The first tells the secret; a table of free entries alone is one only if it knows it.
  if (secret_ == 0 && confirmed == 0) return false;
  secret_ = table.secret;
  return true;
}

bool MuslHeap::find(Arena& arena, const ProcessMemory& process,
                    std::span<const AddressRange> resident) noexcept {
  Growing<MuslGroup> groups(arena);
  Growing<std::uintptr_t> tables(arena), late(arena);
  std::uintptr_t pages[os::kMaxPieces];
  struct Beginning {
    std::uint64_t secret, next;
    std::uint32_t entries, unused;
  } beginnings[os::kMaxPieces];
  std::size_t count = 0;
  const auto look = [&]() noexcept {
    const std::size_t got = process.copy_pieces(beginnings, pages, count, sizeof beginnings[0]);
    for (std::size_t i = 0; i < got; ++i) {
      const Beginning& b = beginnings[i];
      if (b.entries != kEntries || b.secret == 0 || b.next % kTableBytes != 0) continue;
      if (read_table(process, pages[i], groups)) tables.add(pages[i]);
      else if (secret_ == 0) late.add(pages[i]);
    }
    // What vanished is left out; what lies behind it is looked at again.
    const std::size_t done = std::min(got + 1, count);
    std::copy(pages + done, pages + count, pages);
    count -= done;
  };
  for (const AddressRange& range : resident)
    for (std::uintptr_t page = range.begin; page < range.end; page += kPageBytes) {
      pages[count++] = page;
      if (count == os::kMaxPieces) look();
    }
  while (count > 0) look();
  for (const std::uintptr_t page : late.all())
    if (secret_ != 0 && read_table(process, page, groups)) tables.add(page);
  groups_ = groups.all();
  tables_ = tables.all();
  std::sort(tables_.begin(), tables_.end());
  nest();
  collect_memory(arena);
  return !tables_.empty();
}

/// Finds out which group lies in which, and counts the slots that hold groups as none with a block.
void MuslHeap::nest() noexcept {
  std::sort(groups_.begin(), groups_.end(), [](const MuslGroup& a, const MuslGroup& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
  });
  constexpr std::size_t kDeepest = 16;  // each is half as large as the one around it, at most
  std::size_t around[kDeepest], depth = 0;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    MuslGroup& g = groups_[i];
    while (depth > 0 && groups_[around[depth - 1]].end < g.end) --depth;
    g.outermost = static_cast<std::uint32_t>(depth > 0 ? around[0] : i);
    if (depth > 0) {
      MuslGroup& outer = groups_[around[depth - 1]];
      const std::uint64_t slot = (g.begin - outer.begin - kUnit) / outer.slot_bytes;
      if (g.begin >= outer.begin + kUnit && slot < 32) outer.live_mask &= ~(std::uint32_t{1} << slot);
    }
    if (depth < kDeepest) around[depth++] = i;
  }
}

void MuslHeap::collect_memory(Arena& arena) noexcept {
  Growing<AddressRange> pieces(arena), joined(arena);
  for (const MuslGroup& g : groups_)
    if (g.is_mapped) pieces.add({g.begin, g.end});
  for (const std::uintptr_t table : tables_) pieces.add({table, table + kTableBytes});
  std::sort(pieces.all().begin(), pieces.all().end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  for (const AddressRange& piece : pieces.all()) {
    AddressRange* last = joined.size() > 0 ? &joined[joined.size() - 1] : nullptr;
    if (last && last->end >= piece.begin) last->end = std::max(last->end, piece.end);
    else joined.add(piece);
  }
  memory_ = joined.all();
}

heaps::CensusResult MuslHeap::census(const heaps::CensusRequest& request) const noexcept {
  using heaps::UnitKind;
  for (const std::uintptr_t table : tables_)
    request.report({table, table + kTableBytes, UnitKind::kMetadata, 0, 0, 0});
  for (std::size_t i = 0; i < groups_.size();) {
    const std::size_t outermost = groups_[i].outermost;
    const MuslGroup& outer = groups_[outermost];
    heaps::Unit unit{outer.begin, outer.end, UnitKind::kBlocks, 0, 0, 0};
    const std::size_t first = i;
    for (; i < groups_.size() && groups_[i].outermost == outermost; ++i) {
      const MuslGroup& g = groups_[i];
      unit.live_bytes += g.live() * (g.slot_bytes - kHeaderBytes);
      unit.overhead_bytes += g.live() * std::uint64_t{kHeaderBytes} + kUnit;
      // A block begins where its slot does, or somewhat behind it.
      for (std::uint32_t left = outer.is_mapped ? g.live_mask : 0; left != 0; left &= left - 1)
        request.report_block(g.begin + kUnit + static_cast<unsigned>(std::countr_zero(left)) * g.slot_bytes,
                             g.slot_bytes - kHeaderBytes);
    }
    if (i == first + 1) unit.block_bytes = outer.slot_bytes;
    // Small groups in what the loader left over of objects' data are no memory of malloc's own.
    if (outer.is_mapped && unit.live_bytes > 0) request.report(unit);
  }
  return {.done = true, .unit_name = "group of musl", .reads = reads_, .raced = raced_};
}

}  // namespace mallard::outside
