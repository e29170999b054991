// SPDX-License-Identifier: Apache-2.0
// The `mallard` command: reads the command line, runs one subcommand, turns errors into messages.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <sstream>

#include "cli/commands.hpp"
#include "cli/help.hpp"

namespace {

using namespace mallard::cli;

void print_error(const std::string& what, const std::string& hint) {
  fmt::print(stderr, "mallard: error: {}\n", what);
  if (!hint.empty()) fmt::print(stderr, "mallard: hint: {}\n", hint);
}

/// The library's messages as ours are: one line, lower case, no final period.
std::string as_message(std::string text) {
  if (const auto end = text.find('\n'); end != text.npos) text.resize(end);
  while (text.ends_with('.')) text.pop_back();
  if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

bool has_subcommand(const CLI::App& app, const std::string& name) {
  const auto all = app.get_subcommands([](const CLI::App*) { return true; });
  return std::any_of(all.begin(), all.end(), [&](const CLI::App* sub) { return sub->check_name(name); });
}

int run(int argc, char** argv) {
  CLI::App app("Looks at the memory of unmodified programs with libmallard.so", "mallard");
  app.set_version_flag("-V,--version", "mallard " MALLARD_VERSION, "Print the version and exit");
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.footer(
      "'mallard SUBCOMMAND --help' explains each, with examples; so does mallard(1).\n\n"
      "Examples:\n"
      "  mallard run -- redis-server --port 0\n"
      "  mallard dump $(pidof redis-server)\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 unreadable input");
  Run chosen;
  for (AddCommand add : kCommands) add(app, &chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    std::ostringstream text;
    app.exit(e, text, text);
    fmt::print("{}", wrapped(text.str()));
    return kDone;
  } catch (const CLI::ParseError& e) {
    std::string asked = "mallard --help", what = as_message(e.what());
    for (const CLI::App* sub : app.get_subcommands()) asked = "mallard " + sub->get_name() + " --help";
    if (argc > 1 && argv[1][0] != '-' && !has_subcommand(app, argv[1]))
      what = fmt::format("there is no subcommand '{}'", argv[1]);
    print_error(what, fmt::format("'{}' shows the usage", asked));
    return kUsage;
  }
  return chosen();
}

}  // namespace

int main(int argc, char** argv) {
  int status;
  try {
    status = run(argc, argv);
  } catch (const Error& e) {
    print_error(e.what(), e.hint());
    status = e.status();
  } catch (const std::exception& e) {
    if (!std::ferror(stdout)) print_error(e.what(), "");  // else it says what is said below
    status = kUnreadable;
  }
  // A result that could not be written is no result.
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    print_error("the result cannot be written to standard output", "");
    return status == kDone || status == kFinding ? kUnreadable : status;
  }
  return status;
}
