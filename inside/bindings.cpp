// SPDX-License-Identifier: Apache-2.0
#include "inside/bindings.hpp"

#include <elf.h>

#include <algorithm>
#include <string_view>

namespace mallard::inside {
namespace {

constexpr std::string_view kNames[] = {"malloc",         "calloc",        "realloc",  "free",
                                       "posix_memalign", "aligned_alloc", "memalign", "_Znwm",
                                       "_Znam",          "_ZdlPv",        "_ZdaPv",   "_ZdlPvm"};
constexpr std::size_t kMostSegments = 64, kMostDynamic = 256, kMostPlaces = 128;
constexpr std::uint64_t kMostTable = 256u << 20;

class Reader {
 public:
  Reader(std::uintptr_t begin, CopyMemory copy_memory, void* opaque, Bindings& out) noexcept
      : begin_(begin), copy_(copy_memory), opaque_(opaque), out_(out) {}

  void run() noexcept {
    if (!read_header() || !read_dynamic()) return;
    out_.readable = true;
    find_names();
    if (place_count_ == 0) return;
    read_table(table_, table_bytes_);
    read_table(plt_, plt_bytes_);
  }

 private:
  bool copy(void* to, std::uintptr_t from, std::size_t bytes) const noexcept {
    return copy_(opaque_, to, from, bytes);
  }

  bool read_header() noexcept {
    Elf64_Ehdr header;
    if (!copy(&header, begin_, sizeof header)) return false;
    if (header.e_ident[0] != 0x7f || header.e_ident[1] != 'E' || header.e_phentsize != sizeof(Elf64_Phdr))
      return false;
    std::uintptr_t lowest = ~std::uintptr_t{0};
    for (std::size_t i = 0; i < header.e_phnum && i < kMostSegments; ++i) {
      Elf64_Phdr p;
      if (!copy(&p, begin_ + header.e_phoff + i * sizeof p, sizeof p)) return false;
      if (p.p_type == PT_LOAD) {
        lowest = std::min(lowest, static_cast<std::uintptr_t>(p.p_vaddr & ~std::uint64_t{4095}));
        highest_ = std::max(highest_, static_cast<std::uintptr_t>(p.p_vaddr + p.p_memsz));
      }
      if (p.p_type == PT_DYNAMIC) dynamic_ = p.p_vaddr;
    }
    if (lowest > begin_ || dynamic_ == 0) return false;
    bias_ = begin_ - lowest;
    highest_ += bias_;
    return true;
  }

  /// The loader adds the bias to some entries, and not to those of read-only dynamic sections.
  std::uintptr_t absolute(std::uint64_t value) const noexcept {
    return value >= begin_ && value < highest_ ? value : value + bias_;
  }

  bool read_dynamic() noexcept {
    for (std::size_t i = 0; i < kMostDynamic; ++i) {
      Elf64_Dyn d;
      if (!copy(&d, bias_ + dynamic_ + i * sizeof d, sizeof d)) return false;
      switch (d.d_tag) {
        case DT_NULL:
          return strings_ != 0 && symbols_ != 0;
        case DT_STRTAB:
          strings_ = absolute(d.d_un.d_ptr);
          break;
        case DT_STRSZ:
          strings_bytes_ = std::min<std::uint64_t>(d.d_un.d_val, kMostTable);
          break;
        case DT_SYMTAB:
          symbols_ = absolute(d.d_un.d_ptr);
          break;
        case DT_RELA:
          table_ = absolute(d.d_un.d_ptr);
          break;
        case DT_RELASZ:
          table_bytes_ = std::min<std::uint64_t>(d.d_un.d_val, kMostTable);
          break;
        case DT_JMPREL:
          plt_ = absolute(d.d_un.d_ptr);
          break;
        case DT_PLTRELSZ:
          plt_bytes_ = std::min<std::uint64_t>(d.d_un.d_val, kMostTable);
          break;
        default:
          break;
      }
    }
    return false;
  }

