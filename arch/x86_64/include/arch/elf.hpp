// SPDX-License-Identifier: Apache-2.0
// What ELF files, and the places where distributions keep them, say of this architecture.
#pragma once

#include <elf.h>

#include <cstdint>

namespace mallard::arch {

#define MALLARD_MACHINE "x86-64" /* for people */
inline constexpr std::uint16_t kMachine = EM_X86_64;

/// Relocations: of a variable that a program copied out of a library, and those that put in a symbol's address.
inline constexpr std::uint32_t kCopyRelocation = R_X86_64_COPY;
/// A slot with the place of a thread-local variable, counted from the thread pointer.
inline constexpr std::uint32_t kThreadPlaceRelocation = R_X86_64_TPOFF64;
constexpr bool is_address_relocation(std::uint32_t type) noexcept {
  return type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT || type == R_X86_64_64;
}

constexpr bool is_jump_relocation(std::uint32_t type) noexcept { return type == R_X86_64_JUMP_SLOT; }

/// The loader's name of the platform, the folders of its libraries, and how its cache marks them.
#define MALLARD_LIBRARY_FOLDER "x86_64-linux-gnu"
inline constexpr const char *kPlatform = "x86_64", *kLibraryFolder = MALLARD_LIBRARY_FOLDER;
inline constexpr std::int32_t kLoaderCacheKind = 0x0303;

}  // namespace mallard::arch
