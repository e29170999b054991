// SPDX-License-Identifier: Apache-2.0
// `mallard completions`: what makes bash and zsh complete this command, written from the command line's own
// description. Run when mallard is built, so that what is installed knows every subcommand and option.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/backend_names.hpp"
#include "base/control_protocol.hpp"
#include "base/options.hpp"
#include "cli/commands.hpp"
#include "cli/fail_on/conditions.hpp"
#include "cli/help.hpp"
#include "cli/output.hpp"
#include "cli/top/model.hpp"

namespace mallard::cli {
namespace {

/// What a value is; words of --help's own lists come from there.
struct Known {
  std::string_view name;   ///< of an option or a positional
  std::string_view words;  ///< a list, or empty
  std::string_view kind;   ///< json, file, pid, command; or empty
};
constexpr Known kKnown[] = {{"--signal", "SIGUSR1 SIGUSR2 SIGRTMIN+5 none", ""},
                            {"--report", "", "file"},
                            {"--output", "", "file"},
                            {"--html", "", "file"},
                            {"BINARY|PID", "", "program"},
                            {"PID|NAME", "", "pid"},
                            {"FILE", "", "json"},
                            {"BEFORE", "", "json"},
                            {"AFTER", "", "json"},
                            {"COMMAND", "", "command"},
                            {"SHELL", "bash zsh", ""}};

struct Value {
  std::string words, kind;
};

/// Words from "TEXT:{a,b}", else from the table that the value is checked by, else from the one above.
Value value_of(const CLI::Option& option, const std::string& name) {
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{'), close = type.find('}');
  if (open != type.npos && close != type.npos) {
    std::string words = type.substr(open + 1, close - open - 1);
    std::replace(words.begin(), words.end(), ',', ' ');
    return {words, ""};
  }
  if (name == "--fail-on")
    return {fmt::format("any {} {}", fmt::join(verdict_names(), " "), kInconsistentWord), ""};
  if (name == "--backend") return {fmt::format("{}", fmt::join(kBackendNames, " ")), "file"};
  if (name == "--mode") return {fmt::format("{}", fmt::join(kModeNames, " ")), ""};
  if (name == "MODE")
    return {fmt::format("{} {} {}", fmt::join(kModeNames, " "), kBeginTiming, kEndTiming), ""};
  if (name == "--probe") return {fmt::format("{}", fmt::join(kProbeNames, " ")), ""};
  if (name == "--sort") return {fmt::format("{}", fmt::join(kTopSortNames, " ")), ""};
  if (name == "--embedded") return {fmt::format("{}", fmt::join(kEmbeddedNames, " ")), ""};
  for (const Known& known : kKnown)
    if (known.name == name) return {std::string(known.words), std::string(known.kind)};
  return {};
}

struct Word {
  std::vector<std::string> names;  ///< "-o", "--output"; or the positional's name
  std::string description;
  bool takes_value;
  bool is_repeated;  ///< of a positional: all that follow are such
  Value value;
};

struct Command {
  std::string name, description;
  std::vector<Word> options, positionals;
};

Command command_of(const CLI::App& app) {
  Command out{app.get_name(), app.get_description(), {}, {}};
  for (const CLI::Option* option : app.get_options([](const CLI::Option*) { return true; })) {
    if (option->get_group().empty()) continue;
    Word word{{},
              option->get_description(),
              option->get_items_expected_max() > 0,
              option->get_items_expected_max() > 1,
              {}};
    for (const std::string& name : option->get_snames()) word.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) word.names.push_back("--" + name);
    const bool is_positional = word.names.empty();
    if (is_positional) word.names.push_back(option->get_name(true));
    word.value = value_of(*option, word.names.back());
    (is_positional ? out.positionals : out.options).push_back(std::move(word));
  }
  return out;
}

std::vector<Command> commands_of(const CLI::App& app) {
  std::vector<Command> out;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); }))
    out.push_back(command_of(*sub));
  return out;
}

