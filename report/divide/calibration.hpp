// SPDX-License-Identifier: Apache-2.0
// From samples to resident bytes by call site. A sampled block stands for `weight` blocks (Horvitz and
// Thompson); where the census knows the total of a size class, the samples only say how it is divided among
// the sites (ratio estimator), and the error is that of the division. Pure arithmetic on plain data. Context:
// reporter.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.hpp"
#include "report/divide/beyond_records.hpp"
#include "report/model/estimate.hpp"

namespace mallard::report {

/// Units that are alike: of one size class, and about equally full.
struct Stratum {
  std::uint64_t key;
  std::uint64_t size_class;
  std::uint8_t group;     ///< strata that are pooled where they have too few samples; below kGroups
  bool counted;           ///< the census knows the totals below; false: samples are all that is known
  bool several;           ///< blocks to a unit: of such units, some may not have been examined
  double resident_bytes;  ///< of its units
  double live_bytes;      ///< usable bytes of the blocks in its units, at most what is resident
  double overhead_bytes;  ///< headers between the blocks, at most what is left
};
inline constexpr std::uint8_t kGroups = 32;

/// What one sampled block has in one stratum.
struct Piece {
  std::uint32_t next;  ///< of the same sample; 0 = none
  std::uint16_t stratum;
  std::uint32_t site;
  double weight;
  double resident;            ///< its share of the resident bytes of its units
  double nominal;             ///< its usable bytes as the census counts them in Stratum::live_bytes
  double usable;              ///< usable bytes of it that are resident
  double asked;               ///< requested bytes of it that are resident
  double holes;               ///< its share of the free memory of its units
  double alone, alone_holes;  ///< of `resident` and `holes`: on units where it is the only live block
};

/// Estimates for one site: resident >= live + holes; what is left is rounding and headers.
struct SiteShare {
  Estimate resident, live, holes;
  Estimate alone, alone_holes;  ///< of resident and of holes: on units with one live block
};

/// Sums over all sites and strata.
struct CalibratedTotals {
  Estimate live;            ///< requested and resident
  double usable = 0;        ///< usable and resident
  Estimate past;            ///< usable and resident, of blocks allocated past mallard
  double older = 0;         ///< of live and of usable: blocks older than the samples, rounding included
  double unattributed = 0;  ///< resident bytes of strata with too few samples to say whose they are
  double uncounted = 0;     ///< resident bytes of strata that the census does not know, from samples
  double uncounted_variance = 0;
  bool sampled = false;  ///< false: no sample; live and usable are the census's usable bytes
};

/// A stratum or group with fewer pieces than this has no factor of its own.
inline constexpr std::uint32_t kMinStratumPieces = 5;

/// Adds up `pieces` (any order; they are sorted and their strata changed) into `sites`, which is indexed by
/// site.
/// \param beyond        what live memory is that the samples do not account for. Other than by chance it
/// stays
///                      unattributed
/// \param sample_bytes  mean bytes between samples
/// \return false if memory is out
bool calibrate(Arena& arena, std::span<Piece> pieces, std::span<const Stratum> strata, Beyond beyond,
               double sample_bytes, std::span<SiteShare> sites, CalibratedTotals* totals) noexcept;

}  // namespace mallard::report
