// SPDX-License-Identifier: Apache-2.0
// Which memory an unwinder may read plainly, and how it reads everything else without ever faulting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/attributes.hpp"
#include "unwind/own_stack.hpp"

namespace mallard::unwind {

/// A loaded object, as far as unwinding needs it.
struct Module {
  std::uintptr_t start, end;  ///< of its mapping
  std::uintptr_t table;       ///< its PT_GNU_EH_FRAME segment; 0 if it has none
};

/// Prepares find_module() where libc has no _dl_find_object. \context init
void modules_init() noexcept;
/// Takes no lock: _dl_find_object, or a snapshot taken at init and what was met since. \context hot
bool find_module(std::uintptr_t code, Module* out) noexcept;
/// An object was unloaded: what was met since init is not known any more. \context any thread
void forget_modules() noexcept;

/// Memory that may be read plainly.
struct Segment {
  std::uintptr_t start = 0, end = 0;
  bool holds(std::uintptr_t address, std::size_t bytes = 1) const noexcept {
    return address >= start && address < end && end - address >= bytes;
  }
};
/// The readable segment of an object that holds an address. \return an empty one if there is none
/// \context hot
Segment find_segment(const Module& module, std::uintptr_t address) noexcept;

/// Reads words of a stack. The own stack above `sp` is read plainly, since it stays mapped while its
/// thread runs; all else through the kernel, in blocks.
class StackReader {
 public:
  explicit StackReader(std::uintptr_t sp) noexcept : sp_(sp) {
    const std::uintptr_t top = own_stack_top(sp);
    if (top > sp + sizeof(std::uintptr_t)) bytes_ = top - sp - (sizeof(std::uintptr_t) - 1);
  }

  bool own(std::uintptr_t address) const noexcept { return address - sp_ < bytes_; }

  bool read(std::uintptr_t address, std::uintptr_t* word) noexcept {
    if (MALLARD_LIKELY(own(address))) {
      std::memcpy(word, reinterpret_cast<const void*>(address), sizeof *word);
      return true;
    }
    return read_checked(address, word);
  }

 private:
  static constexpr std::size_t kBlock = 128;  // small: it lives on the host's stack
  bool read_checked(std::uintptr_t address, std::uintptr_t* word) noexcept;

  std::uintptr_t sp_, bytes_ = 0;
  std::uintptr_t block_at_ = 1;  // no block
  char block_[kBlock];
};

}  // namespace mallard::unwind
