// SPDX-License-Identifier: Apache-2.0
#include "base/parts.hpp"

#include <string.h>

#include <algorithm>

extern "C" {
/// Made by the linker: where the table begins and ends.
extern const mallard::Part __start_mallard_parts[] __attribute__((visibility("hidden"), weak));
extern const mallard::Part __stop_mallard_parts[] __attribute__((visibility("hidden"), weak));
}

namespace mallard {
namespace {

constexpr std::size_t kPagesAtOnce = 256;

/// Calls `visit(begin, end)` for each run of pages in [from, from + bytes) that are in memory, cut to it.
/// \param all  of all pages \return false as soon as `visit` does
template <class Visit>
bool for_each_run(const ProcessMemory& process, std::uintptr_t from, std::size_t bytes, bool all,
                  Visit visit) noexcept {
  const std::uintptr_t end = from + bytes;
  unsigned char present[kPagesAtOnce];
  for (std::uintptr_t at = from & ~std::uintptr_t{kPageBytes - 1}; at < end;) {
    const std::size_t pages = std::min<std::size_t>(kPagesAtOnce, (end - at + kPageBytes - 1) / kPageBytes);
    if (all || !process.pages_present(at, pages, present)) memset(present, 1, pages);
    for (std::size_t i = 0; i < pages;) {
      std::size_t behind = i;
      while (behind < pages && (present[behind] & 1) == (present[i] & 1)) ++behind;
      const std::uintptr_t run_begin = std::max(from, at + i * kPageBytes);
      const std::uintptr_t run_end = std::min(end, at + behind * kPageBytes);
      if ((present[i] & 1) && !visit(run_begin, run_end)) return false;
      i = behind;
    }
    at += pages * kPageBytes;
  }
  return true;
}

/// Whether pages of the process may be in swap: they are not in memory, and hold something.
bool has_swapped(const ProcessMemory& process) noexcept {
  char status[4096];
  if (process.read_file("status", status, sizeof status) <= 0) return true;
  const char* line = strstr(status, "\nVmSwap:");
  if (!line) return true;
  for (line += sizeof "\nVmSwap:" - 1; *line == ' ' || *line == '\t'; ++line) {
  }
  return *line != '0';
}

}  // namespace

OwnParts own_parts() noexcept { return {__start_mallard_parts, __stop_mallard_parts}; }

OtherParts::OtherParts(const ProcessMemory& process, std::uintptr_t at, std::uint64_t count) noexcept
    : process_(process) {
  if (at == 0 || count > kMost || !process.copy(parts_, at, count * sizeof(Part))) return;
  count_ = count;
  has_swapped_ = has_swapped(process);
}

bool OtherParts::are_ours() const noexcept {
  const OwnParts own = own_parts();
  for (const Part* part = own.begin; part != own.end; ++part) {
    bool is_there = false;
    for (std::size_t i = 0; i < count_; ++i)
      is_there = is_there || (memcmp(parts_[i].name, part->name, sizeof part->name) == 0 &&
                              parts_[i].bytes == part->bytes);
    if (!is_there) return false;
  }
  return count_ > 0;
}

std::uintptr_t OtherParts::find(std::string_view name, std::size_t bytes) const noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    const char* its = parts_[i].name;
    if (std::string_view(its, strnlen(its, sizeof parts_[i].name)) == name)
      return parts_[i].bytes == bytes ? address_of(parts_[i].at) : 0;
  }
  return 0;
}

std::uintptr_t OtherParts::find(const void* ours) const noexcept {
  const OwnParts own = own_parts();
  for (const Part* part = own.begin; part != own.end; ++part)
    if (part->at == ours)
      return find(std::string_view(part->name, strnlen(part->name, sizeof part->name)), part->bytes);
  return 0;
}

bool OtherParts::copy_in_memory(void* to, std::uintptr_t from, std::size_t bytes) const noexcept {
  return for_each_run(process_, from, bytes, has_swapped_, [&](std::uintptr_t begin, std::uintptr_t end) {
    return process_.copy(static_cast<char*>(to) + (begin - from), begin, end - begin);
  });
}

std::uint64_t OtherParts::resident_bytes(std::uintptr_t from, std::size_t bytes) const noexcept {
  std::uint64_t sum = 0;
  for_each_run(process_, from, bytes, false, [&](std::uintptr_t begin, std::uintptr_t end) {
    sum += align_up(end, kPageBytes) - (begin & ~std::uintptr_t{kPageBytes - 1});
    return true;
  });
  return sum;
}

}  // namespace mallard
