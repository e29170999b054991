// SPDX-License-Identifier: Apache-2.0
#include "cli/process/attached.hpp"

#include <string>
#include <vector>

#include "cli/process/target.hpp"

namespace mallard::cli {

std::uint64_t find_door(const MemoryFile& memory) {
  return memory.find_in_library({kDoorMark, sizeof kDoorMark});
}

std::optional<AttachDoor> read_door(int pid) {
  const MemoryFile memory(pid);
  if (!memory.is_open()) return {};
  const std::uint64_t at = find_door(memory);
  AttachDoor door;
  if (at == 0 || !memory.read(at, &door) || door.bytes != sizeof door) return {};
  return door;
}

bool is_attached(int pid) {
  const std::optional<AttachDoor> door = read_door(pid);
  const std::vector<std::string> ids = status_words(pid, "NSpid");
  const int own_pid = ids.empty() ? pid : std::stoi(ids.back());
  return door && door->is_on && door->owner == static_cast<std::uint32_t>(own_pid);
}

}  // namespace mallard::cli
