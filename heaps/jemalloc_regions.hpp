// SPDX-License-Identifier: Apache-2.0
// Which regions of a slab of jemalloc are free: one bit each in the structure that describes the slab, set
// where the region is free. Versions and build options put them at different places: the place is the one at
// which all slabs have as many bits as they say that they have free regions. Context: offline.
#pragma once

#include <cstdint>

#include "base/process_memory.hpp"

namespace mallard::heaps {

class JemallocRegions {
 public:
  static constexpr std::uint64_t kMostRegions = 512, kMostWords = kMostRegions / 64;
  struct Free {
    std::uint64_t bits[kMostWords];
    bool has(std::uint64_t i) const noexcept { return bits[i / 64] >> i % 64 & 1; }
  };

  /// \param structure  of a slab with `free` of its `regions` free
  void learn(const ProcessMemory& process, std::uintptr_t structure, std::uint64_t regions,
             std::uint64_t free) noexcept {
    std::uint64_t words[kPlaces + kMostWords];
    if (free == 0 || free >= regions || regions > kMostRegions || learned_ == kEnough ||
        !process.copy(words, structure + kFirst, sizeof words))
      return;
    ++learned_;
    for (unsigned place = 0; place < kPlaces; ++place)
      if (!counts(words + place, regions, free)) places_ &= ~(1u << place);
  }

  /// \return false if the place is not known, or the slab has changed meanwhile
  bool read(const ProcessMemory& process, std::uintptr_t structure, std::uint64_t regions, std::uint64_t free,
            Free* to) const noexcept {
    if (learned_ == 0 || places_ == 0 || (places_ & (places_ - 1)) != 0 || regions > kMostRegions)
      return false;
    const auto place = static_cast<unsigned>(__builtin_ctz(places_));
    return process.copy(to->bits, structure + kFirst + place * 8, sizeof to->bits) &&
           counts(to->bits, regions, free);
  }

 private:
  static constexpr unsigned kFirst = 24, kPlaces = 16, kEnough = 4096;

  static bool counts(const std::uint64_t* words, std::uint64_t regions, std::uint64_t free) noexcept {
    std::uint64_t bits = 0;
    for (std::uint64_t w = 0; w * 64 < regions; ++w) {
      if ((w + 1) * 64 > regions && words[w] >> regions % 64 != 0) return false;
      bits += static_cast<std::uint64_t>(__builtin_popcountll(words[w]));
    }
    return bits == free;
  }

  std::uint32_t places_ = (1u << kPlaces) - 1;
  unsigned learned_ = 0;
};

}  // namespace mallard::heaps
