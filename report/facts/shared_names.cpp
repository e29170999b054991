// SPDX-License-Identifier: Apache-2.0
#include "report/facts/shared_names.hpp"

#include <string.h>

#include "base/text.hpp"

namespace mallard::report {
namespace {

constexpr std::string_view kMemfd = "/memfd:", kSystemV = "/SYSV",
                           kNamed = "[anon_shmem:", kZero = "/dev/zero";

std::string_view joined(Arena& arena, std::string_view words, std::string_view name) noexcept {
  char* room = arena.array<char>(words.size() + name.size());
  if (!room) return words;
  memcpy(room, words.data(), words.size());
  memcpy(room + words.size(), name.data(), name.size());
  return {room, words.size() + name.size()};
}

}  // namespace

bool is_shared_memory(const elf::Mapping& m) noexcept {
  if (m.path.starts_with(kMemfd) || m.path.starts_with("/dev/shm/") || m.path.starts_with(kSystemV) ||
      m.path.starts_with(kNamed))
    return true;
  return m.shared && m.path.starts_with(kZero);
}

std::string_view name_of_shared_memory(Arena& arena, const elf::Mapping& m) noexcept {
  std::string_view path = m.path;
  if (path.starts_with(kMemfd)) return joined(arena, "memfd ", part_of(path, kMemfd.size()));
  if (path.starts_with(kSystemV))
    return joined(arena, "System V segment, key 0x", part_of(path, kSystemV.size()));
  if (path.starts_with(kNamed) && path.ends_with(']'))
    return joined(arena, "anonymous, named ", part_of(path, kNamed.size(), path.size() - kNamed.size() - 1));
  // What mmap(MAP_SHARED | MAP_ANONYMOUS) makes, and a mapping of that device.
  if (path.starts_with(kZero)) return "anonymous";
  return path;
}

std::string_view runtime_of_shared_memory(std::string_view path) noexcept {
  // HotSpot's ZGC maps its heap, of that name, at several places in the address space.
  return path.starts_with("/memfd:java_heap") ? "the heap of a Java VM (ZGC)" : "";
}

}  // namespace mallard::report
