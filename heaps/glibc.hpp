// SPDX-License-Identifier: Apache-2.0
// The census of glibc's malloc, and the parts that walk its heap. Nothing here calls glibc: no lock, no
// allocation.
#pragma once

#include "base/attributes.hpp"
#include "base/pauses.hpp"
#include "heaps/census.hpp"
#include "heaps/glibc_layout.hpp"

namespace mallard::heaps {

/// Takes the version, as gnu_get_libc_version says it. \return false if its heap is not known \context init
bool set_glibc_version(const char* text) noexcept;
/// The x of the glibc 2.x that was taken last; 0 = none that is known.
int glibc_minor() noexcept;
/// Backend::census of glibc's malloc. \context reporter
CensusResult census_glibc(const CensusRequest& request) noexcept;

namespace glibc {

/// What the version has that was taken last. \context reporter
const Layout& layout() noexcept;

struct Chunk {
  std::uintptr_t at;
  std::uint64_t size;           ///< without flags
  std::uint64_t first, second;  ///< the first words of its block
};

/// Copies of the memory that is walked, in windows that grow while the walk is sequential.
class Reader {
 public:
  Reader(const ProcessMemory& process, std::span<const AddressRange> resident) noexcept
      : process_(process), resident_(resident) {}
  ~Reader();
  Reader(const Reader&) = delete;
  bool start() noexcept;

  /// `bytes` (at most a page) from `at` on, valid until the next call; nullptr if they are not in memory.
  const std::uint64_t* words(std::uintptr_t at, std::size_t bytes) noexcept {
    if (MALLARD_LIKELY(at >= begin_ && at + bytes <= end_))
      return reinterpret_cast<const std::uint64_t*>(buffer_ + (at - begin_));
    return fill(at, bytes);
  }
  bool in_window(std::uintptr_t at, std::size_t bytes) const noexcept {
    return at >= begin_ && at + bytes <= end_;
  }
  /// Copies without moving the window, for looks aside. \return false if not all is in memory
  bool copy(std::uintptr_t at, void* to, std::size_t bytes) noexcept;

  /// The first page from `at` on that is in memory; `end` if there is none before it.
  std::uintptr_t next_resident(std::uintptr_t at, std::uintptr_t end) noexcept;
  std::uint64_t resident_bytes(std::uintptr_t begin, std::uintptr_t end) noexcept;

  std::uint64_t reads = 0;

 private:
  static constexpr std::size_t kWindowBytes = 128u << 10;
  const std::uint64_t* fill(std::uintptr_t at, std::size_t bytes) noexcept;
  bool is_present(std::uintptr_t page, std::size_t pages) const noexcept;
  /// The first resident range that ends after `at`.
  const AddressRange* run_after(std::uintptr_t at) noexcept;

  const ProcessMemory& process_;
  std::span<const AddressRange> resident_;
  std::size_t hint_ = 0;
  char* buffer_ = nullptr;
  std::uintptr_t begin_ = 0, end_ = 0;
  std::size_t window_ = kPageBytes;
  Pauses pauses_{400'000};
};

/// Memory that glibc got in one go. It begins on a page that was touched.
struct Piece {
  enum Kind { kUnknown, kMainHeap, kArenaHeap, kMappedBlock } kind;
  std::uintptr_t begin, end;  ///< kMainHeap: ends there at the latest
  std::uintptr_t first;       ///< its first chunk
  std::uint64_t usable = 0;   ///< kMappedBlock: what its block has

  /// Can a chunk with the header `head` begin at `at`?
  bool may_hold(std::uintptr_t at, std::uint64_t head) const noexcept {
    const std::uint64_t size = head & ~kFlags, never = kind == kMainHeap ? kMapped | kNotMainArena : kMapped;
    return size >= kSmallestChunk && size % 16 == 0 && size <= end - at && (head & never) == 0;
  }
};

/// What begins at the page `at`; it ends at `end` at the latest. Memory that begins like nothing else is
/// taken for the main heap.
Piece piece_at(Reader& reader, std::uintptr_t at, std::uintptr_t end) noexcept;

/// Adds live blocks up to units, page by page, in ascending order.
class PageTally {
 public:
  explicit PageTally(const CensusRequest& request) noexcept : request_(request) {}

  /// What follows belongs to units that begin at `from` or later.
  void begin(std::uintptr_t from) noexcept {
    page_ = from & ~(kPageBytes - 1);
    unit_ = from;
  }
  void add_live(std::uintptr_t chunk, std::uint64_t size) noexcept {
    const std::uintptr_t from = chunk + 8, to = from + size;
    if (MALLARD_LIKELY(from >= page_ && to <= page_ + kPageBytes)) {
      overhead_ += 8;
      live_ += size - 8;
    } else {
      add_across(from, to);
    }
  }
  /// A block of glibc's own: keeps its page without being live.
  void add_metadata(std::uintptr_t chunk, std::uint64_t size) noexcept;
  /// Reports what is pending; its unit ends at `limit` at the latest.
  void flush(std::uintptr_t limit) noexcept;
  void emit(std::uintptr_t begin, std::uintptr_t end, UnitKind kind, std::uint64_t live = 0,
            std::uint64_t overhead = 0, std::uint64_t block = 0) noexcept;

