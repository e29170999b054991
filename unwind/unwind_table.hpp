// SPDX-License-Identifier: Apache-2.0
// Finds the unwind information of a function through .eh_frame_hdr, in the forms that every linker and
// compiler writes; of another form, or broken, it is "unknown". No lock, no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/attributes.hpp"
#include "unwind/unwinder_memory.hpp"

namespace mallard::unwind {

/// Unwind information, read from front to back. A read beyond its end, or a number of more than 28 bits,
/// makes it end there, with ok() false.
class Bytes {
 public:
  constexpr Bytes() noexcept = default;
  Bytes(std::uintptr_t at, std::uintptr_t end) noexcept : at_(at), end_(end) {}

  bool ok() const noexcept { return ok_; }
  bool more() const noexcept { return at_ != end_; }
  std::uintptr_t at() const noexcept { return at_; }

  template <typename T>
  T take() noexcept {
    T value{};
    if (!has(sizeof value)) return value;
    std::memcpy(&value, reinterpret_cast<const void*>(at_), sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::uint8_t byte() noexcept { return take<std::uint8_t>(); }
  /// The next `n` bytes.
  Bytes part(std::uint32_t n) noexcept {
    if (!has(n)) return {};
    at_ += n;
    return {at_ - n, at_};
  }

  std::uint32_t uleb() noexcept {
    const std::uint8_t first = byte();
    if (MALLARD_LIKELY(first < 0x80)) return first;
    int bits;
    return leb(first, &bits);
  }
  std::int32_t sleb() noexcept {
    int bits;
    const std::uint32_t value = leb(byte(), &bits);
    return static_cast<std::int32_t>(value << (32 - bits)) >> (32 - bits);
  }

 private:
  bool has(std::size_t n) noexcept {
    if (MALLARD_LIKELY(end_ - at_ >= n)) return true;
    fail();
    return false;
  }
  void fail() noexcept {
    ok_ = false;
    at_ = end_;
  }
  std::uint32_t leb(std::uint8_t b, int* bits) noexcept {
    std::uint32_t value = 0;
    for (*bits = 7;; *bits += 7, b = byte()) {
      value |= static_cast<std::uint32_t>(b & 0x7f) << (*bits - 7);
      if (b < 0x80) return value;
      if (*bits == 28) break;
    }
    fail();
    return 0;
  }

  std::uintptr_t at_ = 0, end_ = 0;
  bool ok_ = true;
};

/// How .eh_frame_hdr begins.
struct TableHeader {
  std::uint8_t version, frame_encoding, count_encoding, table_encoding;
  std::int32_t frame;
  std::uint32_t count;

  /// As every linker writes it: entries are two words of 32 bits relative to the table.
  bool is_usual() const noexcept { return version == 1 && count_encoding == 0x03 && table_encoding == 0x3b; }
};

/// What .eh_frame says of one function.
struct UnwindInfo {
  std::uintptr_t start;  ///< of its code
  Bytes common, own;     ///< instructions of its CIE, and of its FDE
};

enum class Found { kYes, kNone, kUnknown };

/// \param table   address of the object's .eh_frame_hdr
/// \param memory  readable memory around it; nothing outside of it is read, whatever stands there
/// \return kNone: no function at `code` has unwind information \context hot (slow path)
Found find_unwind_info(std::uintptr_t code, std::uintptr_t table, const Segment& memory,
                       UnwindInfo* out) noexcept;

}  // namespace mallard::unwind
