// SPDX-License-Identifier: Apache-2.0
#include "inside/recognise.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <iterator>

#include "inside/version.hpp"
#include "symbols/better.hpp"

namespace mallard::inside {
namespace {

class Recogniser {
 public:
  Recogniser(const elf::Image& image, Contents& out) noexcept : image_(image), out_(out) {}

  void run() noexcept {
    out_.readable = true;
    out_.is_symbolic = image_.read_dynamic().is_symbolic;
    const bool has_symbols = read_symbols(SHT_SYMTAB), is_dynamic = read_symbols(SHT_DYNSYM);
    // Texts are long to read, and only who maps memory can be an allocator.
    MessageSearch texts;
    const bool by_text = !has_symbols && (maps_ || !is_dynamic);
    if (by_text || lacks_version()) texts.run(image_, arena_);
    for (const bool is_managed : {false, true}) {
      for (const KnownAllocator& a : known_allocators())
        if (a.is_managed == is_managed) add(a, by_text && texts.has_all_messages_of(a));
      if (!is_managed) drop_shared();
      if (out_.count == 0 || !is_managed) out_.count = out_.total;
    }
    for (CarriedAllocator& c : std::span(out_.carried, out_.total))
      if (!c.allocator->is_managed) set_version(c, texts);
  }

 private:
  /// The first of an allocator's symbols that the object has.
  struct Met {
    std::size_t pattern = kNone;
    std::string_view symbol = {};
  };
  static constexpr std::size_t kNone = ~std::size_t{0};
  static constexpr std::uint64_t kMostNames = 64u << 20;

  bool read_symbols(std::uint32_t type) noexcept {
    elf::SymbolTable table;
    if (!image_.find_symbols(type, &table) || table.names_bytes > kMostNames) return false;
    const std::string_view names = image_.read_names(table, arena_);
    if (names.empty()) return false;
    image_.for_each_symbol(table, [&](const Elf64_Sym& s) noexcept {
      if (s.st_name < names.size())
        consider(symbols::without_version(view_of(names.data() + s.st_name)), s, type == SHT_DYNSYM);
    });
    return true;
  }

  void consider(std::string_view name, const Elf64_Sym& s, bool is_dynamic) noexcept {
    if (s.st_shndx == SHN_UNDEF) {
      for (const std::string_view maps : {"mmap", "mmap64", "sbrk", "syscall"}) maps_ |= name == maps;
      out_.uses_brk |= name == "sbrk" || name == "brk";
      return;
    }
    const int type = ELF64_ST_TYPE(s.st_info);
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) return;
    if (is_dynamic && name == "malloc") out_.defines_malloc = true;
    char code[16];
    if (name == "mi_version" && mi_version_.size() == 0 && image_.read_address(s.st_value, code, sizeof code))
      version_in_code({code, sizeof code}, mi_version_);
    for (const KnownAllocator& a : known_allocators()) {
      Met& met = met_[&a - known_allocators().data()];
      for (std::size_t i = 0; i < a.symbols.size() && (met.pattern == kNone || i <= met.pattern); ++i)
        if (matches(a.symbols[i], name) && (i != met.pattern || name < met.symbol)) met = {i, name};
    }
  }

  bool lacks_version() const noexcept {
    const auto all = known_allocators();
    return std::any_of(all.begin(), all.end(), [&](const KnownAllocator& a) noexcept {
      return met_[&a - all.data()].pattern != kNone && !a.is_managed &&
             (a.name != "mimalloc" || mi_version_.size() == 0);
    });
  }

  void add(const KnownAllocator& a, bool by_text) noexcept {
    const Met& met = met_[&a - known_allocators().data()];
    if ((met.pattern == kNone && !by_text) || out_.total == Contents::kMost) return;
    CarriedAllocator& c = out_.carried[out_.total++];
    c = {&a, met.pattern == kNone ? a.messages[0] : a.symbols[met.pattern], {}, {}, met.pattern == kNone};
    TextBuffer(c.symbol, sizeof c.symbol).add(met.symbol);
  }

  /// Names that other allocators offer, too, tell nothing where an allocator has one of its own.
  void drop_shared() noexcept {
    const auto shared = [](const CarriedAllocator& c) noexcept { return is_shared(c.pattern); };
    CarriedAllocator* const end = out_.carried + out_.total;
    if (std::all_of(out_.carried, end, shared)) return;
    out_.total = static_cast<std::uint32_t>(std::remove_if(out_.carried, end, shared) - out_.carried);
  }

  void set_version(CarriedAllocator& c, const MessageSearch& texts) const noexcept {
    const bool is_told = c.allocator->name == "mimalloc" && mi_version_.size() != 0;
    TextBuffer(c.version, sizeof c.version).add(is_told ? mi_version_.view() : texts.version_of(*c.allocator));
  }

  const elf::Image& image_;
  Contents& out_;
  Arena arena_;  // names of large objects need much room, and briefly
  bool maps_ = false;
  std::array<Met, kMaxKnownAllocators> met_{};
  FixedText<kMaxVersionBytes> mi_version_;
};

struct Answer {
  std::uint64_t device, inode;
  std::uintptr_t begin;
  Contents contents;
};

// The reporter thread and an exiting one take turns.
constinit Answer g_answers[128] {};
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

void recognise(const elf::Image& image, Contents* out) noexcept {
  *out = {};
  Recogniser(image, *out).run();
}

const Contents& contents_of(const elf::Module& module, const ProcessMemory& process) noexcept {
  static constinit Contents nothing{};
  if (module.kind != elf::ModuleKind::kElf) return nothing;
  for (const Answer& a : g_answers)
    if (a.inode != 0 && a.inode == module.inode && a.device == module.device && a.begin == module.begin)
      return a.contents;
  Answer& answer = g_answers[g_next_answer++ % std::size(g_answers)];
  answer = {module.device, module.inode, module.begin, {}};
  Arena arena;
  elf::Image image;
  if (elf::open_module(module, arena, &image, process) && image.parse() == elf::Fault::kNone)
    recognise(image, &answer.contents);
  return answer.contents;
}

}  // namespace mallard::inside
