// SPDX-License-Identifier: Apache-2.0
#include "symbols/elf_symbols.hpp"

#include <algorithm>

#include "symbols/better.hpp"

namespace mallard::symbols {
namespace {

constexpr std::size_t kMaxNameBytes = 16 * 1024;
constexpr std::uint64_t kNone = ~std::uint64_t{0};
// A damaged table may let every symbol cover every address; a sound one needs a few steps per symbol.
constexpr std::int64_t kMaxSteps = 100'000'000;
constexpr std::int64_t kStepsPerName = 1000;

/// A symbol that may be the function at a target.
struct Choice {
  std::uint64_t begin;  ///< kNone = no choice yet
  std::uint64_t name;   ///< file offset of the name
  std::uint64_t names_end;
  std::uint64_t limit;  ///< addresses from here on are not the symbol's
  int binding;
};

/// One address to be named.
struct Target {
  std::uint64_t address;
  Choice sized;             ///< innermost function that covers the address
  Choice label;             ///< last symbol without a size at or before it
  std::uint64_t sized_end;  ///< last end of a sized function at or before it
};

class NamePass {
 public:
  NamePass(Arena& arena, elf::Image& image, std::span<Target> targets) noexcept
      : arena_(arena), image_(image), targets_(targets) {}

  bool prepare() noexcept {
    if (image_.parse() != elf::Fault::kNone) return false;
    sections_ = image_.read_sections(arena_);
    name_ = arena_.array<char>(2 * kMaxNameBytes);
    return !sections_.empty() && name_;
  }

  void read_table(std::uint32_t type) noexcept {
    if (elf::SymbolTable table; image_.find_symbols(type, &table)) {
      names_ = table.names_at;
      names_end_ = names_ + table.names_bytes;
      image_.for_each_symbol(table, [this](const Elf64_Sym& s) noexcept { consider(s); });
    }
  }

  /// Hands the ends and labels before a target on to it.
  void carry_forward() noexcept {
    for (std::size_t i = 1; i < targets_.size(); ++i) {
      const Target& before = targets_[i - 1];
      Target& t = targets_[i];
      if (before.sized_end > t.sized_end) t.sized_end = before.sized_end;
      if (before.label.begin != kNone && (t.label.begin == kNone || before.label.begin > t.label.begin))
        t.label = before.label;
    }
  }

  const Choice* chosen(const Target& t) const noexcept {
    if (t.sized.begin != kNone) return &t.sized;
    // A function that ended in between says that the label's code ended before it.
    const bool good = t.label.begin != kNone && t.address < t.label.limit && t.sized_end <= t.label.begin;
    return good ? &t.label : nullptr;
  }

  std::string_view name(const Choice& choice) noexcept {
    const std::string_view read = read_name(choice, name_);
    char* kept = read.empty() ? nullptr : arena_.array<char>(read.size());
    if (!kept) return {};
    __builtin_memcpy(kept, read.data(), read.size());
    return {kept, read.size()};
  }

 private:
  void consider(const Elf64_Sym& s) noexcept {
    const int type = ELF64_ST_TYPE(s.st_info);
    if (s.st_shndx == SHN_UNDEF || s.st_name == 0) return;
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) return;
    if (s.st_value > targets_.back().address) return;
    const std::uint64_t end = s.st_value + s.st_size;
    if (end < s.st_value || names_ + s.st_name >= names_end_) return;
    const Elf64_Shdr* section = s.st_shndx < sections_.size() ? &sections_[s.st_shndx] : nullptr;
    if (section && !(section->sh_flags & SHF_EXECINSTR)) return;
    Choice choice{s.st_value, names_ + s.st_name, names_end_, end, ELF64_ST_BIND(s.st_info)};
    const std::size_t first = first_at_or_after(s.st_value);
    if (s.st_size == 0) {
      if (!section || s.st_value < section->sh_addr) return;
      choice.limit = section->sh_addr + section->sh_size;
      Choice& label = targets_[first].label;
      if (label.begin == kNone || s.st_value > label.begin ||
          (s.st_value == label.begin && is_better(choice, label)))
        label = choice;
      return;
    }
    std::size_t i = first;
    for (; i < targets_.size() && targets_[i].address < end && steps_ > 0; ++i, --steps_) {
      Choice& sized = targets_[i].sized;
      // The innermost of functions within functions is meant, and that one starts last.
      if (sized.begin == kNone || s.st_value > sized.begin ||
          (s.st_value == sized.begin && is_better(choice, sized)))
        sized = choice;
    }
    if (i < targets_.size() && end > targets_[i].sized_end) targets_[i].sized_end = end;
  }

