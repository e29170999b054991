// SPDX-License-Identifier: Apache-2.0
// What observing a program's allocator puts beside its code: for each entry the way to a watcher, and behind it the
// instructions that a jump displaces. Made of a plan alone, for this process or for another one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "inside/observed.hpp"
#include "inside/plan.hpp"

namespace mallard::inside {

class ObservedCode {
 public:
  /// \param bias         what is added to addresses of the file
  /// \param code_at      where the code will run: within reach of the program's
  /// \param observed_at  where that process has what watchers are told: plan.count of Observed
  ObservedCode(const TakeoverPlan& plan, std::uintptr_t bias, std::uintptr_t code_at,
               std::uintptr_t observed_at) noexcept
      : plan_(plan), bias_(bias), code_at_(code_at), observed_at_(observed_at) {}

  static std::size_t bytes_for(const TakeoverPlan& plan) noexcept { return plan.count * kWatchBytes; }

  /// The allocator that a report names.
  static EmbeddedKind main_kind(const TakeoverPlan& plan) noexcept;

  /// Where the jump over an entry leads.
  std::uintptr_t watched_at(std::size_t entry) const noexcept { return code_at_ + entry * kWatchBytes; }
  /// Where what it displaces runs.
  std::uintptr_t displaced_at(std::size_t entry) const noexcept {
    return watched_at(entry) + arch::kStubBytes;
  }
  /// What does the work of the function at an address: itself, unless that is an entry that is observed.
  std::uint64_t past_watcher(std::uint64_t address) const noexcept;

  /// \param code      bytes_for() of it \param observed  plan.count of them
  /// \return false if what a displaced instruction leads to is out of reach
  bool write(const Watchers& watchers, unsigned char* code, Observed* observed) const noexcept;

 private:
  /// The way to the watcher; behind it stands what a jump displaces.
  static constexpr std::size_t kWatchBytes = arch::kStubBytes + arch::kDisplacedRoom;

  std::uintptr_t usable_size_of(EmbeddedKind kind) const noexcept;

  const TakeoverPlan& plan_;
  std::uintptr_t bias_, code_at_, observed_at_;
};

}  // namespace mallard::inside
