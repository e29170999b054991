// SPDX-License-Identifier: Apache-2.0
// The formats: Linux Standard Base, "Exception Frames" and ".eh_frame_hdr"; DWARF 5, section 6.4.1.
#include "unwind/unwind_table.hpp"

#include "arch/frames.hpp"

namespace mallard::unwind {
namespace {

constexpr std::uint8_t kPcRelative32 = 0x1b, kOmitted = 0xff;

constexpr std::uintptr_t moved(std::uintptr_t address, std::int32_t by) noexcept {
  return address + static_cast<std::uintptr_t>(static_cast<std::intptr_t>(by));
}

/// Bytes of a pointer of the given encoding. \return 0: another size, or read in another way
std::uint32_t pointer_bytes(std::uint8_t encoding) noexcept {
  if ((encoding & 0x70) > 0x10) return 0;  // neither absolute nor relative to where it stands
  switch (encoding & 0x0f) {
    case 0x00:
    case 0x04:
    case 0x0c:
      return 8;
    case 0x03:
    case 0x0b:
      return 4;
    default:
      return 0;
  }
}

/// An entry of .eh_frame, without its length. The 64-bit format, which nobody writes, is not read.
Bytes entry_at(std::uintptr_t at, const Segment& memory) noexcept {
  if (!memory.holds(at, 4)) return {};
  Bytes rest(at, memory.end);
  const auto bytes = rest.take<std::uint32_t>();
  return bytes < 0xfffffff0 ? rest.part(bytes) : Bytes();
}

bool read_common(Bytes cie, UnwindInfo* out) noexcept {
  if (cie.take<std::uint32_t>() != 0) return false;  // no CIE
  const std::uint8_t version = cie.byte();
  if ((version != 1 && version != 3) || cie.byte() != 'z') return false;
  std::uint8_t letters[4], code_encoding = 0;
  int n = 0;
  while ((letters[n] = cie.byte()) != 0)
    if (++n == 4) return false;
  if (cie.uleb() != 1 || cie.sleb() != arch::kDataAlignment || cie.byte() != arch::kReturnRegister) return false;
  Bytes augmentation = cie.part(cie.uleb());
  for (int i = 0; i < n; ++i) {
    const std::uint8_t encoding = augmentation.byte();
    if (letters[i] == 'R') {
      code_encoding = encoding;
    } else if (letters[i] == 'L') {
      if (encoding != kOmitted && (pointer_bytes(encoding) == 0 || (encoding & 0x80))) return false;
    } else if (letters[i] == 'P') {
      const std::uint32_t bytes = pointer_bytes(encoding);
      if (bytes == 0) return false;
      augmentation.part(bytes);
    } else {
      return false;  // 'S', a signal frame, among them
    }
  }
  out->common = cie;
  return cie.ok() && augmentation.ok() && !augmentation.more() && code_encoding == kPcRelative32;
}

/// Reads the FDE at an address. \return kNone if `code` lies outside of its function
Found read_function(std::uintptr_t code, std::uintptr_t at, const Segment& memory, UnwindInfo* out) noexcept {
  Bytes fde = entry_at(at, memory);
  const std::uintptr_t distance_at = fde.at();
  const auto distance = fde.take<std::uint32_t>();
  if (!fde.ok() || distance == 0 || !read_common(entry_at(distance_at - distance, memory), out))
    return Found::kUnknown;
  const std::uintptr_t start_at = fde.at();
  const auto start = fde.take<std::int32_t>(), bytes = fde.take<std::int32_t>();
  const Bytes augmentation = fde.part(fde.uleb());
  if (!fde.ok() || !augmentation.ok() || start == 0 || bytes <= 0) return Found::kUnknown;
  out->start = moved(start_at, start);
  out->own = fde;
  return code - out->start < static_cast<std::uintptr_t>(bytes) ? Found::kYes : Found::kNone;
}

/// One of the sorted entries after the header.
struct TableEntry {
  std::int32_t start, fde;  ///< from the table
};

}  // namespace

Found find_unwind_info(std::uintptr_t code, std::uintptr_t table, const Segment& memory,
                       UnwindInfo* out) noexcept {
  if (!memory.holds(table, sizeof(TableHeader))) return Found::kUnknown;
  Bytes bytes(table, memory.end);
  const auto header = bytes.take<TableHeader>();
  if (!header.is_usual() || header.frame_encoding != kPcRelative32 ||
      header.count > (memory.end - bytes.at()) / sizeof(TableEntry))
    return Found::kUnknown;
  const auto place = static_cast<std::int32_t>(code - table);
  if (moved(table, place) != code) return Found::kUnknown;
  const auto entry = [first = bytes.at()](std::uint32_t i) noexcept {
    TableEntry value;
    std::memcpy(&value, reinterpret_cast<const void*>(first + i * sizeof value), sizeof value);
    return value;
  };
  // The last entry that begins at or before `code`.
  std::uint32_t low = 0, high = header.count;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (place < entry(middle).start) high = middle;
    else low = middle + 1;
  }
  if (high == 0) return Found::kNone;
  return read_function(code, moved(table, entry(high - 1).fde), memory, out);
}

}  // namespace mallard::unwind
