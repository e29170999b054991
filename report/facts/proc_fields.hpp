// SPDX-License-Identifier: Apache-2.0
// Fields of the text files that the kernel has of a process (status, smaps_rollup) and of a cgroup.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/process_memory.hpp"
#include "base/text.hpp"

namespace mallard::report {

/// The number behind a name and `end`, in a file of such lines; nothing if there is no such line.
inline std::optional<std::uint64_t> find_field(std::string_view text, std::string_view name, char end) noexcept {
  for (std::size_t at = 0; (at = text.find(name, at)) != text.npos; at += name.size()) {
    if (at != 0 && text[at - 1] != '\n') continue;
    const std::size_t behind = at + name.size();
    if (behind >= text.size() || text[behind] != end) continue;
    return leading_number(part_of(text, std::min(text.find_first_not_of(" \t", behind + 1), text.size())));
  }
  return {};
}

/// The number behind "Name:"; 0 if there is none.
inline std::uint64_t field(std::string_view text, std::string_view name) noexcept {
  return find_field(text, name, ':').value_or(0);
}

/// What `status` says behind "NSpid:": a tab and the id for each namespace that the thread is in, the outermost first.
/// \return empty if it does not say
inline std::string_view ids_in_namespaces(std::string_view status) noexcept {
  constexpr std::string_view kName = "\nNSpid:";
  const std::size_t at = status.find(kName);
  if (at == status.npos) return {};
  return part_of(status, at + kName.size(), status.find('\n', at + 1) - at - kName.size());
}

/// The id that the thread of a `status` sees itself; 0 = it does not say.
inline std::uint32_t id_seen_inside(std::string_view status) noexcept {
  const std::string_view ids = ids_in_namespaces(status);
  return static_cast<std::uint32_t>(leading_number(part_of(ids, ids.find_last_of(" \t") + 1)));
}

/// The file `status` of a process; empty if it cannot be read.
class StatusFile {
 public:
  explicit StatusFile(const ProcessMemory& process) noexcept
      : length_(std::max(0L, process.read_file("status", text_, sizeof text_))) {}
  std::string_view text() const noexcept { return {text_, static_cast<std::size_t>(length_)}; }

 private:
  char text_[4096];
  long length_;
};

}  // namespace mallard::report
