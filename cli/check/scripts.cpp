// SPDX-License-Identifier: Apache-2.0
#include "cli/check/scripts.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <sstream>
#include <vector>

#include "cli/error.hpp"
#include "cli/file.hpp"

namespace mallard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostScriptBytes = 1 << 20;

bool is_program_file(const std::string& path) {
  std::error_code none;
  return access(path.c_str(), X_OK) == 0 && fs::is_regular_file(path, none);
}

bool is_assignment(const std::string& word) {
  const std::size_t equals = word.find('=');
  return equals != word.npos && equals > 0 &&
         std::all_of(word.begin(), word.begin() + static_cast<long>(equals),
                     [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; });
}

/// As much of a shell as scripts need that set some variables and end by exec.
class ShellText {
 public:
  explicit ShellText(const std::string& path) : path_(path) {}

  /// The program that the last `exec` starts.
  std::string run(const std::string& text) {
    std::string found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
      if (line.starts_with("export ")) line.erase(0, 7);
      if (line.starts_with("exec "))
        if (const std::string program = program_of(line.substr(5)); !program.empty()) found = program;
      if (is_assignment(line)) assign(line);
    }
    return found;
  }

 private:
  void assign(const std::string& line) {
    const std::size_t equals = line.find('=');
    std::size_t at = equals + 1;
    const std::optional<std::string> value = word(line, &at);
    if (value) variables_[line.substr(0, equals)] = *value;
    else variables_.erase(line.substr(0, equals));
  }

  std::string program_of(const std::string& command) const {
    for (std::size_t at = 0; at < command.size();) {
      at = std::min(command.find_first_not_of(" \t", at), command.size());
      if (at == command.size() || std::string_view("<>&;|#").find(command[at]) != std::string_view::npos)
        break;
      const std::optional<std::string> w = word(command, &at);
      if (!w) break;
      if (w->empty() || w->starts_with('-') || is_assignment(*w) || base_name(*w) == "env") continue;
      const std::string file = w->find('/') == w->npos ? find_in_path(*w) : *w;
      return is_program_file(file) && file != path_ ? file : "";
    }
    return {};
  }

  /// One word with its quotes and variables; none where a command would have to be run for it.
  std::optional<std::string> word(const std::string& text, std::size_t* at) const {
    std::string out;
    char quote = 0;
    for (; *at < text.size(); ++*at) {
      const char c = text[*at];
      if (!quote && (c == ' ' || c == '\t' || c == ';')) break;
      if ((c == '"' || c == '\'') && (!quote || quote == c)) quote = quote ? 0 : c;
      else if (c == '\\' && quote != '\'' && *at + 1 < text.size()) out += text[++*at];
      else if (c == '`' && quote != '\'') return {};
      else if (c == '$' && quote != '\'') {
        const std::optional<std::string> value = expansion(text, at);
        if (!value) return {};
        out += *value;
      } else out += c;
    }
    return out;
  }

  /// \param at  on the dollar; afterwards on the last character of the expansion
  std::optional<std::string> expansion(const std::string& text, std::size_t* at) const {
    const std::size_t begin = *at + 1;
    const char c = begin < text.size() ? text[begin] : ' ';
    if (c == '(') return substitution(text, at);
    if (c == '{') {
      const std::size_t end = text.find('}', begin);
      if (end == text.npos) return {};
      *at = end;
      return braced(text.substr(begin + 1, end - begin - 1));
    }
    std::size_t end = begin;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || text[end] == '_'))
      ++end;
    if (end == begin) end = std::min(begin + 1, text.size());  // $@, $*
    *at = end - 1;
    return value_of(text.substr(begin, end - begin));
  }

  /// Only the directory of the script itself is known without running anything.
  std::optional<std::string> substitution(const std::string& text, std::size_t* at) const {
    int depth = 0;
    std::size_t end = *at + 1;
    for (; end < text.size(); ++end) {
      depth += text[end] == '(' ? 1 : text[end] == ')' ? -1 : 0;
      if (depth == 0) break;
    }
    const std::string inside = text.substr(*at, end - *at);
    *at = end;
    const bool is_own = inside.find("$0") != inside.npos || inside.find("BASH_SOURCE") != inside.npos;
    if (inside.find("dirname") == inside.npos || !is_own || inside.find("..") != inside.npos) return {};
    return directory();
  }

  std::optional<std::string> braced(const std::string& inside) const {
    if (inside == "0##*/") return std::string(base_name(path_));
    if (inside == "0%/*") return directory();
    const std::size_t end = inside.find_first_of(":-+#%/^,[");
    const std::string value = value_of(inside.substr(0, end));
    if (end == inside.npos) return value;
    const std::size_t dash = inside.find('-', end);
    if (dash != end && !(inside[end] == ':' && dash == end + 1)) return {};
    return value.empty() ? inside.substr(dash + 1) : value;
  }

  std::string value_of(const std::string& name) const {
    if (name == "0" || name == "BASH_SOURCE") return path_;
    const auto known = variables_.find(name);
    if (known != variables_.end()) return known->second;
    const char* inherited = std::getenv(name.c_str());
    return inherited ? inherited : "";
  }

  std::string directory() const {
    std::error_code none;
    return fs::absolute(path_, none).lexically_normal().parent_path().string();
  }

  std::string path_;
  std::map<std::string, std::string> variables_;
};

