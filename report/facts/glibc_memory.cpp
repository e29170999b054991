// SPDX-License-Identifier: Apache-2.0
#include "report/facts/glibc_memory.hpp"

#include <algorithm>

#include "heaps/glibc_layout.hpp"

namespace mallard::report {
namespace {

using heaps::glibc::ChunkHeader;
using heaps::glibc::HeapInfo;

constexpr std::uint32_t kPagesPerCall = 8;  // that a call of mincore counts for

/// First words of a thread's control block (arch/thread.hpp): both pointers are its own address.
struct ThreadHead {
  std::uintptr_t tcb, dtv, self;
};

/// \return the end of the accessible part of the arena heap at `at`, or 0
std::uintptr_t arena_heap_end(const ProcessMemory& process, std::uintptr_t at,
                              std::uintptr_t limit) noexcept {
  HeapInfo heap;
  if (at % heaps::glibc::kHeapAlignment != 0 || !process.get(at, &heap) || !heap.is_at(at) ||
      heap.accessible_bytes > heaps::glibc::kHeapBytes)
    return 0;
  // It may have grown since the mappings were listed.
  return std::min(limit, at + heap.accessible_bytes);
}

/// \return the end of the block at `at` that malloc mapped by itself, or 0
std::uintptr_t mapped_block_end(const ProcessMemory& process, std::uintptr_t at,
                                std::uintptr_t limit) noexcept {
  return heaps::glibc::find_mapped_block(
             [&process](std::uintptr_t from, ChunkHeader* to) { return process.get(from, to); }, at, limit)
      .end;
}

}  // namespace

void GlibcMemory::set_thread_bytes(std::uint32_t bytes) noexcept {
  if (bytes >= sizeof(ThreadHead) && bytes <= kMaxThreadBytes) thread_bytes_ = bytes;
}

bool GlibcMemory::in_memory(std::uintptr_t page) noexcept {
  if (page < window_ || page >= window_end_) {
    if (pages_left_ > 0) pages_left_ -= pages_left_ < kPagesPerCall ? pages_left_ : kPagesPerCall;
    window_ = page;
    window_end_ = page + kPageBytes;
    std::size_t pages = kWindowPages;
    while (pages > 0 && !process_.pages_present(page, pages, present_)) pages /= 2;
    if (pages == 0) return false;
    window_end_ = page + pages * kPageBytes;
  }
  return present_[(page - window_) / kPageBytes] & 1;
}

/// The largest alignment that any object asks for its TLS is that of all threads' descriptors: 64 at least.
bool GlibcMemory::stack_that_ends_at(std::uintptr_t block_end, std::uintptr_t lowest,
                                     std::uintptr_t* begin) noexcept {
  constexpr std::uintptr_t kSmallestAlignment = 64;
  if (thread_bytes_ == 0) return false;
  std::uintptr_t looked_at = 0;
  for (std::uintptr_t alignment = kSmallestAlignment; alignment <= kPageBytes; alignment *= 2) {
    if (block_end - lowest < thread_bytes_ + alignment) return false;
    const std::uintptr_t thread = (block_end - thread_bytes_) & ~(alignment - 1);
    if (thread == looked_at) continue;
    looked_at = thread;
    if (is_thread_of(thread, block_end, lowest, begin)) return true;
  }
  return false;
}

bool GlibcMemory::is_thread_of(std::uintptr_t thread, std::uintptr_t block_end, std::uintptr_t lowest,
                               std::uintptr_t* begin) noexcept {
  ThreadHead head;
  if (!in_memory(thread & ~std::uintptr_t{kPageBytes - 1}) || !process_.get(thread, &head) ||
      head.tcb != thread || head.self != thread)
    return false;
  // A descriptor (struct pthread) keeps where its block begins and how large it is, next to each other.
  std::uintptr_t words[kMaxThreadBytes / sizeof(std::uintptr_t)];
  const std::size_t count = thread_bytes_ / sizeof *words;
  if (!process_.copy(words, thread, count * sizeof *words)) return false;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (words[i] % kPageBytes != 0 || words[i] == 0 || words[i] >= thread) continue;
    if (words[i] + words[i + 1] != block_end) continue;
    *begin = words[i] > lowest ? words[i] : lowest;
    return true;
  }
  return false;
}

GlibcPiece GlibcMemory::next(std::uintptr_t begin, std::uintptr_t end, std::uintptr_t reach) noexcept {
  for (std::uintptr_t at = begin; at < end; at += kPageBytes) {
    if (pages_left_ == 0 && at + kPageBytes != end) {
      at = end - 2 * kPageBytes;  // the end of a mapping is always looked at: most stacks end there
      continue;
    }
    // Chunks and arenas begin with a header, stacks may begin with pages that were never used.
    if (!in_memory(at)) continue;
    if (pages_left_ > 0) {
      --pages_left_;
      GlibcKind kind = GlibcKind::kArena;
      std::uintptr_t piece_end = arena_heap_end(process_, at, reach);
      if (piece_end == 0) {
        kind = GlibcKind::kChunk;
        piece_end = mapped_block_end(process_, at, reach);
      }
      if (piece_end != 0)
        return at == begin ? GlibcPiece{at, piece_end, kind} : GlibcPiece{begin, at, GlibcKind::kUnknown};
    }
    std::uintptr_t stack_begin;
    if (stack_that_ends_at(at + kPageBytes, begin, &stack_begin))
      return stack_begin == begin ? GlibcPiece{begin, at + kPageBytes, GlibcKind::kStack}
                                  : GlibcPiece{begin, stack_begin, GlibcKind::kUnknown};
  }
  return {begin, end, GlibcKind::kUnknown};
}

/// Do chunks follow one another from `at`, or fewer and then the end?
bool GlibcMemory::is_chain(std::uintptr_t at, std::uintptr_t end, int chunks) const noexcept {
  for (int i = 0; i < chunks; ++i) {
    ChunkHeader c;
    if (!process_.get(at, &c)) return false;
    if ((i == 0 && c.flags() != heaps::glibc::kPreviousInUse) || c.size() < heaps::glibc::kSmallestChunk ||
        c.size() % heaps::glibc::kChunkAlignment != 0 || c.size() > end - at)
      return false;
    at += c.size();
    if (at + sizeof c >= end) return true;
  }
  return true;
}

bool GlibcMemory::is_main_heap(std::uintptr_t begin, std::uintptr_t end) const noexcept {
  constexpr int kChunks = 4, kManyChunks = 16;
  if (is_chain(begin, end, kChunks)) return true;
  if (process_.is_own()) return false;
  // In a program that is linked statically the main thread's TLS comes first.
  constexpr std::uintptr_t kMostTls = 1 << 20;
  const std::uintptr_t last = std::min(end, begin + kMostTls);
  std::uint64_t words[kPageBytes / sizeof(std::uint64_t)];
  for (std::uintptr_t page = begin; page < last; page += kPageBytes) {
    unsigned char present;
    if (!process_.pages_present(page, 1, &present) || !(present & 1) || !process_.get(page, &words)) continue;
    for (std::size_t i = 0; i + 1 < kPageBytes / sizeof *words; i += 2)
      if ((words[i + 1] & heaps::glibc::kFlags) == heaps::glibc::kPreviousInUse &&
          words[i + 1] < end - page && is_chain(page + i * sizeof *words, end, kManyChunks))
        return true;
  }
  return false;
}

}  // namespace mallard::report
