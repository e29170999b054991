// SPDX-License-Identifier: Apache-2.0
// What a function's name says of who it works for: the program, or whoever calls it. Wrappers of malloc,
// insides of containers and the roots of threads are the same in every program: a call site that is named by
// one of them has no name. Pure functions of names, for the report and the command alike. Context: any.
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard::symbols {

enum class Plumbing : std::uint8_t {
  kNone,        ///< a function of the program, or of a library that does something for it
  kAllocation,  ///< hands out memory: malloc, operator new, zmalloc, g_malloc0, __rust_alloc, PyMem_Malloc
  kLibrary,     ///< a language's own library: std::, core::, alloc::
  kRoot,        ///< where every thread begins: _start, start_thread
};

/// \param function  a name as demangled, with or without parameters; empty gives kNone
Plumbing plumbing_of(std::string_view function) noexcept;

/// True of libc, the loader and the libraries of C++: what they allocate they do for their caller.
/// \param file  the last part of a module's path
bool is_runtime_library(std::string_view file) noexcept;

/// True of source files of the languages' own libraries, as debug information names them.
bool is_library_source(std::string_view path) noexcept;

/// True if a list of names has the function. Names are separated by commas or spaces; * stands for any
/// characters. They are compared with the function's path, without parameters: ngx_alloc, pool::*,
/// my::Buffer::grow.
bool is_listed(std::string_view names, std::string_view function) noexcept;

}  // namespace mallard::symbols
