// SPDX-License-Identifier: Apache-2.0
#include "inside/branch_or_chance.hpp"

#include <cstddef>

#include "arch/instructions.hpp"

namespace mallard::inside {

bool is_branch(const elf::Image& image, std::uint64_t address, std::uint64_t target) noexcept {
  constexpr std::size_t kBefore = 48, kPlaces = 32, kLongestInstruction = 15;
  constexpr std::size_t kEnough = kPlaces / 4;
  unsigned char code[kBefore + kLongestInstruction];
  if (!arch::can_decode() || !image.read_address(address - kBefore, code, sizeof code)) return true;
  std::size_t met = 0;
  for (std::size_t place = 0; place < kPlaces; ++place) {
    arch::Instruction i{};
    std::size_t at = place;
    while (at + i.bytes <= kBefore) {
      at += i.bytes;
      if (!arch::decode(code + at, sizeof code - at, address - kBefore + at, &i)) i = {.bytes = 1};
    }
    met += i.is_branch && i.target == target;
  }
  return met >= kEnough;
}

}  // namespace mallard::inside
