// SPDX-License-Identifier: Apache-2.0
#include "report/facts/environment.hpp"

namespace mallard::report {

std::string_view read_environment(Arena& arena, const ProcessMemory& process) noexcept {
  constexpr std::size_t kMost = 128 << 10;
  char* text = arena.array<char>(kMost);
  const long n = text ? process.read_file("environ", text, kMost) : 0;
  return {text, n > 0 ? static_cast<std::size_t>(n) : 0};
}

}  // namespace mallard::report
