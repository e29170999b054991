// SPDX-License-Identifier: Apache-2.0
// The `mallard` command: reads the command line, runs one subcommand, turns errors into messages.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.hpp"
#include "cli/guesses.hpp"
#include "cli/held_signals.hpp"
#include "cli/help.hpp"
#include "cli/output.hpp"

namespace {

using namespace mallard::cli;

void print_error(const std::string& what, const std::string& hint) {
  tell("error: {}", what);
  if (!hint.empty()) tell_lines("hint: " + hint);  // with a list, maybe
}

/// CLI11 2.5 and newer break lines by themselves, examples and lists too. \param to  a CLI::Formatter
template <class To>
void leave_lines_alone(To& to) {
  if constexpr (requires { to.enable_footer_formatting(false); }) {
    constexpr std::size_t kNever = 100'000;
    to.enable_footer_formatting(false);
    to.description_paragraph_width(kNever);
    to.right_column_width(kNever);
    to.long_option_alignment_ratio(0.07F);  // two columns
  }
}

/// Options as every version of CLI11 is to show them: NAME=DEFAULT, also where it says NAME [DEFAULT].
class Formatter : public CLI::Formatter {
 public:
  Formatter() { leave_lines_alone(*this); }

  std::string make_option_opts(const CLI::Option* option) const override {
    std::string out = CLI::Formatter::make_option_opts(option);
    const std::string bracketed = " [" + option->get_default_str() + "] ";
    const std::size_t at = out.find(bracketed);
    if (at != out.npos && !option->get_default_str().empty())
      out.replace(at, bracketed.size(), "=" + option->get_default_str());
    return out;
  }
};

/// The library's messages as ours are: one line, lower case, no final period.
std::string as_message(std::string text) {
  if (const auto end = text.find('\n'); end != text.npos) text.resize(end);
  while (text.ends_with('.')) text.pop_back();
  if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

/// What CLI11 says, and what was meant.
Error explained(const CLI::App& app, const CLI::ParseError& e, const std::vector<std::string>& words) {
  const auto chosen = app.get_subcommands();
  if (chosen.empty() && !words.empty() && words[0][0] != '-') return unknown_subcommand(app, words[0]);
  std::string asked = "mallard --help", what = as_message(e.what());
  for (const CLI::App* sub : chosen) {
    asked = "mallard " + sub->get_name() + " --help";
    for (const std::string& word : words)
      if (what.ends_with(": " + word))
        if (const std::string near = nearest_option(*sub, word); !near.empty())
          return {kUsage, what, fmt::format("did you mean {}?", near)};
  }
  return {kUsage, what, fmt::format("'{}' shows the usage", asked)};
}

int run(int argc, char** argv) {
  CLI::App app("Looks at the memory of unmodified programs with libmallard.so", "mallard");
  app.formatter(std::make_shared<Formatter>());  // the subcommands' too
  app.set_version_flag("-V,-v,--version", "mallard " MALLARD_VERSION, "Print the version and exit");
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.footer(
      "'mallard SUBCOMMAND --help' explains each, with examples; so does mallard(1). A process id or the "
      "name of a "
      "running program alone is 'mallard dump'.\n\n"
      "Examples:\n"
      "  mallard run -- redis-server --port 0\n"
      "  mallard dump $(pidof redis-server)\n\n"
      "Exit status: 0 done, 1 finding with --fail-on, 2 usage, 3 unreadable input");
  Run chosen;
  for (AddCommand add : kCommands) add(app, &chosen);
  const std::vector<std::string> words = as_meant(app, {argv + 1, argv + argc});
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // as CLI11 takes them
  } catch (const CLI::Success& e) {                                     // --help, --version
    std::ostringstream text;
    app.exit(e, text, text);
    print_text(wrapped(text.str()));
    return kDone;
  } catch (const CLI::ParseError& e) {
    const Error error = explained(app, e, words);
    print_error(error.what(), error.hint());
    return kUsage;
  }
  return chosen();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "run") hold_signals();
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
