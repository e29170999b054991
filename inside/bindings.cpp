// SPDX-License-Identifier: Apache-2.0
#include "inside/bindings.hpp"

#include <algorithm>
#include <string_view>

#include "arch/elf.hpp"

namespace mallard::inside {
namespace {

constexpr std::string_view kNames[] = {"malloc",         "calloc",        "realloc",  "free",
                                       "posix_memalign", "aligned_alloc", "memalign", "_Znwm",
                                       "_Znam",          "_ZdlPv",        "_ZdaPv",   "_ZdlPvm"};
constexpr std::size_t kMostPlaces = 128;
constexpr std::uint64_t kMostTable = 256u << 20;

class Reader {
 public:
  Reader(std::uintptr_t begin, elf::CopyMemory copy, void* opaque, Bindings& out) noexcept
      : begin_(begin), out_(out) {
    image_.use_loaded(begin, copy, opaque);
  }

  void run() noexcept {
    if (image_.parse() != elf::Fault::kNone) return;
    dynamic_ = image_.read_dynamic();
    if (!dynamic_.is_present || dynamic_.strings == 0 || dynamic_.symbols == 0) return;
    out_.readable = true;
    bias_ = image_.load_bias();
    for (const Elf64_Phdr& p : image_.segments())
      if (p.p_type == PT_LOAD) end_ = std::max<std::uintptr_t>(end_, bias_ + p.p_vaddr + p.p_memsz);
    find_names();
    if (place_count_ == 0) return;
    read_table(dynamic_.relocations, dynamic_.relocation_bytes);
    read_table(dynamic_.plt_relocations, dynamic_.plt_relocation_bytes);
  }

 private:
  /// Finds the names, or the ends of longer ones, in the string table, so that symbols need not be read one
  /// by one.
  void find_names() noexcept {
    constexpr std::size_t kOverlap = 32;
    auto* text = reinterpret_cast<char*>(out_.room);
    const std::uint64_t bytes = std::min(dynamic_.string_bytes, kMostTable);
    for (std::uint64_t at = 0; at < bytes; at += sizeof out_.room - kOverlap) {
      const std::size_t n = std::min<std::uint64_t>(bytes - at, sizeof out_.room);
      if (!image_.read_address(dynamic_.strings + at, text, n)) return;
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

  void read_table(std::uint64_t table, std::uint64_t bytes) noexcept {
    bytes = std::min(bytes, kMostTable);
    auto* relocations = reinterpret_cast<Elf64_Rela*>(out_.room);
    constexpr std::size_t kAtOnce = sizeof out_.room / 2 / sizeof(Elf64_Rela);
    for (std::uint64_t at = 0; at + sizeof(Elf64_Rela) <= bytes;) {
      const std::size_t n = std::min<std::uint64_t>(kAtOnce, (bytes - at) / sizeof(Elf64_Rela));
      if (!image_.read_address(table + at, relocations, n * sizeof(Elf64_Rela))) return;
      for (std::size_t i = 0; i < n; ++i) {
        const auto type = ELF64_R_TYPE(relocations[i].r_info);
        if (arch::is_address_relocation(static_cast<std::uint32_t>(type)))
          add_relocation(relocations[i]);
      }
      at += n * sizeof(Elf64_Rela);
    }
  }

  /// Reads symbols ahead into the other half of the room: relocations come in the order of their symbols.
  const Elf64_Sym* symbol(std::uint64_t index) noexcept {
    constexpr std::size_t kAtOnce = sizeof out_.room / 2 / sizeof(Elf64_Sym);
    auto* window = reinterpret_cast<Elf64_Sym*>(out_.room + sizeof out_.room / 2);
    if (index < first_symbol_ || index >= first_symbol_ + symbol_count_) {
      first_symbol_ = index;
      symbol_count_ = kAtOnce;
      while (symbol_count_ > 0 && !image_.read_address(dynamic_.symbols + index * sizeof *window, window,
                                                       symbol_count_ * sizeof *window))
        symbol_count_ = symbol_count_ > 16 ? 16 : symbol_count_ - 1;  // the end of what is mapped
      if (symbol_count_ == 0) return nullptr;
    }
    return window + (index - first_symbol_);
  }

  void add_relocation(const Elf64_Rela& r) noexcept {
    const Elf64_Sym* s = symbol(ELF64_R_SYM(r.r_info));
    if (!s || !is_place(s->st_name)) return;
    std::uintptr_t target = 0;
    if (!image_.read_address(r.r_offset, &target, sizeof target) || target == 0) return;
    const bool is_inside = target >= begin_ && target < end_;
    const bool is_own = s->st_shndx != SHN_UNDEF && target == bias_ + s->st_value;
    if (is_inside && !is_own) {  // its own stub for the first call
      ++out_.unbound;
      return;
    }
    if (out_.count < kMaxBindings) out_.targets[out_.count] = target;
    ++out_.count;
  }

  const std::uintptr_t begin_;
  Bindings& out_;
  elf::Image image_;
  elf::Dynamic dynamic_{};
  std::uintptr_t bias_ = 0, end_ = 0;
  std::uint64_t first_symbol_ = 0, symbol_count_ = 0;
  std::uint32_t places_[kMostPlaces];
  std::size_t place_count_ = 0;
};

}  // namespace

void read_bindings(std::uintptr_t begin, elf::CopyMemory copy, void* opaque, Bindings* out) noexcept {
  out->readable = false;
  out->unbound = out->count = 0;
  Reader(begin, copy, opaque, *out).run();
}

}  // namespace mallard::inside
