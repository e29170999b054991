// SPDX-License-Identifier: Apache-2.0
#include "outside/glibc.hpp"

#include <string.h>

#include <algorithm>
#include <initializer_list>

#include "elf/named_addresses.hpp"

namespace mallard::outside {
namespace {

// Of what libc.so.6 says when it is run, and a static program has inside: "GNU C Library (...) stable release
// version 2.36." It is put together here, so that this command does not have it inside.
constexpr std::string_view kBanner = "GNU C Library", kBefore = " release version ";
constexpr std::size_t kBytesAtOnce = 256 << 10, kLongestBanner = 256;
constexpr std::uint64_t kMostText = 64u << 20;

std::string_view version_in(std::string_view text) noexcept {
  for (std::size_t at = 0; (at = text.find(kBanner, at)) != text.npos; at += kBanner.size()) {
    const std::string_view line = part_of(text, at, kLongestBanner);
    const std::size_t before = line.find(kBefore);
    if (before == line.npos) continue;
    const std::string_view number = part_of(line, before + kBefore.size());
    const std::size_t end = number.find_first_not_of("0123456789.");
    if (end == number.npos || !number.starts_with("2.")) continue;
    return part_of(number, 0, number[end - 1] == '.' ? end - 1 : end);
  }
  return {};
}

bool add_version(const elf::Module& module, const ProcessMemory& process, TextBuffer& to) noexcept {
  Arena arena;
  elf::Image image;
  char* buffer = arena.array<char>(kBytesAtOnce);
  if (!buffer || !elf::open_module(module, arena, &image, process) || image.parse() != elf::Fault::kNone)
    return false;
  for (const Elf64_Phdr& p : image.segments()) {
    if (p.p_type != PT_LOAD || (p.p_flags & PF_W)) continue;
    const std::uint64_t bytes = std::min(p.p_filesz, kMostText);
    for (std::uint64_t at = 0; at < bytes;) {
      const std::size_t wanted = std::min<std::uint64_t>(kBytesAtOnce, bytes - at);
      const std::size_t got = image.read_some(p.p_offset + at, buffer, wanted);
      if (const auto version = version_in({buffer, got}); !version.empty()) {
        to.add(version);
        return true;
      }
      if (got < kBytesAtOnce) break;
      at += got - kLongestBanner;  // it may lie across two pieces
    }
  }
  return false;
}

bool is_named(const elf::Module& m, std::string_view beginning) noexcept {
  return m.kind == elf::ModuleKind::kElf && file_name_of(m.path).starts_with(beginning);
}

}  // namespace

const elf::Module* find_glibc(const elf::Modules& modules, TextBuffer& version) noexcept {
  for (const bool by_name : {true, false})
    for (const elf::Module& m : modules.all()) {
      const bool is_libc = is_named(m, "libc.so.6") || is_named(m, "libc-2.");
      if (is_libc != by_name || !elf::may_be_libc(m)) continue;
      if (add_version(m, modules.process(), version)) return &m;
    }
  return nullptr;
}

const elf::Module* find_musl(const elf::Modules& modules) noexcept {
  for (const elf::Module& m : modules.all())
    // Debian's is called libc.so, and what is called ld-musl-... a link to it.
    if (is_named(m, "ld-musl-") || is_named(m, "libc.musl-") || file_name_of(m.path) == "libc.so") return &m;
  return nullptr;
}

}  // namespace mallard::outside
