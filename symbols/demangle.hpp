// SPDX-License-Identifier: Apache-2.0
// Names for people: Rust (v0, legacy) and C++ (Itanium) demangled by libiberty, whose objects are linked in
// hidden. It runs on a stack of its own and within fixed memory, and is stopped when its output does not fit:
// a mangled name of 1 KiB may ask for megabytes of either. Context: reporter.
#pragma once

#include <cstddef>
#include <string_view>

namespace mallard::symbols {

inline constexpr std::size_t kNowhere = std::string_view::npos;  ///< what a search in a name has not found

/// One user at a time per object; not movable, because libiberty is given its address.
class Demangler {
 public:
  static constexpr std::size_t kMaxMangledBytes = 8 * 1024;

  /// Maps the stack. Where there is no memory, every name stays mangled. \context reporter, exit
  Demangler() noexcept;
  ~Demangler();
  Demangler(const Demangler&) = delete;
  Demangler& operator=(const Demangler&) = delete;

  /// \param to  where the result may be written; a name that does not fit loses its parameters first, then
  ///            its end, which becomes "..."
  /// \return the name in `to`, or `mangled` itself if it is not mangled or cannot be demangled
  std::string_view demangle(std::string_view mangled, char* to, std::size_t bytes) noexcept;

  struct Work;  ///< what a run needs; in the mapped memory

 private:
  Work* work_ = nullptr;
};

/// Fits a demangled name into `columns` (characters of ASCII), giving up in this order: parameters, template
/// arguments (innermost last), the middle. The start and the function's own name stay as long as they can.
/// \param to  at least `columns` bytes
/// \return `name` itself if it fits, else the short form in `to`
std::string_view shorten_name(std::string_view name, char* to, std::size_t bytes,
                              std::size_t columns) noexcept;

/// The function's path: without parameters and what follows them, and without the type that it returns:
/// "std::vector<int>::push_back" of "void std::vector<int>::push_back(int const&)".
std::string_view path_of(std::string_view name) noexcept;
/// Where the last part of a path begins, behind "::" outside of brackets.
std::size_t last_component(std::string_view path) noexcept;

}  // namespace mallard::symbols