/// For single quotes of the shell.
std::string quoted(const std::string& text) {
  std::string out;
  for (char c : text)
    if (c == '\'') out += "'\\''";
    else out += c;
  return out;
}

std::string bash_value(const Value& v) {
  std::string out;
  if (!v.words.empty()) out += fmt::format("_mallard_words '{}'; ", quoted(v.words));
  if (!v.kind.empty()) out += fmt::format("_mallard_{}; ", v.kind);
  return out.empty() ? ":; " : out;
}

constexpr const char* kBashHead = R"sh(# SPDX-License-Identifier: Apache-2.0
# bash completion of mallard, written by 'mallard completions bash'.
_mallard_words() { COMPREPLY+=($(compgen -W "$1" -- "$cur")); }
_mallard_file() { compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "$cur")); }
_mallard_json() {
  compopt -o filenames 2>/dev/null
  COMPREPLY+=($(compgen -f -X '!*.json' -- "$cur") $(compgen -d -- "$cur"))
}
_mallard_pid() { _mallard_words "$(grep -ls 'libmallard\.so' /proc/[0-9]*/maps 2>/dev/null | cut -d/ -f3)"; }
_mallard_program() { _mallard_pid; _mallard_file; COMPREPLY+=($(compgen -c -- "$cur")); }

