// SPDX-License-Identifier: Apache-2.0
#include "cli/report/inlines.hpp"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <map>

#include "cli/demangled.hpp"

namespace mallard::cli {
namespace {

/// Nesting of DIEs beyond this is no compiler's.
constexpr int kDeepest = 256;
/// Ranges read of one DIE; a damaged file may list them without end.
constexpr int kMostRanges = 100'000;
/// DIEs read of a module; in a damaged file, siblings may go round in circles.
constexpr int kMostDies = 100'000'000;

using report::SourceLine;
using Chains = std::vector<std::vector<SourceLine>>;

template <class Visit>
void for_each_range(Dwarf_Die* die, Visit visit) {
  Dwarf_Addr base = 0, begin = 0, end = 0;
  std::ptrdiff_t at = 0;
  for (int i = 0; i < kMostRanges && (at = dwarf_ranges(die, at, &base, &begin, &end)) > 0; ++i)
    if (begin < end) visit(begin, end);
}

/// The function itself: of an inlined call and of a definition outside of its class.
Dwarf_Die declaration_of(Dwarf_Die die) {
  Dwarf_Attribute attribute;
  Dwarf_Die other;
  for (unsigned int which : {DW_AT_abstract_origin, DW_AT_specification})
    if (dwarf_attr(&die, which, &attribute) && dwarf_formref_die(&attribute, &other)) die = other;
  return die;
}

/// "main::<lambda(int)>::operator()": the scopes of a function that has no linkage name, such as one of a
/// class within a function.
std::string qualified(Dwarf_Die* die, const char* name) {
  std::string out = printable(name);
  Dwarf_Die function = declaration_of(*die), *scopes = nullptr;
  const int count = dwarf_getscopes_die(&function, &scopes);
  for (int i = 1; i < count; ++i) {  // innermost first
    const char* scope = dwarf_diename(&scopes[i]);
    if (!scope || dwarf_tag(&scopes[i]) == DW_TAG_compile_unit) continue;
    out = printable(scope) + "::" + out;
  }
  std::free(scopes);
  return out;
}

std::string name_of(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  for (unsigned int linkage : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name})
    if (dwarf_attr_integrate(die, linkage, &attribute))
      if (const char* name = dwarf_formstring(&attribute)) return demangled(name);
  const char* name =
      dwarf_attr_integrate(die, DW_AT_name, &attribute) ? dwarf_formstring(&attribute) : nullptr;
  return name ? qualified(die, name) : "";
}

int number_of(Dwarf_Die* die, unsigned int which) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (!dwarf_attr(die, which, &attribute) || dwarf_formudata(&attribute, &value) != 0) return 0;
  return value < 100'000'000 ? static_cast<int>(value) : 0;
}

/// One compilation unit, with the addresses that are its own.
class Unit {
 public:
  Unit(Dwarf_Die unit, const std::vector<Dwarf_Addr>& addresses, Chains* chains, int* dies_left,
       Storage* storage)
      : unit_(unit), addresses_(addresses), chains_(*chains), dies_left_(*dies_left), storage_(*storage) {}

  /// \param which  ascending indexes into the addresses
  void read(const std::vector<std::size_t>& which) {
    which_ = &which;
    visit_children(&unit_, 0);
    for (std::size_t i : which) set_innermost_line(i);
  }

 private:
  void visit_children(Dwarf_Die* parent, int depth) {
    Dwarf_Die die;
    if (depth > kDeepest || dwarf_child(parent, &die) != 0) return;
    do visit(&die, depth);
    while (--dies_left_ > 0 && dwarf_siblingof(&die, &die) == 0);
  }

  void visit(Dwarf_Die* die, int depth) {
    switch (dwarf_tag(die)) {
      case DW_TAG_subprogram:
        add(die, false);
        break;
      case DW_TAG_inlined_subroutine:
        if (!add(die, true)) return;  // what was inlined here lies within
        break;
      case DW_TAG_lexical_block:
      case DW_TAG_namespace:
      case DW_TAG_module:
      case DW_TAG_class_type:
      case DW_TAG_structure_type:
      case DW_TAG_union_type:
        break;
      default:
        return;
    }
    visit_children(die, depth + 1);
  }

