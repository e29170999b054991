// SPDX-License-Identifier: Apache-2.0
#include "report/embedded.hpp"

#include <string.h>

#include "base/allocator_version.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kSymbolsAtOnce = 2048, kBytesAtOnce = 256 * 1024, kOverlap = 128;
constexpr std::uint64_t kMostNames = 64u << 20, kMostText = 256u << 20;

/// Sees every allocator's messages wherever they stand, and the version of the one that was found.
class TextSearch {
 public:
  explicit TextSearch(const Inside& inside) noexcept : inside_(inside) {}

  void look(std::string_view text) noexcept {
    const auto all = known_allocators();
    for (std::size_t a = 0; a < all.size(); ++a) {
      for (std::size_t m = 0; !inside_.allocator && m < all[a].messages.size(); ++m)
        if (!(met_[a] >> m & 1) && contains(text, all[a].messages[m])) met_[a] |= 1u << m;
      const bool may_be_it = inside_.allocator ? inside_.allocator == &all[a] : !all[a].messages.empty();
      if (version.size() == 0 && may_be_it && version_in_text(all[a], text, version)) version_of_ = &all[a];
    }
  }

  const KnownAllocator* found() const noexcept {
    const auto all = known_allocators();
    for (std::size_t a = 0; a < all.size(); ++a)
      if (!all[a].messages.empty() && met_[a] == (1u << all[a].messages.size()) - 1) return &all[a];
    return nullptr;
  }

  bool has_version_of(const KnownAllocator* a) const noexcept { return a && version_of_ == a; }

  FixedText<sizeof(Inside::version)> version;

 private:
  static bool contains(std::string_view text, std::string_view message) noexcept {
    char plain[kOverlap];
    if (message.size() > sizeof plain) return false;
    for (std::size_t i = 0; i < message.size(); ++i) plain[i] = meant_by(message[i]);
    return memmem(text.data(), text.size(), plain, message.size()) != nullptr;
  }

  const Inside& inside_;
  const KnownAllocator* version_of_ = nullptr;
  std::uint32_t met_[kMaxKnownAllocators] = {};
};

/// One look into one file.
class Look {
 public:
  explicit Look(const Module& module) noexcept : module_(module) {}

  void run(Inside* out) noexcept {
    out_ = out;
    ElfHeader header;
    if (!open_module(module_, arena_, &image_) || !read_elf_header(image_, arena_, &header)) return;
    out->readable = true;
    segments_ = header.segments;
    sections_ = read_sections(image_, header, arena_);
    read_flags();
    for (const std::uint32_t type : {SHT_SYMTAB, SHT_DYNSYM}) read_symbols(type);
    // Texts are long to read, and only who maps memory can be an allocator.
    if (!out->allocator && (has_symbols_ || !maps_)) return;
    if (out->allocator && out->version[0] != '\0') return;
    read_texts();
  }

 private:
  void read_flags() noexcept {
    for (const Elf64_Phdr& p : segments_) {
      if (p.p_type != PT_DYNAMIC) continue;
      for (std::uint64_t at = 0; at + sizeof(Elf64_Dyn) <= p.p_filesz; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn d;
        if (!image_.read(p.p_offset + at, &d, sizeof d) || d.d_tag == DT_NULL) return;
        if (d.d_tag == DT_SYMBOLIC || (d.d_tag == DT_FLAGS && (d.d_un.d_val & DF_SYMBOLIC)))
          out_->is_symbolic = true;
      }
    }
  }

  void read_symbols(std::uint32_t type) noexcept {
    for (const Elf64_Shdr& table : sections_) {
      if (table.sh_type != type || table.sh_entsize != sizeof(Elf64_Sym) || table.sh_link >= sections_.size())
        continue;
      const Elf64_Shdr& strings = sections_[table.sh_link];
      if (strings.sh_size == 0 || strings.sh_size > kMostNames) continue;
      char* names = arena_.array<char>(strings.sh_size + 1);
      auto* symbols = arena_.array<Elf64_Sym>(kSymbolsAtOnce);
      if (!names || !symbols || !image_.read(strings.sh_offset, names, strings.sh_size)) continue;
      if (type == SHT_SYMTAB) has_symbols_ = true;
      std::uint64_t left = table.sh_size / sizeof(Elf64_Sym);
      for (std::uint64_t at = table.sh_offset; left > 0;) {
        const std::size_t wanted = left < kSymbolsAtOnce ? static_cast<std::size_t>(left) : kSymbolsAtOnce;
        const std::size_t got = image_.read_some(at, symbols, wanted * sizeof *symbols) / sizeof *symbols;
        for (std::size_t i = 0; i < got; ++i)
          if (symbols[i].st_name < strings.sh_size)
            take(view_of(names + symbols[i].st_name), symbols[i], type == SHT_DYNSYM);
        if (got < wanted) break;
        at += got * sizeof *symbols;
        left -= got;
      }
    }
  }