_mallard() {
  local IFS=$' \t\n' cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} sub=${COMP_WORDS[1]}
  local options='' valued='' runs=0 command_at=0 position=0 i word
  COMPREPLY=()
  # bash breaks words at '=' as well: --format=text is three.
  if [[ $cur == '=' ]]; then cur=''; elif [[ $prev == '=' ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
  if ((COMP_CWORD == 1)); then sub=''; fi
  case $sub in
)sh";

constexpr const char* kBashMiddle = R"sh(  for ((i = 2; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == -- ]]; then command_at=$((i + 1)); break; fi
    if [[ $valued == *" $word "* ]]; then
      if [[ ${COMP_WORDS[i+1]} == '=' ]]; then ((i++)); fi
      ((i++))
    elif [[ $word != -* ]]; then
      if ((runs)); then command_at=$i; break; fi
      position=$((position + 1))
    fi
  done
  if ((runs && command_at)); then
    if declare -F _command_offset >/dev/null; then _command_offset "$command_at"
    elif ((command_at == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$cur"))
    else _mallard_file; fi
    return
  fi
  case "$sub $prev" in
)sh";

std::string as_bash(const CLI::App& app) {
  std::string names, cases, values, positions;
  for (const Command& c : commands_of(app)) {
    names += c.name + " ";
    std::string options, valued;
    for (const Word& w : c.options)
      for (const std::string& name : w.names) {
        options += name + " ";
        if (!w.takes_value) continue;
        valued += name + " ";
        values += fmt::format("    '{} {}') {}return ;;\n", c.name, name, bash_value(w.value));
      }
    const bool runs = !c.positionals.empty() && c.positionals[0].value.kind == "command";
    cases += fmt::format("    {}) options='{}' valued=' {}'{} ;;\n", c.name, options, valued,
                         runs ? " runs=1" : "");
    for (std::size_t i = 0; i < c.positionals.size() && !runs; ++i) {
      const Word& w = c.positionals[i];
      const std::string places =
          w.is_repeated ? fmt::format("'{} '*", c.name) : fmt::format("'{} {}'", c.name, i);
      positions += fmt::format("    {}) {};;\n", places, bash_value(w.value));
    }
    if (runs) positions += fmt::format("    '{} 0') COMPREPLY=($(compgen -c -- \"$cur\")) ;;\n", c.name);
  }
  return kBashHead + cases +
         fmt::format("    *) _mallard_words '{}-h --help -V --version'; return ;;\n  esac\n", names) +
         kBashMiddle + values +
         "  esac\n"
         "  if [[ $cur == -* ]]; then _mallard_words \"$options\"; return; fi\n"
         "  case \"$sub $position\" in\n" +
         positions + "  esac\n}\ncomplete -F _mallard mallard\n";
}

/// For the brackets of _arguments, inside single quotes: one line.
std::string described(const std::string& text) {
  std::string out;
  for (char c : quoted(text)) {
    if (c == '[' || c == ']' || c == ':') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string zsh_value(const Value& v) {
  if (v.kind == "pid") return "_mallard_pids";
  if (v.kind == "program") return "_mallard_programs";
  if (v.kind == "json") return "_files -g \"*.json(-.)\"";
  if (!v.words.empty() && v.kind == "file") return "_mallard_words_or_files " + v.words;
  if (v.kind == "file") return "_files";
  return v.words.empty() ? " " : "(" + v.words + ")";
}

std::string zsh_option(const Word& w) {
  const std::string value =
      w.takes_value ? fmt::format(":{}:{}", described(w.names.back().substr(2)), zsh_value(w.value)) : "";
  const std::string rest = fmt::format("[{}]{}'", described(w.description), value);
  if (w.names.size() == 1) return fmt::format("'{}{}", w.names[0], rest);
  return fmt::format("'({0} {1})'{{{0},{1}}}'{2}", w.names[0], w.names[1], rest);
}

constexpr const char* kZshHead = R"sh(#compdef mallard
# SPDX-License-Identifier: Apache-2.0
# zsh completion of mallard, written by 'mallard completions zsh'.
_mallard_pids() {
  local expl
  local -a pids
  pids=(${(f)"$(grep -ls 'libmallard\.so' /proc/[0-9]*/maps 2>/dev/null | cut -d/ -f3)"})
  _wanted pids expl 'process with libmallard.so' compadd -a pids
}
_mallard_programs() { _mallard_pids; _command_names -e; _files }
_mallard_words_or_files() { local expl; _wanted values expl value compadd -- "$@"; _files }
_mallard() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  local -a subcommands=(
)sh";

constexpr const char* kZshMiddle = R"sh(  )
  _arguments -C '(- *)'{-h,--help}'[Print this help and exit]' \
    '(- *)'{-V,--version}'[Print the version and exit]' \
    '1:subcommand:->subcommand' '*::arguments:->arguments'
  if [[ $state == subcommand ]]; then
    _describe subcommand subcommands
    return
  fi
  case $words[1] in
)sh";

std::string as_zsh(const CLI::App& app) {
  std::string names, cases;
  for (const Command& c : commands_of(app)) {
    names += fmt::format("    '{}:{}'\n", c.name, described(c.description));
    cases += fmt::format("    {})\n      _arguments -S", c.name);
    for (const Word& w : c.options) cases += " \\\n        " + zsh_option(w);
    std::size_t position = 0;
    for (const Word& w : c.positionals)
      cases += w.value.kind == "command"
                   ? " \\\n        '(-)1:command:_command_names -e' '*::arguments:_normal'"
                   : fmt::format(" \\\n        '{}:{}:{}'", w.is_repeated ? "*" : std::to_string(++position),
                                 described(w.names[0]), zsh_value(w.value));
    cases += "\n      ;;\n";
  }
  return kZshHead + names + kZshMiddle + cases + "  esac\n}\n_mallard \"$@\"\n";
}

}  // namespace

void add_completions(CLI::App& app, Run* run) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completions", "Print what makes a shell complete this command");
  command->group("");  // not in --help: packages install what it prints
  command->add_option("SHELL", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
  command->footer("Exit status: 0 done, 2 usage");
  command->callback([shell, run, &app] {
    *run = [shell, &app] {
      print_bytes(*shell == "bash" ? as_bash(app) : as_zsh(app));
      return kDone;
    };
  });
}

}  // namespace mallard::cli
