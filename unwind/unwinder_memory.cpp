// SPDX-License-Identifier: Apache-2.0
#include "unwind/unwinder_memory.hpp"

#include <elf.h>
#include <fcntl.h>
#include <link.h>

#include "base/os.hpp"

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

extern "C" [[gnu::weak]] void* __libc_stack_end;  // glibc's loader: where the first thread's stack began

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

// A thread that lives on foreign stacks only must not read the maps for every capture.
constexpr int kMaxSearches = 8;
// The first thread's stack grows down into space that the kernel keeps free for it.
constexpr std::uintptr_t kGrowth = std::uintptr_t{64} << 20;

/// Reads the lines of /proc/self/maps up to the mapping that holds an address.
class MapsSearch {
 public:
  explicit MapsSearch(std::uintptr_t address) noexcept : address_(address) {}

  bool run() noexcept {
    const long fd = os::open("/proc/self/maps", O_RDONLY);
    if (fd < 0) return false;
    char text[512];
    long n;
    while (!done_ && (n = os::read(static_cast<int>(fd), text, sizeof text)) > 0)
      for (long i = 0; i < n && !done_; ++i) take(text[i]);
    os::close(static_cast<int>(fd));
    return found_;
  }

  std::uintptr_t start() const noexcept { return start_; }
  std::uintptr_t end() const noexcept { return value_; }
  bool main_stack() const noexcept { return stack_name_; }

 private:
  enum Part { kStart, kEnd, kRest };

  void take(char c) noexcept {
    if (part_ == kRest) {
      // The name stands last in a line; only the first thread's stack is called [stack].
      if (previous_ == '[' && c == 's') stack_name_ = true;
      previous_ = c;
      if (c != '\n') return;
      done_ = found_;
      if (done_) return;
      part_ = kStart;
      stack_name_ = false;
      value_ = 0;
    } else if (part_ == kStart && c == '-') {
      start_ = value_;
      value_ = 0;
      part_ = kEnd;
    } else if (part_ == kEnd && c == ' ') {
      found_ = start_ <= address_ && address_ < value_;
      part_ = kRest;
    } else {
      value_ = value_ * 16 + static_cast<std::uintptr_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
  }

  std::uintptr_t address_, start_ = 0, value_ = 0;
  Part part_ = kStart;
  char previous_ = 0;
  bool stack_name_ = false, found_ = false, done_ = false;
};

}  // namespace

constinit thread_local OwnStack t_own_stack{};

MALLARD_COLD std::uintptr_t search_own_stack(std::uintptr_t sp) noexcept {
  if (t_own_stack.searches >= kMaxSearches) return 0;
  ++t_own_stack.searches;
  MapsSearch maps(sp);
  if (!maps.run()) return 0;
  // The stack of another thread ends below its descriptor, whoever allocated it.
  const std::uintptr_t descriptor = address_of(__builtin_thread_pointer());
  // Where another program runs this one, as valgrind does, no mapping of the first thread's stack has a name.
  const std::uintptr_t first = &__libc_stack_end ? address_of(__libc_stack_end) : 0;
  if (maps.main_stack() || (maps.start() < first && first < maps.end())) {
    t_own_stack = {maps.start() - kGrowth, maps.end(), t_own_stack.searches};
  } else if (sp < descriptor && descriptor < maps.end()) {
    t_own_stack = {maps.start(), descriptor, kMaxSearches};  // fixed for the thread's life
  } else {
    return 0;
  }
  return t_own_stack.high;
}

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
  return false;
}

Segment find_segment(const Module& module, std::uintptr_t address) noexcept {
  if (address < module.start || address >= module.end) return {};
  ElfW(Ehdr) header;
  std::memcpy(&header, reinterpret_cast<const void*>(module.start), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_phoff + header.e_phnum * sizeof(ElfW(Phdr)) > kPageBytes)
    return {};
  const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(module.start + header.e_phoff);
  // The mapping starts with the page of the first segment, wherever the file asked to be loaded.
  std::uintptr_t bias = 0;
  bool loaded = false;
  for (int i = 0; i < header.e_phnum; ++i) {
    if (segments[i].p_type != PT_LOAD) continue;
    if (!loaded) bias = module.start - (segments[i].p_vaddr & ~(std::uintptr_t{kPageBytes} - 1));
    loaded = true;
    const std::uintptr_t start = bias + segments[i].p_vaddr;
    if (!(segments[i].p_flags & PF_R) || address < start || address - start >= segments[i].p_filesz) continue;
    return {start, start + segments[i].p_filesz};
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