  /// Where the names, or the ends of longer ones, stand in the string table: symbols need not be read one by
  /// one then.
  void find_names() noexcept {
    constexpr std::size_t kOverlap = 32;
    auto* text = reinterpret_cast<char*>(out_.room);
    for (std::uint64_t at = 0; at < strings_bytes_; at += sizeof out_.room - kOverlap) {
      const std::size_t n = std::min<std::uint64_t>(strings_bytes_ - at, sizeof out_.room);
      if (!copy(text, strings_ + at, n)) return;
      const std::string_view all(text, n);
      for (std::size_t name = 0; name < std::size(kNames); ++name)
        for (std::size_t p = all.find(kNames[name]); p != all.npos; p = all.find(kNames[name], p + 1)) {
          const std::size_t end = p + kNames[name].size();
          if (end < n && text[end] == '\0') remember(at + p);
        }
    }
  }

  void remember(std::uint64_t place) noexcept {
    if (!is_place(place) && place_count_ < kMostPlaces)
      places_[place_count_++] = static_cast<std::uint32_t>(place);
  }

  bool is_place(std::uint64_t place) const noexcept {
    return std::find(places_, places_ + place_count_, place) != places_ + place_count_;
  }

  void read_table(std::uintptr_t table, std::uint64_t bytes) noexcept {
    auto* relocations = reinterpret_cast<Elf64_Rela*>(out_.room);
    constexpr std::size_t kAtOnce = sizeof out_.room / 2 / sizeof(Elf64_Rela);
    for (std::uint64_t at = 0; at + sizeof(Elf64_Rela) <= bytes;) {
      const std::size_t n = std::min<std::uint64_t>(kAtOnce, (bytes - at) / sizeof(Elf64_Rela));
      if (!copy(relocations, table + at, n * sizeof(Elf64_Rela))) return;
      for (std::size_t i = 0; i < n; ++i) {
        const auto type = ELF64_R_TYPE(relocations[i].r_info);
        if (type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT || type == R_X86_64_64)
          take(relocations[i]);
      }
      at += n * sizeof(Elf64_Rela);
    }
  }

  /// From the other half of the room: relocations come in the order of their symbols.
  const Elf64_Sym* symbol(std::uint64_t index) noexcept {
    constexpr std::size_t kAtOnce = sizeof out_.room / 2 / sizeof(Elf64_Sym);
    auto* window = reinterpret_cast<Elf64_Sym*>(out_.room + sizeof out_.room / 2);
    if (index < first_symbol_ || index >= first_symbol_ + symbol_count_) {
      first_symbol_ = index;
      symbol_count_ = kAtOnce;
      while (symbol_count_ > 0 &&
             !copy(window, symbols_ + index * sizeof(Elf64_Sym), symbol_count_ * sizeof *window))
        symbol_count_ = symbol_count_ > 16 ? 16 : symbol_count_ - 1;  // the end of what is mapped
      if (symbol_count_ == 0) return nullptr;
    }
    return window + (index - first_symbol_);
  }

  void take(const Elf64_Rela& r) noexcept {
    const Elf64_Sym* s = symbol(ELF64_R_SYM(r.r_info));
    if (!s || !is_place(s->st_name)) return;
    std::uintptr_t target = 0;
    if (!copy(&target, bias_ + r.r_offset, sizeof target) || target == 0) return;
    const bool is_inside = target >= begin_ && target < highest_;
    const bool is_own = s->st_shndx != SHN_UNDEF && target == bias_ + s->st_value;
    if (is_inside && !is_own) {  // its own stub for the first call
      ++out_.unbound;
      return;
    }
    if (out_.count < kMaxBindings) out_.targets[out_.count] = target;
    ++out_.count;
  }

  const std::uintptr_t begin_;
  const CopyMemory copy_;
  void* const opaque_;
  Bindings& out_;
  std::uintptr_t bias_ = 0, highest_ = 0, dynamic_ = 0;
  std::uintptr_t strings_ = 0, symbols_ = 0, table_ = 0, plt_ = 0;
  std::uint64_t strings_bytes_ = 0, table_bytes_ = 0, plt_bytes_ = 0;
  std::uint64_t first_symbol_ = 0, symbol_count_ = 0;
  std::uint32_t places_[kMostPlaces];
  std::size_t place_count_ = 0;
};

}  // namespace

void read_bindings(std::uintptr_t begin, CopyMemory copy, void* opaque, Bindings* out) noexcept {
  out->readable = false;
  out->unbound = out->count = 0;
  Reader(begin, copy, opaque, *out).run();
}

}  // namespace mallard::inside
