// SPDX-License-Identifier: Apache-2.0
#include "inside/branch_or_chance.hpp"

#include <cstddef>
#include <string_view>

#include "arch/instructions.hpp"

namespace mallard::inside {
namespace {

constexpr std::size_t kBefore = 48, kPlaces = 32;

/// The code around an address: kBefore bytes, and an instruction.
struct Code {
  std::uint64_t begin, target;
  unsigned char bytes[kBefore + arch::kLongestInstruction];

  /// Whether instructions that are read from a place on meet a branch to the target.
  bool leads_to_it(std::size_t place) const noexcept {
    arch::Instruction i{};
    std::size_t at = place;
    while (at + i.bytes <= kBefore) {
      at += i.bytes;
      if (!arch::decode(bytes + at, sizeof bytes - at, begin + at, &i)) i = {.bytes = 1};
    }
    return i.is_branch && i.target == target;
  }
};

}  // namespace

bool is_branch(const elf::ProgramFile& file, std::uint64_t address, std::uint64_t target) noexcept {
  Code code{address - kBefore, target, {}};
  if (!arch::can_decode() || !file.image().read_address(code.begin, code.bytes, sizeof code.bytes)) return true;
  std::size_t met = 0;
  for (std::size_t place = 0; place < kPlaces; ++place) met += code.leads_to_it(place);
  if (met >= kPlaces / 4) return true;
  for (std::size_t place = 0; place <= kBefore && !file.has_symbol_table(); ++place)
    if ((code.begin + place) % 16 == 0 && code.leads_to_it(place)) return true;
  bool begins_here = false;
  file.for_each_function([&](std::string_view, const Elf64_Sym& s, bool) noexcept {
    begins_here = s.st_value >= code.begin && s.st_value <= address && code.leads_to_it(s.st_value - code.begin);
    return !begins_here;
  });
  return begins_here;
}

}  // namespace mallard::inside
