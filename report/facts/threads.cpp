// SPDX-License-Identifier: Apache-2.0
#include "report/facts/threads.hpp"

#include <fcntl.h>
#include <string.h>

#include "base/os.hpp"
#include "base/text.hpp"

namespace mallard::report {
namespace {

/// What getdents64 writes; the name follows.
struct Entry {
  std::uint64_t inode, offset;
  std::uint16_t bytes;
  std::uint8_t type;
};
constexpr std::size_t kNameAt = 19;

}  // namespace

void for_each_thread(const ProcessMemory& process, bool (*visit)(std::uint32_t id, void* opaque) noexcept,
                     void* opaque) noexcept {
  const auto folder =
      static_cast<int>(os::open(ProcessMemory::Path(process, "task").c_str(), O_RDONLY | O_DIRECTORY));
  if (folder < 0) return;
  alignas(8) char buffer[2048];
  bool goes_on = true;
  for (long got;
       goes_on && (got = os::call(SYS_getdents64, folder, os::arg(buffer), sizeof buffer)) > 0;)
    for (long at = 0; at < got && goes_on;) {
      Entry entry;
      memcpy(&entry, buffer + at, kNameAt);
      const auto id = static_cast<std::uint32_t>(leading_number(view_of(buffer + at + kNameAt)));
      if (id != 0) goes_on = visit(id, opaque);
      at += entry.bytes;
    }
  os::close(folder);
}

}  // namespace mallard::report
