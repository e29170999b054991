// SPDX-License-Identifier: Apache-2.0
#include "inside/recognise.hpp"

#include <string.h>

#include <algorithm>

#include "inside/version.hpp"

namespace mallard::inside {
namespace {

constexpr std::size_t kSymbolsAtOnce = 2048, kBytesAtOnce = 256 * 1024, kOverlap = 128;
constexpr std::uint64_t kMostNames = 64u << 20, kMostText = 256u << 20;

/// Sees every allocator's messages wherever they stand, and the versions that they tell.
class TextSearch {
 public:
  void look(std::string_view text) noexcept {
    const auto all = known_allocators();
    for (std::size_t a = 0; a < all.size(); ++a) {
      for (std::size_t m = 0; m < all[a].messages.size(); ++m)
        if (!(met_[a] >> m & 1) && contains(text, all[a].messages[m])) met_[a] |= 1u << m;
      if (versions_[a].size() == 0) version_in_text(all[a], text, versions_[a]);
    }
  }

  bool has_all_messages_of(std::size_t a) const noexcept {
    const auto& messages = known_allocators()[a].messages;
    return !messages.empty() && met_[a] == (1u << messages.size()) - 1;
  }

  std::string_view version_of(const KnownAllocator& a) const noexcept {
    return versions_[&a - known_allocators().data()].view();
  }

 private:
  static bool contains(std::string_view text, std::string_view message) noexcept {
    char plain[kOverlap];
    if (message.size() > sizeof plain) return false;
    for (std::size_t i = 0; i < message.size(); ++i) plain[i] = meant_by(message[i]);
    return memmem(text.data(), text.size(), plain, message.size()) != nullptr;
  }

  std::uint32_t met_[kMaxKnownAllocators] = {};
  FixedText<sizeof(CarriedAllocator::version)> versions_[kMaxKnownAllocators];
};

/// One look into one file.
class Look {
 public:
  explicit Look(const elf::Module& module) noexcept : module_(module) {
    memset(first_, kNone, sizeof first_);
  }

  void run(Contents* out) noexcept {
    out_ = out;
    elf::Header header;
    if (!elf::open_module(module_, arena_, &image_) || !elf::read_header(image_, arena_, &header)) return;
    out->readable = true;
    segments_ = header.segments;
    sections_ = elf::read_sections(image_, header, arena_);
    read_flags();
    for (const std::uint32_t type : {SHT_SYMTAB, SHT_DYNSYM}) read_symbols(type);
    keep_found();
    // Texts are long to read, and only who maps memory can be an allocator.
    const bool is_open = out->count == 0 && !has_symbols_ && maps_;
    const auto carried = out->all();
    const bool lacks_version = std::any_of(carried.begin(), carried.end(), [](const CarriedAllocator& c) {
      return !c.allocator->is_managed && c.version[0] == '\0';
    });
    if (is_open || lacks_version) read_texts();
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
    const auto all = known_allocators();
    for (std::size_t a = 0; a < all.size(); ++a)
      for (std::size_t i = 0; i < all[a].symbols.size() && i < first_[a]; ++i)
        if (matches(all[a].symbols[i], name)) first_[a] = static_cast<std::uint8_t>(i);
  }

  /// What the symbols tell.
  void keep_found() noexcept {
    const auto all = known_allocators();
    for (const bool is_managed : {false, true}) {
      for (std::size_t a = 0; a < all.size(); ++a)
        if (first_[a] != kNone && all[a].is_managed == is_managed)
          add(all[a], all[a].symbols[first_[a]], false);
      if (out_->count > 0) break;
    }
    if (out_->count < 2) return;
    CarriedAllocator* const end = std::remove_if(out_->carried, out_->carried + out_->count,
                                                 [](const auto& c) { return is_shared(c.pattern); });
    if (end != out_->carried) out_->count = static_cast<std::uint32_t>(end - out_->carried);
  }

  void add(const KnownAllocator& allocator, std::string_view pattern, bool by_text) noexcept {
    if (out_->count == Contents::kMost) return;
    CarriedAllocator& c = out_->carried[out_->count++];
    c = {&allocator, pattern, {}, by_text};
    if (allocator.name == "mimalloc") set_version(&c, mi_version_.view());
  }

  void read_mi_version(std::uint64_t address) noexcept {
    char code[16];
    for (const Elf64_Phdr& p : segments_) {
      if (p.p_type != PT_LOAD || address < p.p_vaddr || address - p.p_vaddr >= p.p_filesz) continue;
      if (image_.read(p.p_offset + (address - p.p_vaddr), code, sizeof code))
        version_in_code({code, sizeof code}, mi_version_);
    }
  }

  static void set_version(CarriedAllocator* c, std::string_view version) noexcept {
    TextBuffer(c->version, sizeof c->version).add(version);
  }

  void read_texts() noexcept {
    char* buffer = arena_.array<char>(kBytesAtOnce);
    if (!buffer) return;
    TextSearch search;
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
    if (out_->count == 0)
      for (std::size_t a = 0; a < known_allocators().size(); ++a)
        if (search.has_all_messages_of(a))
          add(known_allocators()[a], known_allocators()[a].messages[0], true);
    for (CarriedAllocator& c : std::span(out_->carried, out_->count))
      if (c.version[0] == '\0') set_version(&c, search.version_of(*c.allocator));
  }

  static constexpr std::uint8_t kNone = 255;

  const elf::Module& module_;
  Arena arena_;  // of its own: names of large objects need much room, and briefly
  elf::Image image_;
  std::span<const Elf64_Phdr> segments_;
  std::span<const Elf64_Shdr> sections_;
  Contents* out_ = nullptr;
  bool has_symbols_ = false, maps_ = false;
  std::uint8_t first_[kMaxKnownAllocators];  ///< of each allocator's symbols the first that was met
  FixedText<sizeof(CarriedAllocator::version)> mi_version_;
};

struct Answer {
  std::uint64_t device, inode;
  std::uintptr_t begin;
  Contents inside;
};

// The reporter thread and an exiting one take turns.
constinit Answer g_answers[128];
constinit std::size_t g_next_answer = 0;

}  // namespace

const KnownAllocator* Contents::owner_of(std::string_view function) const noexcept {
  if (count == 1) return carried[0].allocator;
  for (const CarriedAllocator& c : all())
    for (const auto patterns : {c.allocator->mappers, c.allocator->symbols})
      for (const std::string_view pattern : patterns)
        if (matches(pattern, function)) return c.allocator;
  return nullptr;
}

const Contents& contents_of(const elf::Module& module) noexcept {
  static constinit Contents nothing{};
  if (module.kind != elf::ModuleKind::kElf) return nothing;
  for (const Answer& a : g_answers)
    if (a.inode != 0 && a.inode == module.inode && a.device == module.device && a.begin == module.begin)
      return a.inside;
  Answer& answer = g_answers[g_next_answer++ % std::size(g_answers)];
  answer = {module.device, module.inode, module.begin, {}};
  Look(module).run(&answer.inside);
  return answer.inside;
}

}  // namespace mallard::inside
