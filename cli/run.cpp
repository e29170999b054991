// SPDX-License-Identifier: Apache-2.0
// `mallard run`: starts a program under the preload. This process becomes the program, so that its pid, its
// signals and its exit status are the program's own.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <vector>

#include "arch/elf.hpp"
#include "base/backend_names.hpp"
#include "base/options.hpp"
#include "base/started.hpp"
#include "cli/backend_word.hpp"
#include "cli/check/program.hpp"
#include "cli/commands.hpp"
#include "cli/held_signals.hpp"
#include "cli/output.hpp"

namespace mallard::cli {
namespace {

constexpr int kRefused = 78;  // as libmallard.so ends under ALLOC_STRICT=1

struct Setting {
  const char* variable;
  bool is_flag;
  std::string value;  ///< empty = not given
};

/// "--sample-bytes" for ALLOC_SAMPLE_BYTES.
std::string option_name(const char* variable) {
  std::string name = "--";
  for (const char* c = variable + strlen("ALLOC_"); *c; ++c)
    name += *c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
  return name;
}

std::vector<Setting> all_settings() {
  std::vector<Setting> all;
#define OPTION(field, kind, variable, preset, help) \
  all.push_back({variable, std::is_same_v<decltype(Options::field), bool>, {}});
#include "base/options.def"
#undef OPTION
  return all;
}

const char* help_of(std::string_view name) {
#define OPTION(field, kind, variable, preset, help) \
  if (name == variable) return help;
#include "base/options.def"
#undef OPTION
  return "";
}

/// The value in force: of the option, or of the environment; empty = default.
std::string effective(const std::vector<Setting>& settings, std::string_view variable) {
  for (const Setting& s : settings)
    if (variable == s.variable && !s.value.empty()) return s.value;
  const char* inherited = std::getenv(std::string(variable).c_str());
  return inherited ? inherited : "";
}

void check_settings(const std::vector<Setting>& settings) {
  for (const Setting& s : settings) {
    if (s.value.empty()) continue;
    if (const char* expected = what_is_expected(s.variable, s.value))
      throw Error(kUsage, fmt::format("{} '{}' cannot be used", option_name(s.variable), s.value),
                  fmt::format("expected is {}", expected));
    if (std::strcmp(s.variable, "ALLOC_BACKEND") == 0) check_backend(s.value, "--backend");
  }
}

/// The preload goes first, because whoever is first owns malloc.
void set_preload(const std::string& library) {
  const char* inherited = std::getenv("LD_PRELOAD");
  std::string list = library;
  if (inherited && *inherited) list += std::string(":") + inherited;
  setenv("LD_PRELOAD", list.c_str(), 1);
}

/// A backend that is a file may need more static TLS than the loader keeps free (jemalloc: 2632 bytes).
void make_room_for_tls(const std::string& backend) {
  if (backend.find('/') == backend.npos) return;
  constexpr const char* kTunable = "glibc.rtld.optional_static_tls";
  const char* inherited = std::getenv("GLIBC_TUNABLES");
  std::string tunables = inherited ? inherited : "";
  if (tunables.find(kTunable) != tunables.npos) return;
  if (!tunables.empty()) tunables += ':';
  setenv("GLIBC_TUNABLES", (tunables + kTunable + "=4096").c_str(), 1);
}

/// musl's loader cannot load the library, and ends a program that is told to.
bool is_without_library(const CheckResult& result) {
  for (const ObjectReport& o : result.objects)
    for (const Finding& f : o.findings)
      if (f.id == "musl") return true;
  return false;
}

enum class Seen { kAllOrPart, kNothing, kNotWithLibrary };

/// The report signal that the program will have; 0 = none.
int report_signal(const std::vector<Setting>& settings) {
  const std::string word = effective(settings, "ALLOC_SIGNAL");
  const int parsed = word.empty() ? -1 : parse_signal(word);
  return parsed < 0 ? Options().signal : parsed;
}

EmbeddedAction embedded_action(const std::vector<Setting>& settings) {
  const auto* const name =
      std::find(std::begin(kEmbeddedNames), std::end(kEmbeddedNames), effective(settings, "ALLOC_EMBEDDED"));
  if (name == std::end(kEmbeddedNames)) return EmbeddedAction::kReport;
  return static_cast<EmbeddedAction>(name - std::begin(kEmbeddedNames));
}

/// Says what will not be seen.
Seen announce(const std::string& command, EmbeddedAction embedded) {
  const CheckResult result = check_file(command, embedded);
  if (result.worst() == Severity::kNote) return Seen::kAllOrPart;
  if (is_without_library(result)) {
    tell("warning: {}; it runs without mallard", result.verdict());
    return Seen::kNotWithLibrary;
  }
  tell("warning: {}", result.verdict());
  tell("hint: {}", result.next_step());
  return result.worst() == Severity::kAll ? Seen::kNothing : Seen::kAllOrPart;
}

[[noreturn]] void become(const std::string& file, std::vector<std::string> command) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  execv(file.c_str(), arguments.data());
  throw Error(kUnreadable, fmt::format("'{}' cannot be started: {}", file, std::strerror(errno)));
}

ExitStatus run_command(const std::vector<Setting>& settings, std::vector<std::string> command) {
  const std::string library = library_path();
  if (library.find('/') == library.npos)
    throw Error(kUnreadable, "libmallard.so is neither beside this command nor installed",
                "build it (ninja -C build) or install it (meson install -C build)");
  if (library.find_first_of(" :") != library.npos)
    throw Error(kUnreadable,
                fmt::format("'{}' cannot be preloaded: LD_PRELOAD is split at blanks and colons", library),
                "move mallard to a path without them");
  check_settings(settings);
  const std::string file = command_file(command.front());
  if (access(file.c_str(), X_OK) != 0)
    throw Error(kUnreadable, fmt::format("'{}' cannot be run: {}", file, std::strerror(errno)));
  const Seen seen = announce(file, embedded_action(settings));
  if (seen != Seen::kAllOrPart && effective(settings, "ALLOC_STRICT") == "1") {
    tell("error: '{}' is not started, because of --strict", command.front());
    return ExitStatus{kRefused};
  }
  if (seen == Seen::kNotWithLibrary) {
    release_signals(0);
    become(file, std::move(command));
  }
  for (const Setting& s : settings)
    if (!s.value.empty()) setenv(s.variable, s.value.c_str(), 1);
  if (effective(settings, "ALLOC_CONTROL").empty()) setenv("ALLOC_CONTROL", "1", 1);
  make_room_for_tls(effective(settings, "ALLOC_BACKEND"));
  set_preload(library);
  // Where the library is not loaded, nobody would let the signal in.
  const int held = seen == Seen::kNothing ? 0 : report_signal(settings);
  std::string started = std::to_string(getpid());
  if (release_signals(held)) started += kHeldMark + std::to_string(held);
  setenv(kStartedVariable, started.c_str(), 1);
  become(file, std::move(command));
}

}  // namespace