 private:
  void add_across(std::uintptr_t from, std::uintptr_t to) noexcept;
  void go_to(std::uintptr_t page) noexcept;
  bool has_only_a_header() const noexcept { return live_ == 0 && overhead_ == 8 && !metadata_; }

  const CensusRequest& request_;
  std::uintptr_t page_ = 0;  ///< the current one
  std::uintptr_t unit_ = 0;  ///< where its unit begins
  std::uint64_t live_ = 0, overhead_ = 0;
  bool metadata_ = false;
};

/// Adds up free memory by what would give it back, in the order in which chunks are met.
class FreePieces {
 public:
  FreePieces(Reader& reader, FreeMemory& sum) noexcept : reader_(reader), sum_(sum) {}

  void on_arena_heap(const Piece& piece) noexcept;
  /// \param resident_bytes  of the top of an arena
  void on_top(std::uint64_t resident_bytes) noexcept;
  /// \param is_main  what is walked next belongs to the main arena
  void begin(bool is_main) noexcept { is_main_ = is_main; }
  void on_live(const Chunk& chunk) noexcept {
    live_end_ = chunk.at + chunk.size;
    if (chunk.at < cached_page_ + kPageBytes) cached_page_is_live_ = true;
    if (!is_main_) live_in_arenas_ += chunk.size;
  }
  void on_free(const Chunk& chunk) noexcept;
  /// A block of a thread cache, no longer than two pages.
  void on_cached(const Chunk& chunk) noexcept;
  /// The last chunk of a heap is its top, which ends at `end`.
  void on_end(const Chunk& chunk, std::uintptr_t end) noexcept;
  void end_stretch() noexcept;
  /// Makes sums over chunks those of all, where one stretch in so many was walked.
  void scale_up(std::uint64_t one_in) noexcept;

 private:
  void leave_page() noexcept;

  Reader& reader_;
  FreeMemory& sum_;
  bool is_main_ = false;
  std::uint64_t live_in_arenas_ = 0;
  std::uintptr_t live_end_ = 0;     ///< where the last live chunk ends
  std::uintptr_t cached_page_ = 0;  ///< the last page with a block of a thread cache; 0 = none
  bool cached_page_is_live_ = false;
};

/// Tells blocks in thread caches and fastbins, which look like live ones, by the words that glibc writes into
/// them.
class FreeLists {
 public:
  FreeLists(Reader& reader, int minor) noexcept
      : reader_(reader), layout_(layout()), mangled_(minor >= 32), random_key_(minor >= 34) {}

  /// The addresses between which the chunks of an arena may lie: lists do not leave them.
  void set_bounds(std::uintptr_t begin, std::uintptr_t end) noexcept { begin_ = begin, end_ = end; }
  /// Learns the key that marks blocks in thread caches from a tcache_perthread_struct, if the chunk is one.
  void learn_key(std::uintptr_t chunk) noexcept;
  bool wants_key() const noexcept { return random_key_ && key_ == 0; }
  bool is_thread_cache(std::uintptr_t chunk) noexcept;
  /// `chunk` is on a list: is it that of a thread cache, as far as the key is known?
  bool is_cached(const Chunk& chunk) const noexcept { return key_ != 0 && chunk.second == key_; }
  /// `chunk` looks live and is at most as large as thread caches take: is it on a list?
  bool holds(const Chunk& chunk) noexcept {
    const std::uintptr_t next = next_of(chunk.at + 16, chunk.first);
    // In a thread cache? That takes the key, which glibc erases when it hands the block out.
    if (key_ != 0 && chunk.second == key_) return (next & 15) == 0;
    if ((!random_key_ || key_ == 0) && has_unknown_key(chunk)) return true;
    // The end of a fastbin (next = 0) looks the same as a live block that nobody has written to. An
    // arena has at most ten such ends.
    return chunk.size <= layout_.largest_fast && next != 0 && plausible(next) && in_fastbin(chunk, next);
  }

 private:
  std::uintptr_t next_of(std::uintptr_t block, std::uint64_t word) const noexcept {
    return mangled_ ? word ^ (block >> 12) : word;
  }
  bool plausible(std::uintptr_t next) const noexcept {
    return (next & 15) == 0 && (next == 0 || (next >= begin_ && next < end_));
  }
  bool has_unknown_key(const Chunk& chunk) noexcept;
  bool leads_on(std::uintptr_t next, std::uint64_t size, int hops) noexcept;
  bool share_arena(std::uintptr_t chunk, std::uintptr_t next) noexcept;
  bool is_plain_link(std::uint64_t word, std::uint64_t size) noexcept;
  bool in_fastbin(const Chunk& chunk, std::uintptr_t next) noexcept;

  Reader& reader_;
  const Layout& layout_;
  std::uintptr_t begin_ = 0, end_ = 0;
  std::uint64_t key_ = 0;  ///< 0 = not known
  int tries_ = 0;          ///< to learn the key from neighbours
  static constexpr int kKinds = 4;
  struct Checks {
    std::uint64_t made, refuted, skipped;
  } checks_[kKinds] = {};
  bool mangled_, random_key_;
};

}  // namespace glibc
}  // namespace mallard::heaps