  /// Parents come before children: what is added later lies within. \return false if it covers no address
  bool add(Dwarf_Die* die, bool inlined) {
    bool any = false;
    SourceLine call;
    for_each_range(die, [&](Dwarf_Addr begin, Dwarf_Addr end) {
      auto at = std::lower_bound(which_->begin(), which_->end(), begin,
                                 [&](std::size_t i, Dwarf_Addr a) { return addresses_[i] < a; });
      for (; at != which_->end() && addresses_[*at] < end; ++at) {
        if (!any) call = {storage_.text(name_of(die)), "", 0, inlined};
        any = true;
        std::vector<SourceLine>& chain = chains_[*at];
        if (!inlined) chain.clear();  // another function's ranges overlap: the later one is as good
        if (inlined && !chain.empty()) set_call_site(die, &chain.front());
        if (chain.size() <= kDeepest) chain.insert(chain.begin(), call);
      }
    });
    return any;
  }

  std::string_view file_at(std::size_t index) {
    if (!files_ && dwarf_getsrcfiles(&unit_, &files_, &file_count_) != 0) file_count_ = 0;
    const char* name = index < file_count_ ? dwarf_filesrc(files_, index, nullptr, nullptr) : nullptr;
    return name ? std::string_view(storage_.text(printable(name))) : "";
  }

  void set_call_site(Dwarf_Die* die, SourceLine* caller) {
    caller->line = number_of(die, DW_AT_call_line);
    caller->file = file_at(static_cast<std::size_t>(number_of(die, DW_AT_call_file)));
  }

  void set_innermost_line(std::size_t i) {
    Dwarf_Line* line = dwarf_getsrc_die(&unit_, addresses_[i]);
    std::vector<SourceLine>& chain = chains_[i];
    if (!line) return;
    if (chain.empty()) chain.push_back({});
    const char* file = dwarf_linesrc(line, nullptr, nullptr);
    if (file) chain.front().file = storage_.text(printable(file));
    dwarf_lineno(line, &chain.front().line);
  }

  Dwarf_Die unit_;
  const std::vector<Dwarf_Addr>& addresses_;
  Chains& chains_;
  int& dies_left_;
  Storage& storage_;
  const std::vector<std::size_t>* which_ = nullptr;
  Dwarf_Files* files_ = nullptr;
  std::size_t file_count_ = 0;
};

/// Which unit each address belongs to, from the units' own ranges: .debug_aranges is not always there.
std::map<std::size_t, std::vector<std::size_t>> assign(const std::vector<Dwarf_Die>& units,
                                                       const std::vector<Dwarf_Addr>& addresses) {
  std::vector<int> unit_of(addresses.size(), -1);
  for (std::size_t u = 0; u < units.size(); ++u) {
    Dwarf_Die unit = units[u];
    for_each_range(&unit, [&](Dwarf_Addr begin, Dwarf_Addr end) {
      auto at = std::lower_bound(addresses.begin(), addresses.end(), begin);
      for (; at != addresses.end() && *at < end; ++at)
        unit_of[static_cast<std::size_t>(at - addresses.begin())] = static_cast<int>(u);
    });
  }
  std::map<std::size_t, std::vector<std::size_t>> out;
  for (std::size_t i = 0; i < addresses.size(); ++i)
    if (unit_of[i] >= 0) out[static_cast<std::size_t>(unit_of[i])].push_back(i);
  return out;
}

}  // namespace

Chains inline_chains(Dwfl_Module* module, const std::vector<GElf_Addr>& addresses, Storage* storage) {
  Chains chains(addresses.size());
  Dwarf_Addr bias = 0;
  Dwarf* dwarf = dwfl_module_getdwarf(module, &bias);
  if (!dwarf) return chains;
  std::vector<Dwarf_Addr> local;
  for (GElf_Addr a : addresses) local.push_back(a - bias);
  std::vector<Dwarf_Die> units;
  std::vector<Dwarf_Die> bodies;  // of split DWARF: in another file
  Dwarf_CU* cu = nullptr;
  Dwarf_Die die, split;
  Dwarf_Half version;
  std::uint8_t type;
  while (dwarf_get_units(dwarf, cu, &cu, &version, &type, &die, &split) == 0) {
    if (type != DW_UT_compile && type != DW_UT_skeleton) continue;
    units.push_back(die);
    bodies.push_back(type == DW_UT_skeleton && dwarf_tag(&split) == DW_TAG_compile_unit ? split : die);
  }
  int dies_left = kMostDies;
  for (const auto& [unit, which] : assign(units, local))
    Unit(bodies[unit], local, &chains, &dies_left, storage).read(which);
  return chains;
}

}  // namespace mallard::cli
