// SPDX-License-Identifier: Apache-2.0
#include "cli/check/elf_file.hpp"

#include <fmt/format.h>
#include <gelf.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "cli/check/allocators.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"

namespace mallard::cli {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{256} << 20;

std::string machine_name(unsigned machine, bool is_64_bit) {
  switch (machine) {
    case EM_X86_64:
      return is_64_bit ? "x86-64" : "x32";
    case EM_386:
      return "i386";
    case EM_AARCH64:
      return "AArch64";
    case EM_ARM:
      return "ARM";
    case EM_RISCV:
      return "RISC-V";
    case EM_PPC64:
      return "PowerPC 64";
    case EM_S390:
      return "s390";
    case EM_MIPS:
      return "MIPS";
    case EM_LOONGARCH:
      return "LoongArch";
    default:
      return fmt::format("machine {:#x}", machine);
  }
}

std::vector<std::string> split_path(std::string_view list) {
  std::vector<std::string> parts;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(':'), list.size());
    if (end > 0) parts.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return parts;
}

using ElfHandle = std::unique_ptr<Elf, decltype(&elf_end)>;

class Reader {
 public:
  Reader(const File& file, Elf* elf, ElfFile& out) : file_(file), elf_(elf), out_(out) {}

  [[noreturn]] void damaged(std::string_view what) const {
    throw Error(kUnreadable, fmt::format("'{}' is damaged: {}", out_.path, what),
                "compare it with a fresh copy of the file");
  }

  void read_segments(std::vector<std::pair<std::uint64_t, std::uint64_t>>* read_only) {
    std::size_t count = 0;
    if (elf_getphdrnum(elf_, &count) != 0) damaged("its program headers lie outside of the file");
    for (std::size_t i = 0; i < count; ++i) {
      GElf_Phdr p;
      if (!gelf_getphdr(elf_, static_cast<int>(i), &p))
        damaged("its program headers lie outside of the file");
      segments_.push_back(p);
      if (p.p_type != PT_LOAD && p.p_type != PT_INTERP && p.p_type != PT_DYNAMIC) continue;
      if (!file_.holds(p.p_offset, p.p_filesz)) damaged("it is shorter than its program headers say");
      if (p.p_type == PT_LOAD && !(p.p_flags & PF_W)) read_only->emplace_back(p.p_offset, p.p_filesz);
      if (p.p_type == PT_INTERP) {
        out_.interpreter = file_.read(p.p_offset, std::min<std::uint64_t>(p.p_filesz, 4096));
        out_.interpreter.resize(std::strlen(out_.interpreter.c_str()));
        if (out_.interpreter.empty()) damaged("its interpreter has no name");
      }
    }
    if (count == 0) damaged("it has no program headers");
  }

  void read_dynamic() {
    for (const GElf_Phdr& p : segments_) {
      if (p.p_type != PT_DYNAMIC) continue;
      Elf_Data* data =
          elf_getdata_rawchunk(elf_, static_cast<std::int64_t>(p.p_offset), p.p_filesz, ELF_T_DYN);
      if (!data) damaged("its dynamic section cannot be read");
      out_.has_dynamic = true;
      std::vector<GElf_Dyn> entries;
      GElf_Dyn d;
      for (int i = 0; gelf_getdyn(data, i, &d) && d.d_tag != DT_NULL; ++i) entries.push_back(d);
      for (const GElf_Dyn& e : entries) {
        if (e.d_tag == DT_STRTAB) strings_at_ = file_offset(e.d_un.d_ptr);
        if (e.d_tag == DT_STRSZ) strings_size_ = e.d_un.d_val;
        if (e.d_tag == DT_SYMTAB) symbols_at_ = file_offset(e.d_un.d_ptr);
      }
      for (const GElf_Dyn& e : entries) take(e);
      return;
    }
  }

  void read_sections() {
    Elf_Scn* section = nullptr;
    std::size_t names = 0;
    const bool has_names = elf_getshdrstrndx(elf_, &names) == 0;
    bool has_dynamic_symbols = false;
    while ((section = elf_nextscn(elf_, section))) {
      GElf_Shdr h;
      if (!gelf_getshdr(section, &h)) continue;
      const char* name = has_names ? elf_strptr(elf_, names, h.sh_name) : nullptr;
      if (name) take_section(name, h);
      if (h.sh_type != SHT_SYMTAB && h.sh_type != SHT_DYNSYM) continue;
      Elf_Data* data = elf_getdata(section, nullptr);
      if (!data) continue;
      const bool is_dynamic = h.sh_type == SHT_DYNSYM;
      (is_dynamic ? has_dynamic_symbols : out_.has_symbol_table) = true;
      GElf_Sym s;
      for (int i = 1; gelf_getsym(data, i, &s); ++i)
        if (const char* symbol = elf_strptr(elf_, h.sh_link, s.st_name)) take_symbol(symbol, s, is_dynamic);
    }
    if (!has_dynamic_symbols) read_symbols_without_sections();
    for (const std::string& name : out_.exports) out_.hidden.erase(name);
  }

 private:
  /// 0 if no segment holds the address.
  std::uint64_t file_offset(std::uint64_t address) const {
    for (const GElf_Phdr& p : segments_)
      if (p.p_type == PT_LOAD && address >= p.p_vaddr && address - p.p_vaddr < p.p_filesz)
        return p.p_offset + (address - p.p_vaddr);
    return 0;
  }

