// SPDX-License-Identifier: Apache-2.0
// Instructions as a disassembler reads them: how long each is and where it leads, and how the first ones of a
// function run at another place. A port provides every name below.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arch/code.hpp"

namespace mallard::arch {

/// False in a build without a disassembler: nothing below can be asked then.
bool can_decode() noexcept;

inline constexpr std::size_t kLongestInstruction = 15;

struct Instruction {
  std::uint8_t bytes;
  bool is_branch;  ///< leads to `target`, by a distance
  bool is_call;
  bool calls_by_pointer;  ///< or jumps to where memory at a distance says, as calls of other objects' functions do
  bool jumps_by_pointer;  ///< to another function, or to one of many places in its own
  bool ends;  ///< what stands behind it does not run after it, but where it is a call
  std::uint8_t distance_at, distance_bytes;  ///< of a branch
  std::uint8_t address_at;                   ///< of the four bytes that name memory by its distance; 0 = none
  std::uint64_t target;                      ///< of the branch, or that memory
};

/// \param code  what stands at `address`, `bytes` of it \return false: no instruction that is known
bool decode(const unsigned char* code, std::size_t bytes, std::uint64_t address, Instruction* out) noexcept;

/// As many bytes as whole instructions take over which a jump is written.
inline constexpr std::size_t kMostDisplacedBytes = kJumpBytes - 1 + kLongestInstruction;
/// Room for those instructions at another place, and a jump back.
inline constexpr std::size_t kDisplacedRoom = 64;

/// Finds out which instructions a jump over the beginning of a function displaces.
/// \param code  the function's first `bytes`, at most kMostDisplacedBytes are read
/// \param why   set to a clause if they cannot run elsewhere
/// \return how many bytes they take, at least kJumpBytes; 0 if they cannot
std::size_t displaced_bytes(const unsigned char* code, std::size_t bytes, std::uint64_t address,
                            const char** why) noexcept;

/// Where a branch among them is to lead. \return `target`, or what stands in its place
using Redirected = std::uint64_t (*)(std::uint64_t target, const void* opaque) noexcept;

/// Writes them so that they do the same at `runs_at`, and go on behind the jump.
/// \param code   the function's beginning, of which displaced_bytes() are `bytes`
/// \param to     kDisplacedRoom bytes
/// \return false if something that they lead to is out of reach from there
bool write_displaced(const unsigned char* code, std::size_t bytes, std::uint64_t address, unsigned char* to,
                     std::uint64_t runs_at, Redirected redirected, const void* opaque) noexcept;

}  // namespace mallard::arch
