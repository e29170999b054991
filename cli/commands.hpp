// SPDX-License-Identifier: Apache-2.0
// The subcommands. Each adds itself to the command line and, if it was asked for, sets what main is to run.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "cli/error.hpp"

namespace mallard::cli {

using Run = std::function<ExitStatus()>;
using AddCommand = void (*)(CLI::App& app, Run* run);

void add_attach(CLI::App& app, Run* run);
void add_check(CLI::App& app, Run* run);
void add_compare(CLI::App& app, Run* run);
void add_completions(CLI::App& app, Run* run);
void add_detach(CLI::App& app, Run* run);
void add_diff(CLI::App& app, Run* run);
void add_dump(CLI::App& app, Run* run);
void add_inspect(CLI::App& app, Run* run);
void add_mode(CLI::App& app, Run* run);
void add_purge(CLI::App& app, Run* run);
void add_report(CLI::App& app, Run* run);
void add_run(CLI::App& app, Run* run);
void add_top(CLI::App& app, Run* run);

/// Adds --wrappers to a subcommand that names call sites.
void add_wrappers(CLI::App* command, std::string* names);

/// Every subcommand, in the order of --help. A new one is one line here and one declaration above.
inline constexpr AddCommand kCommands[] = {add_completions, add_inspect, add_run,    add_check,
                                           add_dump,        add_top,     add_attach, add_detach,
                                           add_report,      add_diff,    add_compare, add_mode,
                                           add_purge};

}  // namespace mallard::cli
