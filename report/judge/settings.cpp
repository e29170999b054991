// SPDX-License-Identifier: Apache-2.0
// The lines to set, by allocator and version, joined with what is set already.
#include <algorithm>

#include "report/judge/remedies.hpp"
#include "report/judge/verdict_words.hpp"

namespace mallard::report {
namespace {

/// The value of a variable in an environment as the kernel shows it: texts with a NUL behind each.
bool find_in(std::string_view environment, std::string_view name, std::string_view* value) noexcept {
  while (!environment.empty()) {
    const std::string_view entry = part_of(environment, 0, environment.find('\0'));
    if (entry.size() > name.size() && entry.starts_with(name) && entry.data()[name.size()] == '=') {
      *value = part_of(entry, name.size() + 1);
      return true;
    }
    environment = part_of(environment, entry.size() + 1);
  }
  return false;
}

/// "2.36" in "glibc 2.36" as 236.
int version_of(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size() && (text.data()[at] < '0' || text.data()[at] > '9')) ++at;
  const std::string_view major = part_of(text, at);
  const std::size_t point = major.find('.');
  const std::uint64_t minor = point == std::string_view::npos ? 0 : leading_number(part_of(major, point + 1));
  return static_cast<int>(100 * std::min<std::uint64_t>(leading_number(major), 98) +
                          std::min<std::uint64_t>(minor, 99));
}

std::string_view name_in(std::string_view assignment, char mark) noexcept {
  return part_of(assignment, 0, assignment.find(mark));
}

/// Whether any part of a list is such a one, as far as it has to be looked through.
template <class Is>
bool any_part(std::string_view list, char between, Is is) noexcept {
  for (std::string_view rest = list; !rest.empty();) {
    const std::string_view part = part_of(rest, 0, rest.find(between));
    if (is(part)) return true;
    rest = part_of(rest, part.size() + 1);
  }
  return false;
}

/// Adds the parts of a list but those with the names of `fresh`, then `fresh`.
/// \return false if all of `fresh` is in the list already
bool join(std::string_view list, std::string_view fresh, char between, char mark, TextBuffer& to) noexcept {
  const auto is_replaced = [&](std::string_view old) {
    return old.empty() || any_part(fresh, between, [&](std::string_view part) {
             return name_in(old, mark) == name_in(part, mark);
           });
  };
  any_part(list, between, [&](std::string_view old) {
    if (!is_replaced(old)) to.add(old).add(between);
    return false;
  });
  to.add(fresh);
  return any_part(fresh, between, [&](std::string_view part) {
    return !any_part(list, between, [part](std::string_view old) { return old == part; });
  });
}

/// glibc's older variables for the same.
std::string_view alias_of(RemedyKind kind) noexcept {
  switch (kind) {
    case RemedyKind::kTrimThreshold:
      return "MALLOC_TRIM_THRESHOLD_";
    case RemedyKind::kMmapThreshold:
      return "MALLOC_MMAP_THRESHOLD_";
    case RemedyKind::kArenaLimit:
      return "MALLOC_ARENA_MAX";
    default:
      return {};
  }
}

/// Whether one of glibc's older variables has the value of a tunable.
bool is_set_by_alias(const Snapshot& s, const Setting& setting) noexcept {
  std::string_view value;
  return find_in(s.environment, alias_of(setting.remedy), &value) &&
         value == part_of(setting.text, setting.text.find('=') + 1);
}

bool add_line(const Snapshot& s, const Setting& setting, TextBuffer& to) noexcept {
  std::string_view old;
  switch (setting.form) {
    case SettingForm::kTunable:
      static_cast<void>(find_in(s.environment, "GLIBC_TUNABLES", &old));
      to.add("GLIBC_TUNABLES=");
      return join(old, setting.text, ':', '=', to) && !is_set_by_alias(s, setting);
    case SettingForm::kConf: {
      const std::string_view variable =
          s.allocator.conf_variable.empty() ? std::string_view("MALLOC_CONF") : s.allocator.conf_variable;
      static_cast<void>(find_in(s.environment, variable, &old));
      to.add(variable).add('=');
      return join(old, setting.text, ',', ':', to);
    }
    case SettingForm::kVariable:
      static_cast<void>(find_in(s.environment, name_in(setting.text, '='), &old));
      to.add(setting.text);
      return old != part_of(setting.text, setting.text.find('=') + 1);
    case SettingForm::kOwn:
      if (s.allocator.takes_no_preload) return false;
      break;
  }
  if (words::is_under_mallard(s)) {
    to.add(setting.text);
  } else {
    to.add(setting.remedy == RemedyKind::kHugePages ? "mallard run --huge-pages off -- "
                                                    : "mallard run --backend jemalloc -- ");
    to.add(command_to_paste(s.process));
  }
  return true;
}

}  // namespace

std::string_view command_to_paste(const ProcessFacts& process) noexcept {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(" _./:=,+@%-").find(c) != std::string_view::npos;
  };
  const std::string_view line = process.command_line;
  const bool is_absolute = line.starts_with('/') || line.find('/') > line.find(' ');
  return !line.empty() && is_absolute && std::all_of(line.begin(), line.end(), is_plain) ? line : "COMMAND";
}

bool add_setting(const Snapshot& s, RemedyKind kind, TextBuffer& to) noexcept {
  const int version = version_of(s.allocator.version);
  for (const Setting& setting : kSettings)
    if (setting.remedy == kind && (setting.allocator.empty() || setting.allocator == s.allocator.name) &&
        setting.from <= version && version <= setting.to)
      return add_line(s, setting, to);
  return false;
}

}  // namespace mallard::report