  std::string dynamic_string(std::uint64_t at) const {
    if (strings_at_ == 0 || at >= strings_size_ || !file_.holds(strings_at_, at)) return {};
    const std::string text = file_.read(
        strings_at_ + at, static_cast<std::size_t>(std::min<std::uint64_t>(strings_size_ - at, 4096)));
    return text.c_str();
  }

  void take(const GElf_Dyn& e) {
    switch (e.d_tag) {
      case DT_NEEDED:
        if (std::string name = dynamic_string(e.d_un.d_val); !name.empty()) out_.needed.push_back(name);
        break;
      case DT_SONAME:
        out_.soname = dynamic_string(e.d_un.d_val);
        break;
      case DT_RPATH:
        out_.rpath = split_path(dynamic_string(e.d_un.d_val));
        break;
      case DT_RUNPATH:
        out_.runpath = split_path(dynamic_string(e.d_un.d_val));
        break;
      case DT_SYMBOLIC:
        out_.is_symbolic = true;
        break;
      case DT_FLAGS:
        out_.is_symbolic |= (e.d_un.d_val & DF_SYMBOLIC) != 0;
        break;
      case DT_FLAGS_1:
        out_.is_pie |= (e.d_un.d_val & DF_1_PIE) != 0;
        break;
      default:
        break;
    }
  }

  void take_section(std::string_view name, const GElf_Shdr& h) {
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

  void take_symbol(std::string_view name, const GElf_Sym& s, bool is_dynamic) {
    name = name.substr(0, name.find('@'));
    if (!is_interesting(name)) return;
    const int type = GELF_ST_TYPE(s.st_info), binding = GELF_ST_BIND(s.st_info);
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) return;
    if (s.st_shndx == SHN_UNDEF) {
      if (is_dynamic && binding != STB_WEAK) out_.imports.emplace(name);
      return;
    }
    const int visibility = GELF_ST_VISIBILITY(s.st_other);
    const bool is_visible =
        is_dynamic && binding != STB_LOCAL && visibility != STV_HIDDEN && visibility != STV_INTERNAL;
    (is_visible ? out_.exports : out_.hidden).emplace(name);
    if (name == "mi_version") out_.mi_version_code = file_.read(file_offset(s.st_value), 16);
  }

  /// Section headers are not needed to run, and some tools take them away. The string table usually follows
  /// the symbols, which tells how many there are.
  void read_symbols_without_sections() {
    if (symbols_at_ == 0 || strings_at_ <= symbols_at_ ||
        !file_.holds(symbols_at_, strings_at_ - symbols_at_))
      return;
    Elf_Data* data = elf_getdata_rawchunk(elf_, static_cast<std::int64_t>(symbols_at_),
                                          strings_at_ - symbols_at_, ELF_T_SYM);
    GElf_Sym s;
    for (int i = 1; data && gelf_getsym(data, i, &s); ++i) take_symbol(dynamic_string(s.st_name), s, true);
  }

  const File& file_;
  Elf* elf_;
  ElfFile& out_;
  std::vector<GElf_Phdr> segments_;
  std::uint64_t strings_at_ = 0, strings_size_ = 0, symbols_at_ = 0;
};

}  // namespace

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
  out.opened_path_ = path;
  const std::string start = file.read(0, sizeof(Elf64_Ehdr));
  if (start.size() < 20) Reader(file, nullptr, out).damaged("it ends within its ELF header");
  std::uint16_t machine;
  std::memcpy(&out.type, start.data() + 16, 2);
  std::memcpy(&machine, start.data() + 18, 2);
  if (start[EI_DATA] == ELFDATA2MSB) {
    out.type = __builtin_bswap16(out.type);
    machine = __builtin_bswap16(machine);
  }
  out.is_64_bit = start[EI_CLASS] == ELFCLASS64;
  out.is_x86_64 = machine == EM_X86_64 && start[EI_DATA] == ELFDATA2LSB;
  out.machine = machine_name(machine, out.is_64_bit);
  if (!out.is_64_bit || !out.is_x86_64) return out;
  if (start.size() < sizeof(Elf64_Ehdr)) Reader(file, nullptr, out).damaged("it ends within its ELF header");

  elf_version(EV_CURRENT);
  const ElfHandle elf(elf_begin(file.fd(), ELF_C_READ, nullptr), &elf_end);
  Reader reader(file, elf.get(), out);
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF) reader.damaged("it has no valid ELF header");
  if (out.type != ET_EXEC && out.type != ET_DYN)
    throw Error(kUnreadable, fmt::format("'{}' is no program: it is {}", shown,
                                         out.type == ET_REL    ? "an object file"
                                         : out.type == ET_CORE ? "a core dump"
                                                               : "another kind of ELF file"));
  reader.read_segments(&out.read_only_);
  reader.read_dynamic();
  reader.read_sections();
  return out;
}

std::string ElfFile::read_only_bytes() const {
  const File file(opened_path_, path);
  std::string all;
  for (const auto& [offset, size] : read_only_)
    if (all.size() + size <= kMaxTextBytes) all += file.read(offset, size);
  return all;
}

}  // namespace mallard::cli
