// SPDX-License-Identifier: Apache-2.0
// The function that names a call site: the first one from the leaf that is the program's own. Wrappers of
// malloc, insides of containers and what libc does for its caller are folded: by their names
// (symbols/plumbing.hpp), by the user's list, and where many sites with different callers share a thin
// function. The stack keeps them all. Context: reporter; offline.
#pragma once

#include "base/arena.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// A function on the stack of a site: of a frame or, where calls were inlined into it, of one of its lines.
struct StackFunction {
  const Frame* frame;
  std::string_view name;  ///< empty = unknown
  std::string_view file;  ///< of its source; empty = unknown
  bool inlined;
};

/// From the leaf to the root.
class StackWalk {
 public:
  explicit StackWalk(const SiteRow& row, Naming from = {}) noexcept : row_(row), at_(from) {}
  bool is_done() const noexcept { return at_.frame >= row_.depth; }
  Naming place() const noexcept { return at_; }
  StackFunction get() const noexcept;
  void next() noexcept;

 private:
  const SiteRow& row_;
  Naming at_;
};

/// From so many different callers on, a thin function that sites share is a wrapper.
inline constexpr int kSharedByCallers = 8;
/// A function is thin if it calls malloc within its first bytes.
inline constexpr std::uint64_t kThinBytes = 128;

/// Sets `naming` of every row. \param wrappers  names of further functions to fold (ALLOC_WRAPPERS)
void name_sites(Arena& arena, std::span<SiteRow> rows, std::string_view wrappers) noexcept;

/// The function that names the site. A site without a stack has none: `frame` is nullptr.
StackFunction naming_function(const SiteRow& row) noexcept;

/// True if the function is folded wherever it stands: neither names a site nor is told as a caller.
bool is_folded(const StackFunction& function, std::string_view wrappers) noexcept;

}  // namespace mallard::report
