// SPDX-License-Identifier: Apache-2.0
// The census of glibc's heap: finds its pieces (the break, heaps of other arenas, single mapped blocks) and
// walks their chunks. If that is more than the budget, stretches chosen by a hash of their address stand for
// the rest: one cell of 1 MiB in every k, where a stretch runs from the first sampled block of its cell to
// that of the next cell that has one. The choice does not depend on what a stretch holds, so each is in with
// chance 1/k.
#include "heaps/glibc.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace mallard::heaps {
namespace glibc {
namespace {

constinit int g_minor = 0;  // of glibc 2.x; 0 = none that is known
constinit Layout g_layout = layout_of(kOldest);

class Census {
 public:
  Census(const CensusRequest& request, CensusResult& result) noexcept
      : request_(request),
        result_(result),
        reader_(request.process, request.resident),
        tally_(request),
        free_(reader_, result.free_memory),
        lists_(reader_, g_minor) {}

  void run() noexcept;

 private:
  void survey() noexcept;
  void look_for_key(const Piece& piece, std::uint64_t* allowed) noexcept;
  void report_mapped_block(const Piece& piece) noexcept;
  void look_at_arena(const Piece& piece) noexcept;
  std::uintptr_t walk(const Piece& piece) noexcept;
  std::uintptr_t walk_stretch(std::uintptr_t from, std::uintptr_t stop, const Piece& piece) noexcept;
  std::uintptr_t stretch_end(std::uintptr_t from, std::uintptr_t end) noexcept;
  void settle(const Chunk& chunk) noexcept;
  bool is_free(const Chunk& chunk, bool sampled) noexcept;
  bool is_chain(std::uintptr_t at, const Piece& piece) noexcept;
  std::uintptr_t resync(std::uintptr_t from, const Piece& piece) noexcept;
  std::size_t sample_from(std::uintptr_t at) const noexcept;
  void go_to_sample(std::size_t index) noexcept {
    sample_ = index;
    sample_at_ = index < request_.sampled_blocks.size() ? request_.sampled_blocks[index] : ~std::uintptr_t{0};
  }

