// SPDX-License-Identifier: Apache-2.0
// What the rules about the heap share.
#pragma once

#include <string_view>

#include "report/judge/verdict_words.hpp"

namespace mallard::report::words {

bool serves(const Snapshot& s, std::string_view backend) noexcept;
/// Free blocks in thread caches lie among the holes: no live block of the program pins them.
double cached(const Findings& all) noexcept;
/// An estimate without a part of it that was counted.
Estimate less(Estimate e, double bytes) noexcept;
/// Free memory that could have served requests: without what jemalloc and mimalloc are about to give back.
double free_bytes(const Findings& all) noexcept;
/// What of the ledger's heap is of other allocators than the one that serves.
double of_others(const Snapshot& s) noexcept;
/// Free pages that glibc is known to keep, where another allocator serves.
double kept_by_glibc_beside(const Findings& all) noexcept;
/// Free pages that the serving allocator keeps, at the most.
double kept_by_server(const Findings& all) noexcept;
/// The heap grows with the work while live memory does not: what is free is not used again.
bool is_unfit(const Findings& all) noexcept;
/// How many threads have not run since the last report, where any has not.
void say_idle_threads(Case& c) noexcept;
/// What the purge probe gave back, or how to make one.
void say_purge(Case& c) noexcept;

}  // namespace mallard::report::words
