// SPDX-License-Identifier: Apache-2.0
#include "unwind/loaded_later.hpp"

#include <elf.h>
#include <link.h>

#include <atomic>
#include <cstring>

#include "base/attributes.hpp"
#include "base/lock.hpp"
#include "base/os.hpp"
#include "unwind/own_stack.hpp"

namespace mallard::unwind {
namespace {

constexpr std::uint32_t kMaxLoadedLater = 512;
constexpr std::uintptr_t kNoObject = 1;  // in the place of a table

struct Known {
  std::atomic<std::uintptr_t> start{0}, end{0}, table{0};
};
constinit Known g_known[kMaxLoadedLater]{};
constinit std::atomic<std::uint32_t> g_count{0};
/// Times that an object was unloaded, and as of which of them the list is. What the list has of an earlier time is
/// written over, and whoever reads it meanwhile sees that the times differ.
constinit std::atomic<std::uint64_t> g_unloads{1}, g_known_since{0};
/// Held by who adds to the list; nobody waits for it.
MALLARD_FORK_DATA constinit Lock g_lock;

/// Where /proc is not there, each search would fail again.
constinit std::atomic<std::uint32_t> g_vain_searches{0};
constexpr std::uint32_t kMaxVainSearches = 64;

enum class Answer { kUnknown, kObject, kNone };

Answer look_up(std::uintptr_t code, Module* out) noexcept {
  const std::uint64_t unloads = g_unloads.load(std::memory_order_acquire);
  if (g_known_since.load(std::memory_order_acquire) != unloads) return Answer::kUnknown;
  const std::uint32_t count = g_count.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Module module{g_known[i].start.load(std::memory_order_acquire), g_known[i].end.load(std::memory_order_acquire),
                        g_known[i].table.load(std::memory_order_acquire)};
    if (code < module.start || code >= module.end) continue;
    if (g_unloads.load(std::memory_order_acquire) != unloads) return Answer::kUnknown;
    *out = module;
    return module.table == kNoObject ? Answer::kNone : Answer::kObject;
  }
  return count == kMaxLoadedLater ? Answer::kNone : Answer::kUnknown;
}

void remember(const Module& module) noexcept {
  const std::uint32_t at = g_count.load(std::memory_order_relaxed);
  if (at == kMaxLoadedLater) return;
  g_known[at].start.store(module.start, std::memory_order_release);
  g_known[at].end.store(module.end, std::memory_order_release);
  g_known[at].table.store(module.table, std::memory_order_release);
  g_count.store(at + 1, std::memory_order_release);
}

bool is_elf_header(std::uintptr_t begin, ElfW(Ehdr) * header) noexcept {
  return os::copy_if_readable(header, begin, sizeof *header) && std::memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
         header->e_phentsize == sizeof(ElfW(Phdr)) && header->e_phoff <= kPageBytes &&
         header->e_phnum <= (kPageBytes - header->e_phoff) / sizeof(ElfW(Phdr));
}

/// The object whose ELF header is at `begin`. \return whether `code` is code of it
bool object_at(std::uintptr_t begin, const ElfW(Ehdr) & header, std::uintptr_t code, Module* out) noexcept {
  *out = {begin, 0, 0};
  std::uintptr_t bias = 0;
  bool is_first = true, is_code = false;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment;
    if (!os::copy_if_readable(&segment, begin + header.e_phoff + i * sizeof segment, sizeof segment)) return false;
    if (segment.p_type == PT_LOAD) {
      if (is_first) bias = begin - (segment.p_vaddr & ~(std::uintptr_t{kPageBytes} - 1));
      is_first = false;
      const std::uintptr_t start = bias + segment.p_vaddr, end = start + segment.p_memsz;
      if (end > out->end) out->end = end;
      if ((segment.p_flags & PF_X) && code >= start && code < end) is_code = true;
    } else if (segment.p_type == PT_GNU_EH_FRAME) {
      out->table = segment.p_vaddr;
    }
  }
  if (out->table) out->table += bias;  // it may stand before the first segment
  return is_code;
}

/// \param out  the object; without one, the mapping
/// \return Answer::kUnknown if the mappings cannot be read
Answer search(std::uintptr_t code, Module* out) noexcept {
  constexpr int kMostMappings = 8;  // of one object up to its code; most have two
  std::uintptr_t at = code, begin, end;
  for (int i = 0; i < kMostMappings && find_mapping(at, &begin, &end); ++i) {
    if (i == 0) *out = {begin, end, kNoObject};
    ElfW(Ehdr) header;
    Module module;
    if (is_elf_header(begin, &header)) {
      if (!object_at(begin, header, code, &module)) return Answer::kNone;
      *out = module;
      return Answer::kObject;
    }
    at = begin - 1;
  }
  return at == code ? Answer::kUnknown : Answer::kNone;
}

}  // namespace

MALLARD_COLD bool find_loaded_later(std::uintptr_t code, Module* out) noexcept {
  Answer answer = look_up(code, out);
  if (answer != Answer::kUnknown) return answer == Answer::kObject;
  if (g_vain_searches.load(std::memory_order_relaxed) >= kMaxVainSearches) return false;
  const std::uint64_t unloads = g_unloads.load(std::memory_order_acquire);
  answer = search(code, out);
  if (answer == Answer::kUnknown) {
    g_vain_searches.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  if (g_lock.try_lock()) {
    if (g_unloads.load(std::memory_order_acquire) == unloads) {
      if (g_known_since.load(std::memory_order_relaxed) != unloads) {
        g_count.store(0, std::memory_order_relaxed);
        g_known_since.store(unloads, std::memory_order_release);
      }
      remember(*out);
    }
    g_lock.unlock();
  }
  return answer == Answer::kObject;
}

void forget_loaded_later() noexcept { g_unloads.fetch_add(1, std::memory_order_acq_rel); }

}  // namespace mallard::unwind
