// SPDX-License-Identifier: Apache-2.0
// The entry points of allocators that programs carry inside, and which function of ours answers each. One
// table for libmallard.so, which takes them over, and for the command, which foretells whether that works.
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard::inside {

/// The allocator whose entry point a symbol is. Where names share an address, the earlier kind decides what
/// they do.
enum class EmbeddedKind : std::uint8_t { kMimalloc, kJemalloc, kProgram };

/// "mimalloc", "jemalloc" or "its own malloc".
std::string_view name_of(EmbeddedKind kind) noexcept;

enum class SymbolRole : std::uint8_t {
  kOther,     ///< nothing to do with blocks
  kEntry,     ///< taken over
  kInternal,  ///< hands out or takes back blocks behind the entries: only the allocator itself may call it
};

struct SymbolMeaning {
  SymbolRole role = SymbolRole::kOther;
  EmbeddedKind kind = EmbeddedKind::kProgram;
  /// The function that answers an entry: an export of libmallard.so, or one of those in
  /// interpose/own_interfaces.cpp.
  std::string_view target = {};
  bool drops_first = false;  ///< the first argument, a heap, is taken away
};

/// \param symbol  as it stands in a symbol table; what compilers append to copies (".part.0") is ignored for
///                internal functions, and makes an entry internal
SymbolMeaning meaning_of(std::string_view symbol) noexcept;

/// True if `symbol` belongs to an allocator by its name, so that it may call the allocator's internals.
bool is_named_like_an_allocator(std::string_view symbol) noexcept;

}  // namespace mallard::inside