std::string first_line(const fs::path& file) {
  std::string text;
  if (!read_whole(file.string(), &text)) return {};
  std::istringstream words(text);
  std::string word;
  words >> word;
  return word;
}

/// The version that is in force here: of the variable, a file in this directory or above it, or everywhere.
std::string version_of_shims(const fs::path& root) {
  std::string tool = root.filename().string();  // ".pyenv"
  tool.erase(0, std::min(tool.find_first_not_of('.'), tool.size()));
  std::string variable = tool + "_version";
  for (char& c : variable) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (const char* chosen = std::getenv(variable.c_str()); chosen && *chosen) return chosen;
  const std::map<std::string, std::string> files = {
      {"pyenv", ".python-version"}, {"rbenv", ".ruby-version"}, {"nodenv", ".node-version"}};
  std::error_code none;
  if (const auto file = files.find(tool); file != files.end())
    for (fs::path here = fs::current_path(none); !here.empty(); here = here.parent_path()) {
      if (const std::string version = first_line(here / file->second); !version.empty()) return version;
      if (here == here.root_path()) break;
    }
  return first_line(root / "version");
}

}  // namespace

std::string find_in_path(const std::string& name) {
  if (name.empty()) return {};
  const char* list = std::getenv("PATH");
  std::istringstream directories(list ? list : "");
  for (std::string directory; std::getline(directories, directory, ':');) {
    const std::string path = (directory.empty() ? "." : directory) + "/" + name;
    if (is_program_file(path)) return path;
  }
  return {};
}

std::string interpreter_of(const std::string& line, const std::string& script) {
  std::istringstream words(line);
  std::string program, word;
  words >> program;
  if (base_name(program) != "env") return program;
  while (words >> word) {
    for (const std::string_view split : {"-S", "--split-string="})
      if (word.starts_with(split)) word.erase(0, split.size());
    if (word == "-u" || word == "-C") words >> word, word.clear();  // each takes a word
    if (word.empty() || word.starts_with('-') || word.find('=') != word.npos) continue;
    if (word.find('/') != word.npos) return word;
    const std::string found = find_in_path(word);
    if (!found.empty()) return found;
    throw Error(kUnreadable, fmt::format("the interpreter '{}' of '{}' is not in PATH", word, script));
  }
  return program;
}

std::string program_of_shim(const std::string& path) {
  std::error_code none;
  const fs::path shim = fs::absolute(path, none), root = shim.parent_path().parent_path();
  if (shim.parent_path().filename() != "shims" || !fs::is_directory(root / "versions", none)) return {};
  const std::string version = version_of_shims(root), name = shim.filename().string();
  const std::string file = (root / "versions" / version / "bin" / name).string();
  if (!version.empty() && is_program_file(file)) return file;
  std::istringstream directories(std::getenv("PATH") ? std::getenv("PATH") : "");
  for (std::string directory; std::getline(directories, directory, ':');)  // "system": the next in PATH
    if (fs::path(directory) != shim.parent_path() && is_program_file(directory + "/" + name))
      return directory + "/" + name;
  return {};
}

std::string program_of_shell_script(const std::string& path) {
  return ShellText(path).run(File(path, path).read(0, kMostScriptBytes));
}

bool is_shell(std::string_view interpreter) {
  for (const std::string_view name : {"sh", "bash", "dash", "ash", "ksh", "zsh"})
    if (base_name(interpreter) == name) return true;
  return false;
}

}  // namespace mallard::cli