  void take(std::string_view name, const Elf64_Sym& s, bool is_dynamic) noexcept {
    if (s.st_shndx == SHN_UNDEF) {
      for (const std::string_view maps : {"mmap", "mmap64", "sbrk", "syscall"}) maps_ |= name == maps;
      out_->uses_brk |= name == "sbrk" || name == "brk";
      return;
    }
    if (ELF64_ST_TYPE(s.st_info) != STT_FUNC) return;
    if (is_dynamic && name == "malloc") out_->defines_malloc = true;
    if (name == "mi_version") read_mi_version(s.st_value);
    if (out_->allocator && out_->managed) return;
    for (const KnownAllocator& a : known_allocators()) {
      const KnownAllocator*& found = a.is_managed ? out_->managed : out_->allocator;
      if (found) continue;
      for (const std::string_view pattern : a.symbols) {
        if (!matches(pattern, name)) continue;
        found = &a;
        if (!a.is_managed || out_->pattern.empty()) out_->pattern = pattern;
      }
    }
  }

  void read_mi_version(std::uint64_t address) noexcept {
    char code[16];
    for (const Elf64_Phdr& p : segments_) {
      if (p.p_type != PT_LOAD || address < p.p_vaddr || address - p.p_vaddr >= p.p_filesz) continue;
      FixedText<sizeof out_->version> version;
      if (image_.read(p.p_offset + (address - p.p_vaddr), code, sizeof code) &&
          version_in_code({code, sizeof code}, version))
        keep_version(version.view());
    }
  }

  void keep_version(std::string_view version) noexcept {
    TextBuffer(out_->version, sizeof out_->version).add(version);
  }

  void read_texts() noexcept {
    char* buffer = arena_.array<char>(kBytesAtOnce);
    if (!buffer) return;
    TextSearch search(*out_);
    std::uint64_t budget = kMostText;
    for (const Elf64_Shdr& s : sections_) {
      if (s.sh_type != SHT_PROGBITS || !(s.sh_flags & SHF_ALLOC) ||
          (s.sh_flags & (SHF_EXECINSTR | SHF_WRITE)))
        continue;
      for (std::uint64_t at = 0; at < s.sh_size && budget > 0;) {
        const std::uint64_t left = s.sh_size - at;
        const std::size_t got = image_.read_some(
            s.sh_offset + at, buffer, left < kBytesAtOnce ? static_cast<std::size_t>(left) : kBytesAtOnce);
        search.look({buffer, got});
        budget -= got < budget ? got : budget;
        if (got <= kOverlap || got == left) break;
        at += got - kOverlap;  // a message may lie across two pieces
      }
    }
    if (!out_->allocator && (out_->allocator = search.found())) {
      out_->by_text = true;
      out_->pattern = out_->allocator->messages.front();
    }
    if (out_->version[0] == '\0' && search.has_version_of(out_->allocator))
      keep_version(search.version.view());
  }

  const Module& module_;
  Arena arena_;  // of its own: names of large objects need much room, and briefly
  ElfImage image_;
  std::span<const Elf64_Phdr> segments_;
  std::span<const Elf64_Shdr> sections_;
  Inside* out_ = nullptr;
  bool has_symbols_ = false, maps_ = false;
};

struct Answer {
  std::uint64_t device, inode;
  std::uintptr_t begin;
  Inside inside;
};

// The reporter thread and an exiting one take turns.
constinit Answer g_answers[128];
constinit std::size_t g_next_answer = 0;

}  // namespace

const Inside& look_inside(const Module& module) noexcept {
  static constinit Inside nothing{};
  if (module.kind != ModuleKind::kElf) return nothing;
  for (const Answer& a : g_answers)
    if (a.inode != 0 && a.inode == module.inode && a.device == module.device && a.begin == module.begin)
      return a.inside;
  Answer& answer = g_answers[g_next_answer++ % std::size(g_answers)];
  answer = {module.device, module.inode, module.begin, {}};
  Look(module).run(&answer.inside);
  return answer.inside;
}

}  // namespace mallard::report
