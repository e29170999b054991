// SPDX-License-Identifier: Apache-2.0
// Source lines and inlined calls from DWARF.
#pragma once

#include <elfutils/libdwfl.h>

#include <vector>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

/// For each address (sorted, in libdwfl's terms) the functions whose code it is, innermost first; empty where
/// DWARF does not cover it. Each unit is read once for all of its addresses. \param storage  of the names
std::vector<std::vector<report::SourceLine>> inline_chains(Dwfl_Module* module,
                                                           const std::vector<GElf_Addr>& addresses,
                                                           Storage* storage);

}  // namespace mallard::cli
