// SPDX-License-Identifier: Apache-2.0
// The functions of a module's symbol tables, sorted by address once: libdwfl's own search by address reads
// the whole table for each.
#pragma once

#include <elfutils/libdwfl.h>

#include <string_view>
#include <vector>

#include "symbols/better.hpp"

namespace mallard::cli {

class FunctionIndex {
 public:
  explicit FunctionIndex(Dwfl_Module* module);

  /// Symbol of the function that covers the address, as it is in the table but for a version; empty if none
  /// does. A symbol without a size covers what follows, up to the next function.
  /// \param begin  if not null, where the function begins
  std::string_view name_at(GElf_Addr address, GElf_Addr* begin = nullptr) const;

 private:
  struct Function {
    GElf_Addr begin, end;    ///< end == begin: without a size
    GElf_Addr furthest = 0;  ///< largest end of this function and all before it
    GElf_Addr section_end;   ///< limit of one without a size
    symbols::FunctionName name;
  };
  std::vector<Function> functions_;
};

}  // namespace mallard::cli
