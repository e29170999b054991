// SPDX-License-Identifier: Apache-2.0
// Allocators known by the texts that they have inside: their messages, and the versions that they tell. For
// objects whose symbols are stripped.
#pragma once

#include <cstdint>
#include <string_view>

#include "elf/image.hpp"
#include "inside/known_allocators.hpp"

namespace mallard::inside {

inline constexpr std::size_t kMaxVersionBytes = 24;

class MessageSearch {
 public:
  /// Reads the read-only data of a parsed image, up to 256 MiB of it. \context init, reporter, offline
  void run(const elf::Image& image, Arena& arena) noexcept;

  /// True if the allocator has messages, and all of them were found.
  bool has_all_messages_of(const KnownAllocator& allocator) const noexcept;
  /// Empty if no text tells it.
  std::string_view version_of(const KnownAllocator& allocator) const noexcept;

 private:
  void search_text(std::string_view text) noexcept;

  std::uint32_t met_[kMaxKnownAllocators] = {};  ///< a bit for each message of an allocator
  FixedText<kMaxVersionBytes> versions_[kMaxKnownAllocators];
};

}  // namespace mallard::inside
