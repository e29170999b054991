// SPDX-License-Identifier: Apache-2.0
// Which process a word of the command line means: its id, or the name of a program that runs.
#pragma once

#include <string>

namespace mallard::cli {

/// True for a word of digits, which is never taken for a name.
bool is_number(const std::string& word);

/// A program's name is that of its file, the one that it was started under, the one that it gave itself, or
/// that of the script which it runs. Where several have it, the only one with libmallard.so is meant. \param
/// command  the subcommand, for hints \throws Error if no process has that name, or if several have it: then
/// with a list of them
int process_of(const std::string& word, const char* command);

/// Whether libmallard.so, or what `mallard attach` loads, is in that process.
bool has_mallard(int pid);

/// True if some process other than this one has that name.
bool is_running(const std::string& name);

}  // namespace mallard::cli
