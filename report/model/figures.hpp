// SPDX-License-Identifier: Apache-2.0
// The figures that a report has of each call site, with the words that the library, the command and the HTML
// page share. A new figure is a row of figures.def and whatever computes it.
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard::report {

enum class SiteFigure : std::uint8_t {
#define FIGURE(enumerator, ...) enumerator,
#include "report/model/figures.def"
#undef FIGURE
};

/// One value of type T for each figure: Estimate where the report is made, double for sums, and so on.
template <typename T>
struct SiteFigures {
#define FIGURE(enumerator, field, ...) T field{};
#include "report/model/figures.def"
#undef FIGURE
};

template <typename T>
inline constexpr T SiteFigures<T>::*kFigureFields[] = {
#define FIGURE(enumerator, field, ...) &SiteFigures<T>::field,
#include "report/model/figures.def"
#undef FIGURE
};

enum class FigureUnit : std::uint8_t { kBytes, kBlocks };

enum class FigureKind : std::uint8_t {
  kLive,       ///< a sum over live blocks: an estimate by samples, a count by exact books
  kDivided,    ///< likewise a share of the heap's pages: not where the allocator cannot be asked
  kAlone,      ///< likewise; of samples only where they tell: an interval is there then. Sums leave out joint
               ///< units
  kAllocated,  ///< a sum over all blocks since recording began
  kCounted,    ///< known to exact books only
  kPeak,       ///< known to exact books only; those of several sites do not add up
};

struct FigureFacts {
  SiteFigure figure;
  std::string_view field, name, column, words, meaning;
  FigureUnit unit;
  FigureKind kind;
  std::string_view pprof_type;

  bool is_bytes() const noexcept { return unit == FigureUnit::kBytes; }
  bool is_exact_only() const noexcept { return kind == FigureKind::kCounted || kind == FigureKind::kPeak; }
  bool adds_up() const noexcept { return kind != FigureKind::kPeak; }
  bool needs_division() const noexcept { return kind == FigureKind::kDivided || kind == FigureKind::kAlone; }
  /// True if samples may not tell the figure of a site, though they have others of it: it has no interval
  /// then.
  bool may_be_untold() const noexcept { return kind == FigureKind::kAlone; }

  template <typename T>
  constexpr T& of(SiteFigures<T>& site) const noexcept {
    return site.*kFigureFields<T>[static_cast<int>(figure)];
  }
  template <typename T>
  constexpr const T& of(const SiteFigures<T>& site) const noexcept {
    return site.*kFigureFields<T>[static_cast<int>(figure)];
  }
};

/// Indexed by SiteFigure.
inline constexpr FigureFacts kFigures[] = {
#define FIGURE(enumerator, field, name, column, words, meaning, unit, kind, pprof_type) \
  {SiteFigure::enumerator, #field,           name,      column, words, meaning,         \
   FigureUnit::unit,       FigureKind::kind, pprof_type},
#include "report/model/figures.def"
#undef FIGURE
};

constexpr const FigureFacts& facts_of(SiteFigure figure) noexcept {
  return kFigures[static_cast<int>(figure)];
}

/// \param name  as --by and --fail-on have it \return nullptr where there is no such figure
constexpr const FigureFacts* find_figure(std::string_view name) noexcept {
  for (const FigureFacts& figure : kFigures)
    if (!name.empty() && figure.name == name) return &figure;
  return nullptr;
}

}  // namespace mallard::report
