// SPDX-License-Identifier: Apache-2.0
// What a report advises to do, as plain data, and the tables of all remedies and of the lines to set.
#pragma once

#include <cstdint>
#include <string_view>

#include "report/model/estimate.hpp"

namespace mallard::report {

enum class RemedyKind : std::uint8_t {
#define REMEDY(enumerator, ...) enumerator,
#include "report/model/remedies.def"
#undef REMEDY
};

struct RemedyFacts {
  std::string_view name, words, costs;
  bool lasts;
  double error;
};

/// Indexed by RemedyKind.
inline constexpr RemedyFacts kRemedies[] = {
#define REMEDY(enumerator, name, words, lasts, error, costs) {name, words, costs, lasts, error},
#include "report/model/remedies.def"
#undef REMEDY
};

constexpr const RemedyFacts& facts_of(RemedyKind kind) noexcept { return kRemedies[static_cast<int>(kind)]; }

/// \return nullptr where there is no such remedy, as for one of a later version
constexpr const RemedyFacts* find_remedy(std::string_view name) noexcept {
  for (const RemedyFacts& remedy : kRemedies)
    if (remedy.name == name) return &remedy;
  return nullptr;
}

enum class SettingForm : std::uint8_t {
  kTunable,   ///< a part of GLIBC_TUNABLES, with colons between
  kConf,      ///< a part of jemalloc's configuration, with commas between
  kVariable,  ///< a variable of its own
  kOwn,       ///< a variable of mallard's, or an option of mallard run
};

struct Setting {
  RemedyKind remedy;
  std::string_view allocator;  ///< Backend::name; empty: whichever
  int from, to;                ///< versions, 100 * major + minor
  SettingForm form;
  std::string_view text;
};

inline constexpr Setting kSettings[] = {
#define SETTING(remedy, allocator, from, to, form, text) \
  {RemedyKind::remedy, allocator, from, to, SettingForm::form, text},
#include "report/model/settings.def"
#undef SETTING
};

/// One thing that would have less memory resident. Savings of several overlap: they do not add up.
struct Remedy {
  RemedyKind kind;
  bool predicted;         ///< false: `line` is the command that tries it
  Estimate saving;        ///< resident bytes; its interval allows for what predictions of this kind err
  std::string_view line;  ///< what to set, run or change
  std::string_view why;   ///< what of the memory it is about: a sentence
  std::uint32_t site;     ///< the call site that it is about; 0 = none
};

}  // namespace mallard::report
