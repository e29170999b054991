// SPDX-License-Identifier: Apache-2.0
#include "base/lines.hpp"

#include <fcntl.h>

#include <algorithm>

#include "base/os.hpp"
#include "base/pauses.hpp"
#include "base/text.hpp"

namespace mallard {
namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;  // longest path, each byte escaped as \ooo, four times over

}  // namespace

bool for_each_line(Arena& arena, const char* path,
                   void (*visit)(std::string_view line, void* opaque) noexcept, void* opaque,
                   std::size_t at_once) noexcept {
  char* buffer = arena.array<char>(kBufferBytes);
  if (!buffer) return false;
  const long fd = os::open(path, O_RDONLY);
  if (fd < 0) return false;
  std::size_t have = 0;
  long got;
  bool in_overlong = false;  // the start of this line was given away already
  Pauses pauses{150'000};
  const auto read_more = [&] {
    return os::read(static_cast<int>(fd), buffer + have, std::min(kBufferBytes - have, at_once));
  };
  while ((got = read_more()) > 0) {
    pauses.after_a_call();
    have += static_cast<std::size_t>(got);
    std::string_view rest(buffer, have);
    for (std::size_t length; (length = rest.find('\n')) != rest.npos; rest.remove_prefix(length + 1)) {
      if (!in_overlong) visit(part_of(rest, 0, length), opaque);
      in_overlong = false;
    }
    if (rest.size() == kBufferBytes) {
      if (!in_overlong) visit(rest, opaque);
      in_overlong = true;
      rest.remove_prefix(rest.size());
    }
    __builtin_memmove(buffer, rest.data(), rest.size());
    have = rest.size();
  }
  os::close(static_cast<int>(fd));
  return got == 0;
}

}  // namespace mallard