  std::size_t first_at_or_after(std::uint64_t address) const noexcept {
    const auto first =
        std::lower_bound(targets_.begin(), targets_.end(), address,
                         [](const Target& t, std::uint64_t wanted) noexcept { return t.address < wanted; });
    return static_cast<std::size_t>(first - targets_.begin());
  }

  bool is_better(const Choice& a, const Choice& b) noexcept {
    if ((steps_ -= kStepsPerName) < 0) return false;
    const std::string_view name_a = read_name(a, name_), name_b = read_name(b, name_ + kMaxNameBytes);
    if (name_a.empty() || name_b.empty()) return !name_a.empty();
    return better({name_a, a.binding}, {name_b, b.binding});
  }

  std::string_view read_name(const Choice& c, char* to) const noexcept {
    const std::uint64_t room = c.names_end - c.name;
    const std::size_t wanted = room < kMaxNameBytes ? static_cast<std::size_t>(room) : kMaxNameBytes;
    std::size_t have = 0;
    while (have < wanted) {  // most names are short: no need to fetch 16 KiB for each
      const std::size_t step = wanted - have < 256 ? wanted - have : 256;
      const std::size_t got = image_.read_some(c.name + have, to + have, step);
      const std::size_t nul = std::string_view(to + have, got).find('\0');
      if (nul != std::string_view::npos) {
        return without_version({to, have + nul});
      }
      have += got;
      if (got < step) break;
    }
    return {};
  }

  Arena& arena_;
  elf::Image& image_;
  std::span<Target> targets_;
  std::span<const Elf64_Shdr> sections_;
  char* name_ = nullptr;  // two names
  std::uint64_t names_ = 0, names_end_ = 0;
  std::int64_t steps_ = kMaxSteps;
};

bool by_pc(const Symbol& a, const Symbol& b) noexcept { return a.pc < b.pc; }
bool by_module(const Symbol& a, const Symbol& b) noexcept {
  return a.module != b.module ? a.module < b.module : a.pc < b.pc;
}

}  // namespace

void name_symbols(Arena& arena, elf::Image& image, std::uintptr_t load_bias,
                  std::span<Symbol> symbols) noexcept {
  auto* targets = symbols.empty() ? nullptr : arena.array<Target>(symbols.size());
  if (!targets) return;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    targets[i].address = symbols[i].pc - load_bias - 1;
    targets[i].sized.begin = targets[i].label.begin = kNone;
  }
  NamePass pass(arena, image, {targets, symbols.size()});
  if (!pass.prepare()) return;
  pass.read_table(SHT_SYMTAB);
  pass.read_table(SHT_DYNSYM);
  pass.carry_forward();
  const Choice* last = nullptr;
  std::string_view last_name;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    const Choice* choice = pass.chosen(targets[i]);
    if (!choice) continue;
    if (!last || last->name != choice->name) last_name = pass.name(*choice);
    last = choice;
    symbols[i].name = last_name;
    symbols[i].offset = last_name.empty() ? 0 : symbols[i].pc - load_bias - choice->begin;
  }
}

std::span<Symbol> symbolize(Arena& arena, const elf::Modules& modules, std::span<Symbol> symbols) noexcept {
  std::sort(symbols.begin(), symbols.end(), by_pc);
  std::size_t n = 0;
  for (const Symbol& s : symbols)
    if (n == 0 || symbols[n - 1].pc != s.pc) symbols[n++] = Symbol{s.pc, -1, s.pc, {}, 0};
  symbols = symbols.first(n);
  for (Symbol& s : symbols) {
    s.module = modules.find(s.pc - 1);
    if (s.module >= 0) s.address = s.pc - modules.all()[static_cast<std::size_t>(s.module)].load_bias;
  }
  std::sort(symbols.begin(), symbols.end(), by_module);
  for (std::size_t i = 0, next; i < n; i = next) {
    for (next = i + 1; next < n && symbols[next].module == symbols[i].module; ++next) {
    }
    if (symbols[i].module < 0) continue;
    const elf::Module& module = modules.all()[static_cast<std::size_t>(symbols[i].module)];
    elf::Image image;
    if (elf::open_module(module, arena, &image, modules.process()))
      name_symbols(arena, image, module.load_bias, symbols.subspan(i, next - i));
  }
  std::sort(symbols.begin(), symbols.end(), by_pc);
  return symbols;
}

const Symbol* find_symbol_of(std::span<const Symbol> symbols, std::uintptr_t pc) noexcept {
  const auto found = std::lower_bound(symbols.begin(), symbols.end(), Symbol{pc, 0, 0, {}, 0}, by_pc);
  return found != symbols.end() && found->pc == pc ? &*found : nullptr;
}

}  // namespace mallard::symbols
