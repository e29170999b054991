// SPDX-License-Identifier: Apache-2.0
#include "cli/report/function_index.hpp"

#include <algorithm>

namespace mallard::cli {
namespace {

/// End of the executable section; 0 if the symbol is in none.
GElf_Addr end_of_code(Elf* elf, GElf_Word index, GElf_Addr bias) {
  GElf_Shdr header;
  Elf_Scn* section = elf ? elf_getscn(elf, index) : nullptr;
  if (!section || !gelf_getshdr(section, &header) || !(header.sh_flags & SHF_EXECINSTR)) return 0;
  return header.sh_addr + header.sh_size + bias;
}

}  // namespace

FunctionIndex::FunctionIndex(Dwfl_Module* module) {
  const int count = dwfl_module_getsymtab(module);
  for (int i = 0; i < count; ++i) {
    GElf_Sym symbol;
    GElf_Addr address;
    GElf_Word section;
    Elf* elf = nullptr;
    Dwarf_Addr bias = 0;
    const char* name = dwfl_module_getsym_info(module, i, &symbol, &address, &section, &elf, &bias);
    if (!name || !*name || section == SHN_UNDEF) continue;
    const int type = GELF_ST_TYPE(symbol.st_info);
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) continue;
    const GElf_Addr code_end = end_of_code(elf, section, bias), end = address + symbol.st_size;
    if (code_end == 0 || end < address) continue;
    functions_.push_back(
        {address, end, 0, code_end, {symbols::without_version(name), GELF_ST_BIND(symbol.st_info)}});
  }
  // The best of the names for one address stands last, where the search begins.
  std::sort(functions_.begin(), functions_.end(), [](const Function& a, const Function& b) {
    return a.begin != b.begin ? a.begin < b.begin : symbols::better(b.name, a.name);
  });
  GElf_Addr furthest = 0;
  for (Function& f : functions_) f.furthest = furthest = std::max(furthest, f.end);
}

std::string_view FunctionIndex::name_at(GElf_Addr address, GElf_Addr* begin) const {
  const auto found = [begin](const Function& f) {
    if (begin) *begin = f.begin;
    return f.name.name;
  };
  auto after = std::upper_bound(functions_.begin(), functions_.end(), address,
                                [](GElf_Addr a, const Function& f) { return a < f.begin; });
  // The innermost of functions within functions starts last.
  for (auto f = after; f != functions_.begin();) {
    --f;
    if (address < f->end) return found(*f);
    if (f->furthest <= address) break;
  }
  // A label counts only if no function with a size ends between it and the address.
  for (auto f = after; f != functions_.begin();) {
    --f;
    if (f->end == f->begin)
      return f->furthest <= f->begin && address < f->section_end ? found(*f) : std::string_view();
    if (f->end > f->begin) break;
  }
  return {};
}

}  // namespace mallard::cli
