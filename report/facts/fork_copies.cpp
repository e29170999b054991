// SPDX-License-Identifier: Apache-2.0
#include "report/facts/fork_copies.hpp"

#include <fcntl.h>

#include <algorithm>
#include <initializer_list>

#include "base/os.hpp"
#include "base/pagemap.hpp"

namespace mallard::report {
namespace {

using pagemap::kMappedOnce, pagemap::kOfFile, pagemap::kPresent;
constexpr std::size_t kPagesAtOnce = 512;

/// The page tables of the two processes.
class PageTables {
 public:
  PageTables(Arena& arena, const ProcessMemory& process, int parent_pid) noexcept
      : ours_(os::open(ProcessMemory::Path(process, "pagemap").c_str(), O_RDONLY)) {
    FixedText<64> path;
    path.add("/proc/").add_signed(parent_pid).add("/pagemap");
    if (parent_pid > 0) parents_ = os::open(path.c_str(), O_RDONLY);
    entries_ = arena.array<std::uint64_t>(2 * kPagesAtOnce);
  }
  ~PageTables() {
    for (const long fd : {ours_, parents_})
      if (fd >= 0) os::close(static_cast<int>(fd));
  }
  PageTables(const PageTables&) = delete;
  PageTables& operator=(const PageTables&) = delete;

  bool are_readable() const noexcept { return ours_ >= 0 && parents_ >= 0 && entries_; }

  /// Bytes of [begin, end) that are in memory twice.
  std::uint64_t bytes_twice(std::uintptr_t begin, std::uintptr_t end) noexcept {
    std::uint64_t bytes = 0;
    for (std::uintptr_t page = begin & ~(kPageBytes - 1); page < end; page += kPagesAtOnce * kPageBytes) {
      const std::size_t pages =
          std::min<std::size_t>(kPagesAtOnce, (end - page + kPageBytes - 1) / kPageBytes);
      std::uint64_t* const theirs = entries_ + kPagesAtOnce;
      const long got = std::min(pagemap::read_entries(ours_, page, pages, entries_),
                                pagemap::read_entries(parents_, page, pages, theirs));
      for (long i = 0; i < got; ++i) {
        const std::uintptr_t at = page + static_cast<std::uintptr_t>(i) * kPageBytes;
        if (is_ours_alone(entries_[i]) && is_anonymous(theirs[i]))
          bytes += std::min(end, at + kPageBytes) - std::max(begin, at);
      }
    }
    return bytes;
  }

 private:
  static bool is_anonymous(std::uint64_t entry) noexcept { return (entry & kPresent) && !(entry & kOfFile); }
  static bool is_ours_alone(std::uint64_t entry) noexcept {
    return is_anonymous(entry) && (entry & kMappedOnce);
  }

  long ours_, parents_ = -1;
  std::uint64_t* entries_;
};

}  // namespace

Estimate copied_since_fork(Arena& arena, const ProcessMemory& process,
                           std::span<const record::LiveBlock> samples, std::uint64_t forked_ns,
                           int parent_pid, std::uint64_t budget_ns) noexcept {
  Estimate copied;
  PageTables tables(arena, process, parent_pid);
  if (!tables.are_readable()) return {};
  const std::uint64_t began = os::thread_work_ns();
  for (const record::LiveBlock& block : samples) {
    if (block.born_ns >= forked_ns) continue;
    copied.add(block.weight,
               static_cast<double>(tables.bytes_twice(block.address, block.address + block.asked_bytes)));
    if (os::thread_work_ns() - began > budget_ns) return {};
  }
  if (copied.value <= 0) return counted(0);
  set_interval(copied);
  return copied;
}

}  // namespace mallard::report
