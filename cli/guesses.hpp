// SPDX-License-Identifier: Apache-2.0
// Command lines as newcomers guess them, made into those that are meant.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/error.hpp"

namespace mallard::cli {

/// `mallard 4711` and `mallard NAME` of a process become `mallard dump`, `mallard FILE.json` `mallard
/// report`, and `mallard help NAME` `mallard NAME --help`. What is a subcommand or an option stays as it is.
/// \param words  without the command's own name
std::vector<std::string> as_meant(const CLI::App& app, std::vector<std::string> words);

/// What to say of a first word that means nothing: an error with a hint.
Error unknown_subcommand(const CLI::App& app, const std::string& word);

/// The option of a subcommand that was meant by one that does not exist; empty where none is near.
std::string nearest_option(const CLI::App& subcommand, const std::string& word);

}  // namespace mallard::cli
