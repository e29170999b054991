// SPDX-License-Identifier: Apache-2.0
// Who served a program of a comparison, as its report tells it.
#pragma once

#include <cstdint>
#include <string>

#include "report/model/model.hpp"

namespace mallard::cli::compare {

/// An allocator that holds less is no subject of a comparison.
inline constexpr std::uint64_t kLeastOfOthers = 1u << 20;

/// "mimalloc 2.2.4"
std::string versioned(const report::OtherAllocator& a);

/// "jemalloc 5.3.0 in the place of mimalloc 2.2.4", or "system glibc 2.36, beside it mimalloc 2.2.4 inside
/// indexer". What a runtime has of its own is not named: no malloc can serve in its place.
std::string served_text(const report::Snapshot& s);

/// The allocator inside the program that goes on serving; empty where none does, or where it holds next to
/// nothing.
std::string allocator_inside(const report::Snapshot& s);

/// Why an allocator inside the program goes on beside the candidate: a clause; empty where none does, or
/// where it holds next to nothing.
std::string why_it_goes_on(const report::Snapshot& s);

}  // namespace mallard::cli::compare