  const CensusRequest& request_;
  CensusResult& result_;
  Reader reader_;
  PageTally tally_;
  FreePieces free_;
  FreeLists lists_;
  std::uint64_t one_in_ = 1;
  AddressRange arenas_{~std::uintptr_t{0}, 0};  ///< where heaps of other arenas lie
  std::size_t sample_ = 0;
  std::uintptr_t sample_at_ = 0;
  std::uint64_t met_ = 0,
                missed_ = 0;  ///< sampled blocks that were, and were not, where the walk found chunks
  std::uint64_t walked_ = 0, broken_ = 0;  ///< chunks, and how often one did not follow the other
};

/// Walks at most `allowed` bytes to find a thread cache with blocks in it.
void Census::look_for_key(const Piece& piece, std::uint64_t* allowed) noexcept {
  for (std::uintptr_t at = piece.first; at < piece.end && lists_.wants_key() && *allowed > 0;) {
    const std::uint64_t* words = reader_.words(at, 16);
    if (!words || !piece.may_hold(at, words[1])) return;
    const std::uint64_t size = words[1] & ~kFlags;
    if (size == layout().thread_cache_chunk()) lists_.learn_key(at);
    *allowed -= size < *allowed ? size : *allowed;
    at += size;
  }
}

/// Learns where the arenas are, how much there is to walk, and the key of the thread caches.
void Census::survey() noexcept {
  std::uint64_t bytes = 0;
  for (const AddressRange& range : request_.heap)
    for (std::uintptr_t at = range.begin; (at = reader_.next_resident(at, range.end)) < range.end;) {
      const Piece piece = piece_at(reader_, at, range.end);
      at = piece.end;
      if (piece.kind != Piece::kMainHeap && piece.kind != Piece::kArenaHeap) continue;
      bytes += reader_.resident_bytes(piece.begin, piece.end);
      if (piece.kind == Piece::kArenaHeap) {
        if (piece.begin < arenas_.begin) arenas_.begin = piece.begin;
        if (piece.end > arenas_.end) arenas_.end = piece.end;
        look_at_arena(piece);
        free_.on_arena_heap(piece);
      }
      lists_.learn_key(piece.first);  // the cache of the thread that began this heap, as a rule
    }
  std::uint64_t allowed = 64u << 20;
  for (const AddressRange& range : request_.heap)
    for (std::uintptr_t at = range.begin;
         lists_.wants_key() && allowed > 0 && (at = reader_.next_resident(at, range.end)) < range.end;) {
      const Piece piece = piece_at(reader_, at, range.end);
      at = piece.end;
      if (piece.kind == Piece::kMainHeap || piece.kind == Piece::kArenaHeap) look_for_key(piece, &allowed);
    }
  if (request_.budget_bytes > 0) one_in_ = (bytes + request_.budget_bytes - 1) / request_.budget_bytes;
  if (one_in_ == 0) one_in_ = 1;
}

void Census::report_mapped_block(const Piece& piece) noexcept {
  const std::uint64_t usable = piece.usable;
  const std::uintptr_t block = piece.first + 16;
  // Since 2.42 thread caches take such blocks, too, where glibc.malloc.tcache_max lets them.
  std::uint64_t words[2];
  if (usable <= layout().largest_cached && reader_.copy(block, words, sizeof words)) {
    const Chunk chunk{piece.first, usable + 8, words[0], words[1]};
    if (lists_.is_cached(chunk)) return free_.on_cached(chunk);
  }
  if (request_.exact) {
    if (request_.exact->look_up(block, request_.opaque) == Booked::kFree)
      request_.exact->on_disputed(usable, request_.opaque);
    else request_.exact->on_live(block, usable, request_.opaque);
  }
  request_.report_block(block, usable);
  tally_.emit(piece.begin, piece.end, UnitKind::kBlocks, usable, block - piece.begin, usable);
}

/// Counts the arena that begins with this heap, and what its top has in memory.
void Census::look_at_arena(const Piece& piece) noexcept {
  HeapInfo heap;
  std::uint64_t top = 0, threads = 0, head[2];
  if (!reader_.copy(piece.begin, &heap, sizeof heap) || !heap.is_first(piece.begin) ||
      !reader_.copy(heap.arena + layout().arena.top_at, &top, sizeof top) ||
      !reader_.copy(heap.arena + layout().arena.threads_at, &threads, sizeof threads))
    return;
  ++result_.arenas;
  result_.threadless_arenas += threads == 0;
  if (top % kChunkAlignment != 0 || !reader_.copy(top, head, sizeof head)) return;
  const std::uint64_t size = head[1] & ~kFlags;
  // It lies in the arena's newest heap, which need not be its first.
  if (size == 0 || size > kHeapBytes || (top + size) % kPageBytes != 0) return;
  const std::uint64_t resident = reader_.resident_bytes(align_up(top + sizeof head, kPageBytes), top + size);
  result_.arena_top_bytes += resident;
  free_.on_top(resident);
}

std::size_t Census::sample_from(std::uintptr_t at) const noexcept {
  const std::span<const std::uintptr_t> blocks = request_.sampled_blocks;
  return static_cast<std::size_t>(std::lower_bound(blocks.begin(), blocks.end(), at) - blocks.begin());
}

std::uintptr_t Census::stretch_end(std::uintptr_t from, std::uintptr_t end) noexcept {
  if (one_in_ == 1) return end;
  const std::uintptr_t next_cell = ((from >> 20) + 1) << 20;
  const std::size_t i = sample_from(next_cell + 16);
  if (i == request_.sampled_blocks.size() || request_.sampled_blocks[i] >= end) return end;
  return request_.sampled_blocks[i] - 16;
}

/// One cell in each row of `one_in` cells.
bool is_chosen(std::uintptr_t at, std::uint64_t one_in) noexcept {
  const std::uint64_t cell = at >> 20, row = cell / one_in;
  std::uint64_t h = (row + 1) * 0x9e3779b97f4a7c15u;
  h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
  return (h >> 32) % one_in == cell % one_in;
}

/// Do eight chunks follow one another from `at`, or fewer and then the end?
bool Census::is_chain(std::uintptr_t at, const Piece& piece) noexcept {
  std::uint64_t size = 0;
  for (int i = 0; i < 8 && at < piece.end; ++i) {
    std::uint64_t head[2];
    if (!reader_.copy(at, head, sizeof head) || !piece.may_hold(at, head[1])) return false;
    const bool after_used = (head[1] & kPreviousInUse) != 0;
    if (i == 0 ? !after_used : !after_used && head[0] != size) return false;
    size = head[1] & ~kFlags;
    at += size;
  }
  return true;
}

/// Where chunks can be told again after `from`: 1 MiB is tried, then the next sampled block.
std::uintptr_t Census::resync(std::uintptr_t from, const Piece& piece) noexcept {
  constexpr std::uintptr_t kTried = 1u << 20;
  const std::size_t i = sample_from(from + 16);
  const bool known = i < request_.sampled_blocks.size() && request_.sampled_blocks[i] < piece.end;
  const std::uintptr_t limit = known ? request_.sampled_blocks[i] - 16 : piece.end;
  const std::uintptr_t tried = limit - from > kTried ? from + kTried : limit;
  for (std::uintptr_t at = align_up(from, 16); at < tried; at += 16) {
    const std::uint64_t* words = reader_.words(at, 16);
    if (!words) {
      at = reader_.next_resident(align_up(at + 1, kPageBytes), tried) - 16;
      continue;
    }
    if (piece.may_hold(at, words[1]) && is_chain(at, piece)) return at;
  }
  return limit;
}

void Census::settle(const Chunk& chunk) noexcept {
  bool sampled = false;
  while (MALLARD_UNLIKELY(sample_at_ <= chunk.at + 16)) {
    sampled = sample_at_ == chunk.at + 16;
    sampled ? ++met_ : ++missed_;
    go_to_sample(sample_ + 1);
  }
  if (!request_.exact) {
    if (is_free(chunk, sampled)) return;
    free_.on_live(chunk);
    tally_.add_live(chunk.at, chunk.size);
    request_.report_block(chunk.at + 16, chunk.size - 8);
    return;
  }
  const Booked booked = request_.exact->look_up(chunk.at + 16, request_.opaque);
  if (booked == Booked::kFree) {
    if (!is_free(chunk, sampled)) request_.exact->on_disputed(chunk.size - 8, request_.opaque);
  } else if (booked == Booked::kLive || !is_free(chunk, sampled)) {
    request_.exact->on_live(chunk.at + 16, chunk.size - 8, request_.opaque);
    free_.on_live(chunk);
    tally_.add_live(chunk.at, chunk.size);
  }
}

/// On a list of free blocks, or glibc's own, which is counted then.
bool Census::is_free(const Chunk& chunk, bool sampled) noexcept {
  if (chunk.size > layout().largest_cached || sampled) return false;
  if (lists_.holds(chunk)) {
    if (lists_.is_cached(chunk)) free_.on_cached(chunk);
    return true;
  }
  if (chunk.size != layout().thread_cache_chunk() || !lists_.is_thread_cache(chunk.at)) return false;
  tally_.add_metadata(chunk.at, chunk.size);
  return true;
}

/// Walks the chunks from `from` until one begins at `stop` or later. \return that one, or where the piece
/// ends
std::uintptr_t Census::walk_stretch(std::uintptr_t from, std::uintptr_t stop, const Piece& piece) noexcept {
  tally_.begin(from + 8);
  go_to_sample(sample_from(from + 16));
  Chunk last{};  // whose state the next header tells
  std::uintptr_t at = from;
  for (;;) {
    const std::uint64_t* words = at < piece.end ? reader_.words(at, 16) : nullptr;
    if (!words && at % kPageBytes == 0 && last.size != 0) {  // `last` is the top
      free_.on_end(last, at);
      break;
    }
    const std::uint64_t head = words ? words[1] : 0, size = head & ~kFlags;
    if (MALLARD_UNLIKELY(!words || !piece.may_hold(at, head))) {
      if (words && at % kPageBytes == 0 && last.size != 0 &&
          piece_at(reader_, at, piece.end).kind != Piece::kMainHeap) {
        free_.on_end(last, at);
        break;
      }
      const bool fence = words && size == kFencepost;
      if (fence && last.size != 0 && (head & kPreviousInUse) != 0) settle(last);
      if (fence && piece.end - at <= 2 * kFencepost) {
        at = piece.end;
        break;
      }
      if (words && !fence && size > piece.end - at && (head & kFlags & ~kNotMainArena) == kPreviousInUse &&
          (at + size) % kPageBytes == 0)
        break;  // the top, which has grown meanwhile
      if (!fence) ++result_.raced, ++broken_;
      const std::uintptr_t broken = fence || last.size == 0 ? at : last.at;
      tally_.flush(broken + 8);
      at = resync(at + 16, piece);
      tally_.emit(broken + 8, at < piece.end ? at + 8 : at, UnitKind::kNotExamined);
      tally_.begin(at + 8);
      last.size = 0;
      if (at >= stop) return at;
      go_to_sample(sample_from(at + 16));
      continue;
    }
    if (last.size != 0) {
      if (MALLARD_LIKELY((head & kPreviousInUse) != 0)) settle(last);
      else if (words[0] != last.size) ++result_.raced;
      else free_.on_free(last);
    }
    if (at >= stop) break;
    last = {at, size, 0, 0};
    ++walked_;
    if (size <= layout().largest_cached && (words = reader_.words(at, 32))) {
      last.first = words[2];
      last.second = words[3];
    }
    at += size;
  }
  free_.end_stretch();
  tally_.flush(at < piece.end ? at + 8 : at);
  return at;
}

/// \return where the next piece may begin
std::uintptr_t Census::walk(const Piece& piece) noexcept {
  const bool main = piece.kind == Piece::kMainHeap;
  free_.begin(main);
  lists_.set_bounds(main ? piece.begin : arenas_.begin, main ? piece.end : arenas_.end);
  std::uintptr_t at = piece.first;
  if (!main) tally_.emit(piece.begin, at + 8, UnitKind::kMetadata);
  if (!is_chain(at, piece)) {
    const std::uintptr_t found = resync(at, piece);
    tally_.emit(at + 8, found < piece.end ? found + 8 : found, UnitKind::kNotExamined);
    at = found;
  }
  while (at < piece.end) {
    const std::uintptr_t stop = stretch_end(at, piece.end);
    if (one_in_ > 1 && !is_chosen(at, one_in_)) {
      tally_.emit(at + 8, stop < piece.end ? stop + 8 : stop, UnitKind::kNotExamined);
      at = stop;
      continue;
    }
    at = walk_stretch(at, stop, piece);
    if (at < stop) return at;
  }
  return piece.end;
}

void Census::run() noexcept {
  if (!reader_.start()) {
    result_.why_not = "no memory for it";
    return;
  }
  survey();
  for (const AddressRange& range : request_.heap)
    for (std::uintptr_t at = range.begin; (at = reader_.next_resident(at, range.end)) < range.end;) {
      const Piece piece = piece_at(reader_, at, range.end);
      if (piece.kind == Piece::kUnknown) {  // vanished
        ++result_.raced;
        at += kPageBytes;
      } else if (piece.kind == Piece::kMappedBlock) {
        report_mapped_block(piece);
        at = piece.end;
      } else {
        at = align_up(walk(piece), kPageBytes);
      }
    }
  free_.scale_up(one_in_);
  result_.reads = reader_.reads;
  // A program may free most of what was sampled before it is looked for. That chunks follow one another for
  // long shows that they are laid out as expected.
  constexpr std::uint64_t kChunksPerBreak = 16;
  result_.done = missed_ < 16 || missed_ <= met_ || walked_ > kChunksPerBreak * (broken_ + 1);
  if (!result_.done) result_.why_not = "sampled blocks are not where this glibc's chunks were expected";
}

}  // namespace
}  // namespace glibc

bool set_glibc_version(const char* text) noexcept {
  using namespace glibc;
  std::uint64_t minor = 0;
  std::string_view digits = view_of(text);
  g_minor = 0;
  if (part_of(digits, 0, 2) != "2.") return false;
  digits = part_of(digits, 2);
  std::size_t n = 0;
  while (n < digits.size() && digits[n] >= '0' && digits[n] <= '9') ++n;
  if (parse_bytes(part_of(digits, 0, n), &minor) && minor >= kOldest && minor <= kNewest)
    g_minor = static_cast<int>(minor);
  g_layout = layout_of(g_minor);
  return g_minor != 0;
}

const glibc::Layout& glibc::layout() noexcept { return g_layout; }

int glibc_minor() noexcept { return glibc::g_minor; }

CensusResult census_glibc(const CensusRequest& request) noexcept {
  CensusResult result{false, "", "4 KiB page", 0, 0, 0};
  if (glibc::g_minor == 0) {
    result.why_not = "the heap of this version of glibc is not known (2.31 to 2.43 are)";
    return result;
  }
  glibc::Census(request, result).run();
  return result;
}

}  // namespace mallard::heaps
