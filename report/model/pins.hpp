// SPDX-License-Identifier: Apache-2.0
// Who keeps which memory by live blocks: pinned units by the set of call sites that lie on them. Sizes are
// resident bytes.
#pragma once

#include <cstdint>
#include <span>

namespace mallard::report {

/// A set of more call sites is not told apart.
inline constexpr int kMaxPinSites = 6;
/// Sets of one report.
inline constexpr int kShownPinSets = 10;

/// Units on which these sites have live blocks, and nobody else.
struct PinSet {
  double bytes = 0, holes = 0;  ///< holes: free memory, of `bytes`
  double together =
      0;  ///< goes back if all of these sites' blocks leave: `bytes`, and what fewer of them pin
  std::uint32_t sites[kMaxPinSites] = {};  ///< ids, ascending
  int count = 0;                           ///< two or more
};

/// The three parts add up to the units whose live blocks are known.
struct Pins {
  bool known = false;                 ///< only exact mode knows the owner of each block
  double alone = 0, alone_holes = 0;  ///< on units that one site pins alone
  double joint = 0, joint_holes = 0;  ///< that two sites or more pin
  double others = 0;                  ///< with blocks that no call site is known of
  double crowded = 0;                 ///< of joint: more than kMaxPinSites sites
  double unlisted = 0;                ///< of joint: sets that found no room
  std::span<const PinSet> sets;       ///< those with most bytes, largest first
};

}  // namespace mallard::report