void add_run(CLI::App& app, Run* run) {
  struct Options {
    std::vector<Setting> settings = all_settings();
    std::vector<std::string> command;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Start a program under the preload");
  command->prefix_command(false)->positionals_at_end();
  for (Setting& s : options->settings) {
    std::string* value = &s.value;
    std::string help = help_of(s.variable);
    if (s.is_flag && help.starts_with("1 ")) help.erase(0, 2);
    if (s.is_flag)
      command->add_flag_callback(
          option_name(s.variable), [value] { *value = "1"; }, help);
    else command->add_option(option_name(s.variable), *value, help);
  }
  command->add_option("COMMAND", options->command, "The program and its arguments, after --")->required();
  command->footer(
      "Each option sets the variable of its name (--backend: ALLOC_BACKEND); what is not given is "
      "inherited.\n\n"
      "Examples:\n"
      "  mallard run -- redis-server --port 0\n"
      "  mallard run --backend jemalloc --at-exit --report /tmp/gcc.%p -- gcc -O2 -c a.c\n"
      "  mallard run --backend /usr/lib/" MALLARD_LIBRARY_FOLDER
      "/libtcmalloc_minimal.so.4 -- ./server\n\n"
      "Exit status: the program's own; 2 usage, 3 the program cannot be started, 78 refused by --strict");
  command->callback(
      [options, run] { *run = [options] { return run_command(options->settings, options->command); }; });
}

}  // namespace mallard::cli
