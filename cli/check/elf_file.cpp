// SPDX-License-Identifier: Apache-2.0
#include "cli/check/elf_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "arch/elf.hpp"
#include "cli/check/allocators.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "symbols/better.hpp"

namespace mallard::cli {
namespace {

constexpr unsigned kLoongArch = 258;  // EM_LOONGARCH, since glibc 2.36
constexpr std::pair<unsigned, const char*> kMachines[] = {
    {EM_X86_64, "x86-64"}, {EM_386, "i386"},         {EM_AARCH64, "AArch64"},
    {EM_ARM, "ARM"},       {EM_RISCV, "RISC-V"},     {EM_PPC64, "PowerPC 64"},
    {EM_S390, "s390"},     {EM_MIPS, "MIPS"},        {kLoongArch, "LoongArch"}};

std::string machine_name(unsigned machine, bool is_64_bit) {
  if (machine == EM_X86_64 && !is_64_bit) return "x32";
  for (const auto& [number, name] : kMachines)
    if (number == machine) return name;
  return fmt::format("machine {:#x}", machine);
}

class Reader {
 public:
  Reader(const File& file, ElfFile& out) : file_(file), out_(out) { image_.use_file(file.fd()); }

  void run() {
    if (const elf::Fault fault = image_.parse(); fault != elf::Fault::kNone)
      damaged(fault == elf::Fault::kNoProgram   ? "it has no valid ELF header"
              : image_.header().e_phnum == 0 ? "it has no program headers"
                                             : "its program headers lie outside of the file");
    read_segments();
    read_dynamic();
    read_sections();
    out_.has_symbol_table = read_symbols(SHT_SYMTAB);
    read_symbols(SHT_DYNSYM);
    for (const std::string& name : out_.exports) out_.hidden.erase(name);
    inside::recognise(image_, &out_.contents);
  }

  [[noreturn]] void damaged(std::string_view what) const {
    throw Error(kUnreadable, fmt::format("'{}' is damaged: {}", out_.path, what),
                "compare it with a fresh copy of the file");
  }

 private:
  void read_segments() {
    for (const Elf64_Phdr& p : image_.segments()) {
      if (p.p_type != PT_LOAD && p.p_type != PT_INTERP && p.p_type != PT_DYNAMIC) continue;
      if (!file_.holds(p.p_offset, p.p_filesz)) damaged("it is shorter than its program headers say");
      if (p.p_type != PT_INTERP) continue;
      out_.interpreter = file_.read(p.p_offset, std::min<std::uint64_t>(p.p_filesz, 4096)).c_str();
      if (out_.interpreter.empty()) damaged("its interpreter has no name");
    }
  }

  void read_dynamic() {
    const elf::Dynamic dynamic = image_.read_dynamic();
    out_.has_dynamic = dynamic.is_present;
    out_.is_symbolic = dynamic.is_symbolic;
    out_.is_pie = dynamic.is_pie;
    const auto text = [&](std::uint64_t at) -> std::string {
      std::uint64_t offset = 0;
      if (at >= dynamic.string_bytes || !image_.find_offset(dynamic.strings, at, &offset)) return {};
      return file_.read(offset + at, std::min<std::uint64_t>(dynamic.string_bytes - at, 4096)).c_str();
    };
    image_.for_each_dynamic([&](const Elf64_Dyn& d) {
      if (d.d_tag == DT_NEEDED && !text(d.d_un.d_val).empty()) out_.needed.push_back(text(d.d_un.d_val));
      if (d.d_tag == DT_SONAME) out_.soname = text(d.d_un.d_val);
      if (d.d_tag == DT_RPATH) out_.rpath = split_path(text(d.d_un.d_val));
      if (d.d_tag == DT_RUNPATH) out_.runpath = split_path(text(d.d_un.d_val));
    });
  }

  void read_sections() {
    const auto sections = image_.read_sections(arena_);
    const std::size_t index = image_.header().e_shstrndx;
    if (index >= sections.size()) return;
    const Elf64_Shdr& names = sections[index];
    for (const Elf64_Shdr& s : sections)
      if (s.sh_name < names.sh_size && file_.holds(names.sh_offset, s.sh_name))
        note_section(file_.read(names.sh_offset + s.sh_name, 32).c_str(), s);
  }

