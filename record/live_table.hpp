// SPDX-License-Identifier: Apache-2.0
// The sampled blocks that are live: chained hash table in 32 shards, each with its own lock. Bounded; what
// does not fit is counted. Only blocks that passed the filter come here.
#pragma once

#include <cstdint>

#include "base/attributes.hpp"
#include "base/parts.hpp"
#include "record/site_table.hpp"

namespace mallard::record {

inline constexpr std::uint32_t kMaxLive = 1u << 20;
inline constexpr std::uint32_t kShards = 32;

struct LiveBlock {
  std::uintptr_t address;
  std::uint64_t asked_bytes;
  double weight;          ///< allocations that this sample stands for
  std::uint64_t born_ns;  ///< CLOCK_MONOTONIC
  SiteId site;
  std::uint32_t rounding_bytes;  ///< usable - asked
};

enum class Insert : std::uint8_t { kNew, kReplaced, kFull };

/// \return false if the kernel gave no address space \context init
bool live_init() noexcept;
void live_release() noexcept;  ///< gives back what live_init() took \context init

/// Adds a block. An older entry with the same address (its free was missed) is replaced.
/// \param replaced  that entry, if not nullptr
/// \context hot (slow path)
Insert live_insert(const LiveBlock& block, LiveBlock* replaced = nullptr) noexcept;

/// Removes the block at `p`. \return false if it is not a sample (the filter's false positive)
/// \context hot (slow path)
bool live_remove(const void* p, LiveBlock* removed) noexcept;

/// Removes all blocks, and what the filter counts of them. \context reporter
void live_clear() noexcept;

std::uint32_t live_count() noexcept;

/// Copies one shard's blocks, under its lock, to `to`. \return how many the shard holds; only the first
/// `room` of them were copied \context reporter
std::uint32_t live_copy_shard(std::uint32_t shard, LiveBlock* to, std::uint32_t room) noexcept;

/// The samples of another process: read first, entered in the table when its sites are known, too.
class LiveSamples {
 public:
  LiveSamples() noexcept = default;
  ~LiveSamples();
  LiveSamples(const LiveSamples&) = delete;
  LiveSamples& operator=(const LiveSamples&) = delete;

  bool read(const OtherParts& parts) noexcept;
  /// \param torn  rows left out, because they changed while they were read
  bool keep(std::uint64_t* torn) noexcept;

 private:
  std::uint32_t used_ = 0;
  void* rows_ = nullptr;
  std::size_t bytes_ = 0;
};

std::uint64_t live_own_bytes() noexcept;  ///< what is in memory of it \context reporter

void live_before_fork() noexcept;
void live_after_fork() noexcept;

}  // namespace mallard::record
