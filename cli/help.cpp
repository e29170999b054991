// SPDX-License-Identifier: Apache-2.0
#include "cli/help.hpp"

#include <algorithm>

#include "cli/commands.hpp"
#include "report/model/figures.hpp"
#include "report/model/verdict_model.hpp"

namespace mallard::cli {
namespace {

/// Where the text of a line begins: "  --name TYPE      text", or a paragraph.
std::size_t column_of_text(const std::string& line) {
  const std::size_t start = std::min(line.find_first_not_of(' '), line.size());
  const std::size_t gap = line.find("  ", start);
  const std::size_t text = start >= 2 && gap != line.npos ? line.find_first_not_of(' ', gap) : line.npos;
  if (text != line.npos && text <= kHelpColumns / 2) return text;
  return start == 2 ? 4 : start;  // an item of a list
}

void add_wrapped(std::string line, std::string* out) {
  // An example can be pasted into a shell whole.
  const bool is_command = line.starts_with("  mallard ");
  const std::size_t column = is_command ? 6 : column_of_text(line);
  const std::size_t room = kHelpColumns - (is_command ? 2 : 0);
  while (line.size() > kHelpColumns) {
    std::size_t end = line.rfind(' ', room);
    if (end == line.npos || end <= column) end = line.find(' ', room);  // a word that fits nowhere
    if (end == line.npos) break;
    *out += line.substr(0, end) + (is_command ? " \\\n" : "\n");
    line = std::string(column, ' ') + line.substr(end + 1);
  }
  line.resize(line.find_last_not_of(' ') + 1);
  *out += line + "\n";
}

}  // namespace

std::string wrapped(const std::string& help) {
  std::string out;
  for (std::size_t at = 0; at < help.size();) {
    const std::size_t end = std::min(help.find('\n', at), help.size());
    add_wrapped(help.substr(at, end - at), &out);
    at = end + 1;
  }
  return out;
}

void add_wrappers(CLI::App* command, std::string* names) {
  command
      ->add_option("--wrappers", *names,
                   "Functions that only allocate for their callers, which then name the call sites:\n"
                   "'ngx_*,pool::grow'; beside those of ALLOC_WRAPPERS and those that mallard knows")
      ->type_name("NAMES")
      ->envname("ALLOC_WRAPPERS");
}

std::vector<std::string> figure_names() {
  std::vector<std::string> out;
  for (const report::FigureFacts& figure : report::kFigures)
    if (!figure.name.empty()) out.emplace_back(figure.name);
  return out;
}

std::vector<std::string> verdict_names() {
  std::vector<std::string> out;
  for (const report::VerdictFacts& verdict : report::kVerdicts)
    if (verdict.cause != report::VerdictCause::kNone) out.emplace_back(verdict.name);
  return out;
}

}  // namespace mallard::cli