  bool read_symbols(std::uint32_t type) {
    elf::SymbolTable table;
    if (!image_.find_symbols(type, &table)) return false;
    const std::string_view names = image_.read_names(table, arena_);
    image_.for_each_symbol(table, [&](const Elf64_Sym& s) {
      if (s.st_name < names.size())
        note_symbol(symbols::without_version(names.data() + s.st_name), s, type == SHT_DYNSYM);
    });
    return !names.empty();
  }

  void note_section(std::string_view name, const Elf64_Shdr& h) {
    if (name == ".note.go.buildid" || name == ".gopclntab") out_.is_go = true;
    if (name != ".go.buildinfo") return;
    out_.is_go = true;
    // 32 bytes of header; from Go 1.18 on the version follows, its length before it.
    const std::string content = file_.read(h.sh_offset, 33 + 127);
    if (content.size() <= 33 || !(content[15] & 2)) return;
    const auto length = static_cast<unsigned char>(content[32]);
    if (length < 128 && content.compare(33, 2, "go") == 0) out_.go_version = content.substr(33, length);
    if (std::any_of(out_.go_version.begin(), out_.go_version.end(),
                    [](char c) { return c < ' ' || c > '~'; }))
      out_.go_version.clear();
  }

  void note_symbol(std::string_view name, const Elf64_Sym& s, bool is_dynamic) {
    if (!is_interesting(name)) return;
    const int type = ELF64_ST_TYPE(s.st_info), binding = ELF64_ST_BIND(s.st_info);
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) return;
    if (s.st_shndx == SHN_UNDEF) {
      if (is_dynamic && binding != STB_WEAK) out_.imports.emplace(name);
      return;
    }
    const int visibility = ELF64_ST_VISIBILITY(s.st_other);
    const bool is_visible =
        is_dynamic && binding != STB_LOCAL && visibility != STV_HIDDEN && visibility != STV_INTERNAL;
    (is_visible ? out_.exports : out_.hidden).emplace(name);
  }

  const File& file_;
  ElfFile& out_;
  elf::Image image_;
  Arena arena_;
};

}  // namespace

std::vector<std::string> split_path(std::string_view list, const char* separators) {
  std::vector<std::string> parts;
  while (!list.empty()) {
    const std::size_t end = list.find_first_of(separators);
    parts.emplace_back(end == 0 ? "." : list.substr(0, end));
    if (end == list.size() - 1) parts.emplace_back(".");  // nothing follows the last separator
    list.remove_prefix(std::min(end, list.size() - 1) + 1);
  }
  return parts;
}

FileKind kind_of_file(const std::string& path, const std::string& shown) {
  const std::string start = File(path, shown).read(0, 4);
  if (start ==
      "\x7f"
      "ELF")
    return FileKind::kElf;
  return start.starts_with("#!") ? FileKind::kScript : FileKind::kOther;
}

std::string script_line(const std::string& path, const std::string& shown) {
  std::string line = File(path, shown).read(2, 254);  // the kernel reads no more either
  line.resize(std::min({line.find('\n'), line.find('\0'), line.size()}));
  const std::size_t first = line.find_first_not_of(" \t\r");
  if (first == line.npos) return {};
  return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

ElfFile read_elf(const std::string& path, const std::string& shown) {
  const File file(path, shown);
  ElfFile out;
  out.path = shown;
  const std::string start = file.read(0, sizeof(Elf64_Ehdr));
  Reader reader(file, out);
  if (start.size() < 20) reader.damaged("it ends within its ELF header");
  std::uint16_t machine;
  std::memcpy(&out.type, start.data() + 16, 2);
  std::memcpy(&machine, start.data() + 18, 2);
  if (start[EI_DATA] == ELFDATA2MSB) {
    out.type = __builtin_bswap16(out.type);
    machine = __builtin_bswap16(machine);
  }
  out.is_64_bit = start[EI_CLASS] == ELFCLASS64;
  out.is_for_this_machine = machine == arch::kMachine && start[EI_DATA] == ELFDATA2LSB;
  out.machine = machine_name(machine, out.is_64_bit);
  if (!out.is_64_bit || !out.is_for_this_machine) return out;
  if (start.size() < sizeof(Elf64_Ehdr)) reader.damaged("it ends within its ELF header");
  if (start.starts_with(ELFMAG) && out.type != ET_EXEC && out.type != ET_DYN)
    throw Error(kUnreadable, fmt::format("'{}' is no program: it is {}", shown,
                                         out.type == ET_REL    ? "an object file"
                                         : out.type == ET_CORE ? "a core dump"
                                                               : "another kind of ELF file"));
  reader.run();
  return out;
}

}  // namespace mallard::cli
