// SPDX-License-Identifier: Apache-2.0
// Strata joined until each has samples enough for a factor of its own. Part of calibration.cpp. Context:
// reporter.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "report/divide/calibration.hpp"

namespace mallard::report {

enum class CellKind : std::uint8_t {
  kCalibrated,  ///< known totals, divided as the samples say
  kRest,        ///< known totals, too few samples: at most that much
  kUncounted,   ///< no totals
};

/// A stratum, or several that share a factor: what is known of it, and sums over its pieces.
struct Cell {
  CellKind kind;
  double resident_bytes, live_bytes;  ///< known
  std::uint32_t pieces;
  double resident, nominal, usable, asked;  ///< weighted
  double resident_squared;                  ///< w (w - 1) resident^2, and so on
  double nominal_squared, asked_squared, asked_nominal;
  double factor;  ///< that weighted bytes are multiplied by
};

void add_cell(Cell& to, const Cell& c) noexcept;

/// Strata with too few samples become one cell with others of their group and, if these are too few together,
/// with the next groups. What is left is the rest, whose factor only lowers: raising it would put the memory
/// of many on the site of one sample.
class Cells {
 public:
  /// \param older  no factor raises: what the samples do not account for is older than they are
  /// \return false if memory is out
  bool make(Arena& arena, std::span<const Piece> pieces, std::span<const Stratum> strata,
            bool older) noexcept;

  std::span<Cell> all() noexcept { return {cells_, count_}; }
  std::uint16_t cell_of(std::uint16_t stratum) const noexcept {
    while (into_[stratum] != stratum) stratum = into_[stratum];
    return stratum;
  }

 private:
  void join_groups(std::size_t first, std::size_t end) noexcept;
  void move(std::size_t from, std::size_t to) noexcept;
  std::size_t rest() const noexcept { return count_ - 1; }

  Cell* cells_ = nullptr;
  std::uint16_t* into_ = nullptr;  ///< the cell that took it; itself if none did
  std::size_t groups_ = 0, count_ = 0;
};

}  // namespace mallard::report
