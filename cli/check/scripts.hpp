// SPDX-License-Identifier: Apache-2.0
// Which program a script leads to: read from its text, of which nothing is run.
#pragma once

#include <string>
#include <string_view>

namespace mallard::cli {

/// Finds a command as a shell does; empty if nothing of that name is in PATH.
std::string find_in_path(const std::string& name);

/// The program that a "#!" line starts: of `env NAME` it is NAME, options, variables and -S left out.
/// \throws Error if that is not in PATH
std::string interpreter_of(const std::string& line, const std::string& script);

/// A shim of pyenv, rbenv and their kin: the file of the version that is chosen here; empty if it is none.
std::string program_of_shim(const std::string& path);

/// What a shell script becomes by `exec`, as far as plain assignments tell; empty where they do not.
std::string program_of_shell_script(const std::string& path);

bool is_shell(std::string_view interpreter);

}  // namespace mallard::cli
