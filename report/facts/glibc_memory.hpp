// SPDX-License-Identifier: Apache-2.0
// Memory that glibc maps without calling our mmap: its malloc's arenas and single chunks, thread stacks.
// Recognised by what stands in it, read so that it may vanish meanwhile. Context: reporter.
#pragma once

#include <cstdint>

#include "base/process_memory.hpp"

namespace mallard::report {

enum class GlibcKind : std::uint8_t {
  kUnknown,
  kArena,  ///< a heap of a malloc arena, its unused tail included as far as it is writable
  kChunk,  ///< a block that malloc mapped by itself
  kStack,  ///< a thread's stack, with its TLS and thread control block on top
};

struct GlibcPiece {
  std::uintptr_t begin, end;
  GlibcKind kind;
};

/// Cuts memory whose mapper is unknown into pieces.
class GlibcMemory {
 public:
  explicit GlibcMemory(const ProcessMemory& process) noexcept
      : process_(process), pages_left_(kPagesToLookAt) {}

  /// Takes sizeof(struct pthread), as thread_layout_of has it; without, no stack is known.
  void set_thread_bytes(std::uint32_t bytes) noexcept;

  /// The first piece of [begin, end), which is anonymous, private and writable. Pages that are not in memory
  /// are not read. `reach` >= end says how far memory of the same sort goes; a chunk may end there,
  /// and so may an arena's heap, because what it grows by after a fork stays a mapping of its own in the
  /// child.
  GlibcPiece next(std::uintptr_t begin, std::uintptr_t end, std::uintptr_t reach) noexcept;

  /// True if the brk heap that begins at `begin` looks like glibc's malloc.
  bool is_main_heap(std::uintptr_t begin, std::uintptr_t end) const noexcept;

 private:
  bool stack_that_ends_at(std::uintptr_t block_end, std::uintptr_t lowest, std::uintptr_t* begin) noexcept;
  /// Whether the thread descriptor at `thread` is that of a stack in a block that ends at `block_end`.
  bool is_thread_of(std::uintptr_t thread, std::uintptr_t block_end, std::uintptr_t lowest,
                    std::uintptr_t* begin) noexcept;
  bool in_memory(std::uintptr_t page) noexcept;
  bool is_chain(std::uintptr_t at, std::uintptr_t end, int chunks) const noexcept;

  static constexpr std::uint32_t kPagesToLookAt = 65536;  ///< a third of a microsecond each
  static constexpr std::uint32_t kWindowPages = 1024;
  static constexpr std::uint32_t kMaxThreadBytes = 8192;

  const ProcessMemory& process_;
  std::uint32_t thread_bytes_ = 0;  ///< sizeof(struct pthread); 0 = unknown
  std::uint32_t pages_left_;        ///< how many more pages may be looked at one by one
  std::uintptr_t window_ = 0, window_end_ = 0;
  unsigned char present_[kWindowPages];
};

}  // namespace mallard::report
