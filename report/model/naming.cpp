// SPDX-License-Identifier: Apache-2.0
#include "report/model/naming.hpp"

#include <algorithm>

#include "symbols/plumbing.hpp"

namespace mallard::report {
namespace {

using symbols::Plumbing;

/// Wrappers of wrappers are folded one after the other.
constexpr int kMostRounds = 3;

/// The first function from `from` on that is not folded. \return false if there is none
bool find_unfolded(const SiteRow& row, Naming from, std::string_view wrappers, Naming* to) noexcept {
  for (StackWalk walk(row, from); !walk.is_done(); walk.next()) {
    if (is_folded(walk.get(), wrappers)) continue;
    *to = walk.place();
    return true;
  }
  return false;
}

/// Where everything is plumbing: the outermost function of a language's library, which tells most (a
/// std::thread that runs a functor), else the leaf.
Naming least_bad(const SiteRow& row) noexcept {
  Naming found{};
  for (StackWalk walk(row); !walk.is_done(); walk.next())
    if (symbols::plumbing_of(walk.get().name) == Plumbing::kLibrary) found = walk.place();
  return found;
}

/// A site under the function that names it so far, and who called that.
struct Use {
  StackFunction function, caller;
  std::uint32_t row;
};

/// Functions without a name are told apart by their address.
int compare(const StackFunction& a, const StackFunction& b) noexcept {
  if (const int order = a.name.compare(b.name); order != 0) return order;
  if (!a.name.empty() || a.frame == b.frame) return 0;
  return a.frame < b.frame ? -1 : 1;
}

bool is_before(const Use& a, const Use& b) noexcept {
  const int order = compare(a.function, b.function);
  return order != 0 ? order < 0 : compare(a.caller, b.caller) < 0;
}

/// True if the uses, all of one function, are those of a wrapper.
bool is_wrapper(std::span<const Use> uses) noexcept {
  const Frame* frames[2] = {};
  int callers = 0;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    callers += i == 0 || compare(uses[i - 1].caller, uses[i].caller) != 0;
    if (uses[i].function.inlined) continue;  // the compiler found it thin
    const Frame* frame = uses[i].function.frame;
    if (frame->function_offset > kThinBytes) return false;
    if (frame == frames[0] || frame == frames[1]) continue;
    if (frames[1]) return false;
    frames[frames[0] ? 1 : 0] = frame;
  }
  return callers >= kSharedByCallers;
}

/// The next function beyond the one that names a row. \return false if there is none
bool find_caller(const SiteRow& row, std::string_view wrappers, Naming* to) noexcept {
  StackWalk walk(row, row.naming);
  const StackFunction named = walk.get();
  do walk.next();
  while (!walk.is_done() && compare(walk.get(), named) == 0);
  return !walk.is_done() && find_unfolded(row, walk.place(), wrappers, to);
}

/// Moves the rows under a wrapper on to its caller. \return whether any was moved
bool fold_shared(std::span<SiteRow> rows, std::span<Use> room, std::string_view wrappers) noexcept {
  std::size_t n = 0;
  for (std::uint32_t i = 0; i < rows.size(); ++i) {
    Naming caller;
    if (rows[i].depth == 0 || !find_caller(rows[i], wrappers, &caller)) continue;
    room[n++] = {naming_function(rows[i]), StackWalk(rows[i], caller).get(), i};
  }
  const std::span<Use> uses = room.first(n);
  std::sort(uses.begin(), uses.end(), is_before);
  bool any = false;
  for (std::size_t at = 0, end; at < uses.size(); at = end) {
    for (end = at + 1; end < uses.size() && compare(uses[end].function, uses[at].function) == 0;) ++end;
    if (!is_wrapper(uses.subspan(at, end - at))) continue;
    any = true;
    for (const Use& use : uses.subspan(at, end - at))
      find_caller(rows[use.row], wrappers, &rows[use.row].naming);
  }
  return any;
}

}  // namespace

StackFunction StackWalk::get() const noexcept {
  const Frame* frame = row_.frames[at_.frame];
  if (frame->lines.empty()) return {frame, frame->function, {}, false};
  const auto line = static_cast<std::size_t>(at_.line);
  const SourceLine& source = frame->lines[line];
  const bool outermost = line + 1 == frame->lines.size();
  return {frame, source.function.empty() && outermost ? frame->function : source.function, source.file,
          source.inlined};
}

void StackWalk::next() noexcept {
  if (++at_.line < static_cast<int>(row_.frames[at_.frame]->lines.size())) return;
  at_ = {at_.frame + 1, 0};
}

bool is_folded(const StackFunction& function, std::string_view wrappers) noexcept {
  if (function.name.empty() && function.frame->module.empty()) return true;  // nothing is known of it
  if (symbols::is_library_source(function.file)) return true;
  return symbols::plumbing_of(function.name) != Plumbing::kNone ||
         symbols::is_runtime_library(file_name_of(function.frame->module)) ||
         symbols::is_listed(wrappers, function.name);
}

void name_sites(Arena& arena, std::span<SiteRow> rows, std::string_view wrappers) noexcept {
  for (SiteRow& row : rows) {
    if (row.depth > 0 && !find_unfolded(row, {}, wrappers, &row.naming)) row.naming = least_bad(row);
    row.naming_by_name = row.naming;
  }
  Use* const room = arena.array<Use>(rows.size());
  if (!room) return;
  for (int round = 0; round < kMostRounds && fold_shared(rows, {room, rows.size()}, wrappers);) ++round;
}

StackFunction naming_function(const SiteRow& row) noexcept {
  return row.depth > 0 ? StackWalk(row, row.naming).get() : StackFunction{nullptr, {}, {}, false};
}

}  // namespace mallard::report
