// SPDX-License-Identifier: Apache-2.0
#include "unwind/unwinder_memory.hpp"

#include <elf.h>
#include <link.h>

#include "base/os.hpp"
#include "elf/mapped_segments.hpp"
#include "unwind/loaded_later.hpp"

// glibc >= 2.35. Declared here because older headers lack it; layout as in its manual.
struct mallard_dl_find_object {
  unsigned long long flags;
  void* map_start;
  void* map_end;
  void* link_map;
  void* eh_frame;
  unsigned long long reserved[7];
};
extern "C" __attribute__((weak)) int mallard_find_object(void*, mallard_dl_find_object*) noexcept
    __asm__("_dl_find_object");

namespace mallard::unwind {
namespace {

// Objects at init time, for a libc that offers no other way without the loader's lock.
constexpr int kSnapshotMax = 64;
constinit Module snapshot[kSnapshotMax]{};
constinit int snapshot_size = 0;

int note_module(dl_phdr_info* info, std::size_t, void*) noexcept {
  if (snapshot_size == kSnapshotMax) return 1;
  Module module{~std::uintptr_t{0}, 0, 0};
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    const std::uintptr_t start = info->dlpi_addr + header.p_vaddr, end = start + header.p_memsz;
    if (header.p_type == PT_GNU_EH_FRAME) module.table = start;
    if (header.p_type != PT_LOAD) continue;
    if (start < module.start) module.start = start;
    if (end > module.end) module.end = end;
  }
  if (module.end) snapshot[snapshot_size++] = module;
  return 0;
}

}  // namespace

void modules_init() noexcept {
  if (!mallard_find_object) dl_iterate_phdr(note_module, nullptr);
}

bool find_module(std::uintptr_t code, Module* out) noexcept {
  if (MALLARD_LIKELY(mallard_find_object != nullptr)) {
    mallard_dl_find_object object;
    if (mallard_find_object(reinterpret_cast<void*>(code), &object) != 0) return false;
    *out = {address_of(object.map_start), address_of(object.map_end), address_of(object.eh_frame)};
    return true;
  }
  for (int i = 0; i < snapshot_size; ++i) {
    if (code < snapshot[i].start || code >= snapshot[i].end) continue;
    *out = snapshot[i];
    return true;
  }
  return find_loaded_later(code, out);
}

void forget_modules() noexcept {
  if (!mallard_find_object) forget_loaded_later();
}

Segment find_segment(const Module& module, std::uintptr_t address) noexcept {
  if (address < module.start || address >= module.end) return {};
  // The mapping starts with the page of the first segment, wherever the file asked to be loaded.
  std::uintptr_t bias = 0;
  bool loaded = false;
  for (const ElfW(Phdr) & segment : elf::mapped_segments(module.start)) {
    if (segment.p_type != PT_LOAD) continue;
    if (!loaded) bias = module.start - (segment.p_vaddr & ~(std::uintptr_t{kPageBytes} - 1));
    loaded = true;
    const std::uintptr_t start = bias + segment.p_vaddr;
    if (!(segment.p_flags & PF_R) || address < start || address - start >= segment.p_filesz) continue;
    return {start, start + segment.p_filesz};
  }
  return {};
}

bool StackReader::read_checked(std::uintptr_t address, std::uintptr_t* word) noexcept {
  const std::uintptr_t block = address & ~std::uintptr_t{kBlock - 1};
  if (address - block > kBlock - sizeof *word) return os::copy_if_readable(word, address, sizeof *word);
  if (block != block_at_) {
    block_at_ = 1;
    // A block lies within one page: it can be read whole or not at all.
    if (!os::copy_if_readable(block_, block, kBlock)) return false;
    block_at_ = block;
  }
  std::memcpy(word, block_ + (address - block), sizeof *word);
  return true;
}

}  // namespace mallard::unwind
