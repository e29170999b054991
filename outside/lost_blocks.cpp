// SPDX-License-Identifier: Apache-2.0
#include "outside/lost_blocks.hpp"

#include <algorithm>

#include "base/os.hpp"
#include "base/times.hpp"
#include "outside/heaps_found.hpp"
#include "outside/look.hpp"
#include "outside/lost_groups.hpp"
#include "outside/lost_sites.hpp"
#include "record/exact/exact.hpp"
#include "record/record.hpp"

namespace mallard::outside {
namespace {

/// Two looks are the least; where the program moved much between them, more follow.
constexpr int kLeastLooks = 2;

void rest(std::uint64_t ns) noexcept {
  const timespec pause = timespec_of(ns);
  os::call(SYS_nanosleep, os::arg(&pause));
}

/// What blocks held when they were first found lost, 16 bits each, in the order of their addresses.
class Contents {
 public:
  ~Contents() { release(); }
  bool begin(std::uint64_t blocks) noexcept {
    release();
    bytes_ = align_up((blocks + 1) * sizeof *sums_, kPageBytes);
    sums_ = static_cast<std::uint16_t*>(os::map_sparse(bytes_));
    return sums_ != nullptr;
  }
  std::uint16_t& operator[](std::uint64_t i) noexcept { return sums_[i]; }
  std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  void release() noexcept {
    if (sums_) os::unmap(sums_, bytes_);
    sums_ = nullptr;
  }
  std::uint16_t* sums_ = nullptr;
  std::uint64_t bytes_ = 0;
};

std::uint16_t sum_of(PageCache& pages, const FoundBlock& block) noexcept {
  constexpr std::uint64_t kLookedAt = 64 << 10, kPrime = 0x9e37'79b9'7f4a'7c15;
  std::uint64_t sum = block.bytes;
  pages.each_word(block.begin, block.begin + std::min(block.bytes, kLookedAt), [&](std::uint64_t word) {
    sum = (sum ^ word) * kPrime;
    sum ^= sum >> 29;
  });
  return static_cast<std::uint16_t>(sum >> 40);
}

class Search {
 public:
  Search(Arena& arena, const ProcessMemory& process, const Threads& threads, std::uint64_t again_ns,
         const LostBooks* books, report::LostBlocks* out) noexcept
      : arena_(arena), process_(process), threads_(threads), again_ns_(again_ns), books_(books), out_(*out) {}

  void run() noexcept {
    std::uint64_t began = 0, before = 0;
    const int most = again_ns_ == 0 ? 1 : kMostLooks, least = std::min(most, kLeastLooks);
    for (out_.looks = 0; out_.looks < most;) {
      if (out_.looks > 0) rest(again_ns_);
      const std::uint64_t now = os::monotonic_ns();
      if (out_.looks == 0) began = now;
      out_.between_ns = now - began;
      report::Served served;
      if (!read_books(&served)) return;
      // The look ends with its data: the memory of one at a time is taken.
      Look look(process_, served, blocks_, threads_, &out_);
      if (!look.run() || !keep_lost(look.pages())) return;
      ++out_.looks;
      const bool is_last =
          noted_ == 0 || out_.looks == most || (out_.looks >= least && before - noted_ <= before / 100);
      before = noted_;
      if (is_last) sum_up(look);
      out_.duration_ns += os::monotonic_ns() - now;
      if (is_last) return;
    }
  }

 private:
  bool read_books(report::Served* served) noexcept {
    if (!books_) {
      *served = served_of_other_process();
      return true;
    }
    const report::Served* theirs = books_->read(books_->self);
    if (!theirs) return fail("its books could not be read to the end");
    if (theirs->bypassed || theirs->stepped_aside)
      return fail("its memory is another allocator's, and none of mallard's: inspect --leaks looks there");
    *served = *theirs;
    return true;
  }

  /// Keeps notes of what is lost: in the first look of all that was not reached, then of what is so still.
  bool keep_lost(PageCache& pages) noexcept {
    std::uint64_t kept = 0, index = 0;
    if (out_.looks == 0) {
      blocks_.each([&](const FoundBlock& block) { noted_ += !blocks_.is_marked(block); });
      if (!contents_.begin(noted_)) return fail();
      blocks_.each([&](const FoundBlock& block) {
        if (blocks_.is_marked(block)) return;
        blocks_.note(block.begin, true);
        contents_[kept++] = sum_of(pages, block);
      });
    } else {
      blocks_.each_note([&](std::uintptr_t begin) {
        const std::uint16_t sum = contents_[index++];
        const FoundBlock block = blocks_.block_at(begin);
        const bool still = block.begin != 0 && !blocks_.is_marked(block) && sum_of(pages, block) == sum;
        blocks_.note(begin, still);
        if (still) contents_[kept++] = sum;
      });
    }
    noted_ = kept;
    return true;
  }

  void sum_up(Look& look) noexcept {
    out_.done = true;
    out_.examined_blocks = blocks_.count();
    out_.examined_bytes = blocks_.bytes();
    out_.own_bytes = blocks_.own_bytes() + contents_.bytes() + PageCache::kBytes;
    if (noted_ > 0) out_.own_bytes += blocks_.note_bytes();
    LostGroups groups(arena_, blocks_, look);
    if (!groups.run(&out_)) return void(fail());
    report::Served served;
    if (books_ && read_books(&served) && is_recorded() && !find_lost_sites(arena_, blocks_, &out_)) fail();
  }

  static bool is_recorded() noexcept { return record::exact_is_on() || record::is_recording(); }

  bool fail(const char* why = "there was no memory for it") noexcept {
    out_.done = false;
    out_.why_not = why;
    return false;
  }

  Arena& arena_;
  const ProcessMemory& process_;
  const Threads& threads_;
  const std::uint64_t again_ns_;
  const LostBooks* const books_;
  report::LostBlocks& out_;
  BlockMap blocks_;
  Contents contents_;
  std::uint64_t noted_ = 0;
};

}  // namespace

void find_lost_blocks(Arena& arena, const ProcessMemory& process, const Threads& threads,
                      std::uint64_t again_ns, const LostBooks* books, report::LostBlocks* out) noexcept {
  *out = {};
  out->asked = true;
  Search(arena, process, threads, again_ns, books, out).run();
}

}  // namespace mallard::outside
