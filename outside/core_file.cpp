// SPDX-License-Identifier: Apache-2.0
// Reading what a core file has: its headers, its notes, its memory.
#include "outside/core_file.hpp"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/stat.h>

#include <algorithm>
#include <initializer_list>

#include "arch/elf.hpp"
#include "arch/registers.hpp"
#include "base/growing.hpp"
#include "base/os.hpp"
#include "base/pagemap.hpp"

namespace mallard::outside {
namespace {

constexpr std::uintptr_t kEndOfAddresses = std::uintptr_t{1} << 47;
constexpr std::uint64_t kMostMappedFileNote = 256u << 20;
constexpr std::uint64_t kMostHeaders = 1 << 21, kMostNotes = 1 << 22;
constexpr const char* kNoMemory = "it has more mappings or threads than there is memory for";

std::string_view until_nul(const char* text, std::size_t most) noexcept {
  return {text, strnlen(text, most)};
}

bool names_shared_memory(std::string_view path) noexcept {
  for (const std::string_view beginning : {std::string_view("/dev/zero"), std::string_view("/SYSV"),
                                           std::string_view("/memfd:"), std::string_view("/dev/shm/")})
    if (path.starts_with(beginning)) return true;
  return false;
}

}  // namespace

constexpr ProcessMemory::Access CoreFile::kAccess = {
    .in_place = false,
    .copy =
        [](const ProcessMemory& self, void* to, std::uintptr_t from, std::size_t bytes) noexcept {
          return static_cast<const CoreFile&>(self).copy_here(to, from, bytes);
        },
    .copy_pieces =
        [](const ProcessMemory& self, void* to, const std::uintptr_t* from, std::size_t count,
           std::size_t bytes) noexcept {
          std::size_t n = 0;
          while (n < count && static_cast<const CoreFile&>(self).copy_here(static_cast<char*>(to) + n * bytes,
                                                                           from[n], bytes))
            ++n;
          return n;
        },
    .pages_present =
        [](const ProcessMemory& self, std::uintptr_t begin, std::size_t pages,
           unsigned char* present) noexcept {
          return pagemap::read_presence(static_cast<const CoreFile&>(self).files_[kPagemap], begin, pages,
                                        present);
        },
    .add_path =
        [](const ProcessMemory& self, std::string_view name, TextBuffer& to) noexcept {
          constexpr std::string_view kNames[] = {"maps",    "pagemap", "status", "auxv",
                                                 "cmdline", "exe",     "root"};
          const auto& core = static_cast<const CoreFile&>(self);
          for (std::size_t i = 0; i < kFiles; ++i)
            if (name == kNames[i] && core.files_[i] >= 0) {
              to.add("/proc/self/fd/").add_unsigned(static_cast<std::uint64_t>(core.files_[i]));
              return;
            }
          to.add("/proc/self/fd/none");
        },
};

CoreFile::CoreFile() noexcept : ProcessMemory(kAccess) { std::fill(files_, files_ + kFiles, -1); }

CoreFile::~CoreFile() {
  for (std::size_t i = 0; i < open_count_; ++i)
    if (open_[i].fd >= 0) os::close(open_[i].fd);
  for (const int fd : files_)
    if (fd >= 0) os::close(fd);
}

bool CoreFile::read_at(std::uint64_t offset, void* to, std::size_t bytes) const noexcept {
  if (offset > size_ || bytes > size_ - offset) return false;
  for (std::size_t done = 0; done < bytes;) {
    const long n = os::pread(fd_, static_cast<char*>(to) + done, bytes - done, offset + done);
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

const CoreFile::Load* CoreFile::load_of(std::uintptr_t at) const noexcept {
  const auto next = std::upper_bound(loads_.begin(), loads_.end(), at,
                                     [](std::uintptr_t x, const Load& l) { return x < l.end; });
  return next != loads_.end() && next->begin <= at ? &*next : nullptr;
}

const CoreFile::MappedFile* CoreFile::mapped_file(std::uintptr_t at) const noexcept {
  const auto next = std::upper_bound(mapped_.begin(), mapped_.end(), at,
                                     [](std::uintptr_t x, const MappedFile& m) { return x < m.end; });
  return next != mapped_.end() && next->begin <= at ? &*next : nullptr;
}

bool CoreFile::copy_here(void* to, std::uintptr_t from, std::size_t bytes) const noexcept {
  while (bytes > 0) {
    const Load* load = load_of(from);
    if (!load) return false;
    if (from - load->begin >= load->bytes) return copy_from_file(to, from, bytes);
    const std::size_t here = std::min<std::uint64_t>(bytes, load->bytes - (from - load->begin));
    if (!read_at(load->offset + (from - load->begin), to, here)) return false;
    to = static_cast<char*>(to) + here;
    from += here;
    bytes -= here;
  }
  return true;
}

const char* CoreFile::open(int fd) noexcept {
  fd_ = fd;
  struct stat facts {};
  if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) return "it is no regular file";
  size_ = static_cast<std::uint64_t>(facts.st_size);
  if (const char* why = read_headers()) return why;
  if (loads_.empty()) return "it holds no memory";
  if (!add_unloaded_files()) return kNoMemory;
  find_break();
  if (!write_pagemap() || !write_maps() || !write_facts()) return kNoMemory;
  return nullptr;
}

const char* CoreFile::read_headers() noexcept {
  Elf64_Ehdr header;
  if (!read_at(0, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return "it is no ELF file";
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != arch::kMachine)
    return "it is of another architecture";
  if (header.e_type != ET_CORE) return "it is an ELF file, but no core file";
  std::uint64_t count = header.e_phnum;
  if (count == PN_XNUM) {
    Elf64_Shdr first;
    if (!read_at(header.e_shoff, &first, sizeof first)) return "its header is damaged";
    count = first.sh_info;
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr) || count > size_ / sizeof(Elf64_Phdr) || count > kMostHeaders)
    return "its program headers are not all there";
  Growing<Load> loads(arena_);
  for (std::uint64_t i = 0; i < count; ++i) {
    Elf64_Phdr p;
    if (!read_at(header.e_phoff + i * sizeof p, &p, sizeof p)) return "its program headers are not all there";
    if (p.p_type == PT_NOTE) {
      if (const char* why = read_notes(p.p_offset, p.p_filesz)) return why;
    } else if (p.p_type == PT_LOAD && p.p_memsz > 0 && p.p_vaddr % kPageBytes == 0 &&
               p.p_vaddr < kEndOfAddresses && p.p_memsz <= kEndOfAddresses - p.p_vaddr) {
      const std::uint64_t wanted = std::min(p.p_filesz, p.p_memsz);
      const std::uint64_t there = p.p_offset < size_ ? std::min(wanted, size_ - p.p_offset) : 0;
      const std::uint64_t whole = there / kPageBytes * kPageBytes;
      missing_ += wanted - there;
      loads.add({p.p_vaddr, align_up(p.p_vaddr + p.p_memsz, kPageBytes), p.p_offset, whole, p.p_flags});
    }
  }
  if (loads.out_of_memory()) return kNoMemory;
  std::sort(loads.all().begin(), loads.all().end(),
            [](const Load& a, const Load& b) { return a.begin < b.begin; });
  std::size_t kept = 0;
  for (const Load& load : loads.all())  // of those that overlap, the first has the memory
    if (kept == 0 || loads[kept - 1].end <= load.begin) loads[kept++] = load;
  loads_ = loads.all().first(kept);
  for (const Load& load : loads_)
    if (load.flags & (PF_R | PF_W | PF_X)) left_out_ += load.end - load.begin - load.bytes;
  left_out_ -= std::min(left_out_, missing_);
  return nullptr;
}

const char* CoreFile::read_notes(std::uint64_t at, std::uint64_t bytes) noexcept {
  const std::uint64_t end = at > size_ || bytes > size_ - at ? size_ : at + bytes;
  Elf64_Nhdr note;
  while (at < end && read_at(at, &note, sizeof note)) {
    const std::uint64_t name = (std::uint64_t{note.n_namesz} + 3) & ~std::uint64_t{3};
    const std::uint64_t descriptor = at + sizeof note + name;
    if (descriptor > end || note.n_descsz > end - descriptor || ++notes_ > kMostNotes) break;
    if (const char* why = take_note(note.n_type, descriptor, note.n_descsz)) return why;
    at = descriptor + ((std::uint64_t{note.n_descsz} + 3) & ~std::uint64_t{3});
  }
  return nullptr;
}

const char* CoreFile::take_note(std::uint32_t type, std::uint64_t at, std::uint64_t bytes) noexcept {
  if (type == NT_PRSTATUS && bytes >= sizeof(elf_prstatus)) {
    if (thread_count_ == thread_room_) {
      const std::size_t more = thread_room_ ? thread_room_ * 2 : 64;
      auto* threads = arena_.array<ThreadNote>(more);
      if (!threads) return kNoMemory;
      std::copy_n(threads_, thread_count_, threads);
      threads_ = threads;
      thread_room_ = more;
    }
    threads_[thread_count_++] = {at + offsetof(elf_prstatus, pr_reg), 0, 0};
  } else if (type == static_cast<std::uint32_t>(arch::kWideRegisters) && thread_count_ > 0) {
    threads_[thread_count_ - 1].wide = at;
    threads_[thread_count_ - 1].wide_bytes = bytes;
  } else if (elf_prpsinfo info;
             type == NT_PRPSINFO && bytes >= sizeof info && read_at(at, &info, sizeof info)) {
    TextBuffer(name_, sizeof name_).add(until_nul(info.pr_fname, sizeof info.pr_fname));
    TextBuffer(arguments_, sizeof arguments_).add(until_nul(info.pr_psargs, sizeof info.pr_psargs));
    pid_ = info.pr_pid;
    parent_ = info.pr_ppid;
  } else if (type == NT_AUXV && auxv_.empty()) {
    const std::size_t words = std::min<std::uint64_t>(bytes, 4096) / sizeof(std::uint64_t);
    auto* copy = arena_.array<std::uint64_t>(words);
    if (copy && read_at(at, copy, words * sizeof *copy)) auxv_ = {copy, words};
  } else if (type == NT_FILE && mapped_.empty()) {
    return take_mapped_files(at, bytes);
  }
  return nullptr;
}

std::uint64_t CoreFile::auxiliary(std::uint64_t type) const noexcept {
  for (std::size_t i = 0; i + 1 < auxv_.size(); i += 2)
    if (auxv_[i] == type) return auxv_[i + 1];
  return 0;
}

/// A count, the unit of offsets (the kernel's is a page, gdb's a byte), three words for each mapping, and
/// then their names.
const char* CoreFile::take_mapped_files(std::uint64_t at, std::uint64_t bytes) noexcept {
  constexpr std::size_t kHeader = 16, kEntry = 24;
  if (bytes < kHeader || bytes > kMostMappedFileNote) return nullptr;
  char* note = arena_.array<char>(bytes + 1);
  if (!note) return kNoMemory;
  if (!read_at(at, note, bytes)) return nullptr;
  std::uint64_t header[2];
  memcpy(header, note, sizeof header);
  const std::uint64_t count = header[0], page_bytes = header[1];
  if (count > (bytes - kHeader) / kEntry || page_bytes == 0) return nullptr;
  auto* files = arena_.array<MappedFile>(count + 1);
  if (!files) return kNoMemory;
  std::size_t kept = 0;
  const char *name = note + kHeader + count * kEntry, *end = note + bytes;
  for (std::uint64_t i = 0; i < count && name < end; ++i) {
    std::uint64_t entry[3];
    memcpy(entry, note + kHeader + i * kEntry, sizeof entry);
    const std::string_view path = until_nul(name, static_cast<std::size_t>(end - name));
    name += path.size() + 1;
    if (entry[1] <= entry[0] || entry[1] > kEndOfAddresses || path.empty() || path.size() >= 4096) continue;
    files[kept++] = {entry[0], entry[1], entry[2] * page_bytes, path, names_shared_memory(path)};
  }
  std::sort(files, files + kept, [](const MappedFile& a, const MappedFile& b) { return a.begin < b.begin; });
  mapped_ = {files, kept};
  return nullptr;
}

void CoreFile::each_thread(void (*visit)(const ThreadState& thread, void* opaque), void* opaque,
                           report::LostBlocks* out) const noexcept {
  static constinit std::uint64_t words[4096]{};
  out->threads = static_cast<int>(thread_count_);
  out->threads_read = 0;
  out->registers_why = thread_count_ > 0 ? nullptr : "the core file has none";
  for (const ThreadNote& thread : std::span(threads_, thread_count_)) {
    arch::GeneralRegisters general;
    if (!read_at(thread.general, &general, sizeof general)) continue;
    memcpy(words, &general, sizeof general);
    std::size_t count = sizeof general / sizeof *words;
    const std::size_t wide =
        std::min<std::uint64_t>(thread.wide_bytes, sizeof words - sizeof general) / sizeof *words;
    if (wide > 0 && read_at(thread.wide, words + count, wide * sizeof *words)) count += wide;
    ++out->threads_read;
    visit({arch::stack_pointer(general), {words, count}, {}}, opaque);
  }
}

}  // namespace mallard::outside
