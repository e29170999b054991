// SPDX-License-Identifier: Apache-2.0
// What would have less memory resident, with the figure that the report's own say it saves, and the line to
// set. docs/remedies.md gives the rules and what they err. Pure functions of a snapshot.
#pragma once

#include <initializer_list>

#include "report/judge/verdict_words.hpp"

namespace mallard::report {

/// A remedy is offered if it surely saves so much, and so much of the program's memory.
inline constexpr double kLeastSavingBytes = 16 << 20, kLeastSavingShare = 0.20;
/// Where the allocator gives back by itself what is free for a while: from this share of the heap on.
inline constexpr double kLeastDecayingShare = kLeastRetentionShare;
/// Savings that differ by less are equal: what lasts comes first then.
inline constexpr double kEqualSavings = 0.80;

/// Fills snapshot->remedies, best first; texts live in the arena. Before the findings, which name them.
void find_remedies(Arena& arena, const words::Findings& all, Snapshot* snapshot) noexcept;

/// The line to set for a remedy: joined with what the process has in its environment already.
/// \return false if no setting is known for the allocator that serves, or it is in force already
bool add_setting(const Snapshot& s, RemedyKind kind, TextBuffer& to) noexcept;

/// The command line of a process, or "COMMAND" where a shell would read it otherwise: the kernel keeps words,
/// and a report one line of them. A relative path is one of the process's directory.
std::string_view command_to_paste(const ProcessFacts& process) noexcept;

namespace words {

/// Names the remedies of these kinds that the report offers as next steps of a finding.
void say_remedies(Case& c, std::initializer_list<RemedyKind> kinds) noexcept;

}  // namespace words
}  // namespace mallard::report
