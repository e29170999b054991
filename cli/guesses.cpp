// SPDX-License-Identifier: Apache-2.0
#include "cli/guesses.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/nearest.hpp"
#include "cli/check/program.hpp"
#include "cli/demangled.hpp"
#include "cli/process/find_process.hpp"

namespace mallard::cli {
namespace {

std::vector<std::string> subcommands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); }))
    names.push_back(sub->get_name());
  return names;
}

bool is_subcommand(const CLI::App& app, const std::string& word) {
  const auto all = app.get_subcommands([](const CLI::App*) { return true; });
  return std::any_of(all.begin(), all.end(), [&](const CLI::App* sub) { return sub->check_name(word); });
}

std::string nearest_of(const std::string& word, const std::vector<std::string>& names) {
  const std::vector<std::string_view> known(names.begin(), names.end());
  return std::string(nearest(word, known));
}

bool is_a_file(const std::string& word) { return access(word.c_str(), R_OK) == 0; }

bool is_a_program(const std::string& word) {
  try {
    return access(command_file(word).c_str(), X_OK) == 0;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<std::string> as_meant(const CLI::App& app, std::vector<std::string> words) {
  if (words.empty() || words[0].empty() || words[0][0] == '-') return words;
  if (words[0] == "help") {
    words.erase(words.begin());
    if (words.size() > 1) words.resize(1);
    if (words.empty() || is_subcommand(app, words[0])) words.push_back("--help");
    return words;
  }
  if (is_subcommand(app, words[0])) return words;
  const char* meant = is_number(words[0])                                                         ? "dump"
                      : words[0].ends_with(".json") && is_a_file(words[0])                        ? "report"
                      : nearest_of(words[0], subcommands_of(app)).empty() && is_running(words[0]) ? "dump"
                                                                                                  : nullptr;
  if (meant) words.insert(words.begin(), meant);
  return words;
}

Error unknown_subcommand(const CLI::App& app, const std::string& word) {
  const std::string shown = printable(word), near = nearest_of(word, subcommands_of(app));
  std::string hint = "'mallard --help' shows the usage";
  if (!near.empty()) hint = fmt::format("did you mean 'mallard {}'?", near);
  else if (is_a_program(word))
    hint =
        fmt::format("mallard run -- {0} starts it, mallard check {0} says what would be seen of it", shown);
  const bool may_be_a_process = near.empty() && word.find('/') == word.npos;
  return {kUsage,
          fmt::format("there is no subcommand '{}'{}", shown,
                      may_be_a_process ? ", and no process of that name" : ""),
          hint};
}

std::string nearest_option(const CLI::App& subcommand, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::Option* option : subcommand.get_options([](const CLI::Option*) { return true; }))
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return word.starts_with("--") ? nearest_of(word.substr(0, word.find('=')), names) : "";
}

}  // namespace mallard::cli
