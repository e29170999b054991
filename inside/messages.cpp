// SPDX-License-Identifier: Apache-2.0
#include "inside/messages.hpp"

#include <string.h>

#include <algorithm>

#include "inside/version.hpp"

namespace mallard::inside {
namespace {

constexpr std::size_t kBytesAtOnce = 256 * 1024, kLongestMessage = 128;
constexpr std::uint64_t kMostText = 256u << 20;

bool contains(std::string_view text, std::string_view message) noexcept {
  char plain[kLongestMessage];
  if (message.size() > sizeof plain) return false;
  std::transform(message.begin(), message.end(), plain, meant_by);
  return memmem(text.data(), text.size(), plain, message.size()) != nullptr;
}

std::size_t index_of(const KnownAllocator& a) noexcept {
  return static_cast<std::size_t>(&a - known_allocators().data());
}

}  // namespace

void MessageSearch::search_text(std::string_view text) noexcept {
  for (const KnownAllocator& a : known_allocators()) {
    std::uint32_t& met = met_[index_of(a)];
    for (std::size_t m = 0; m < a.messages.size(); ++m)
      if (!(met >> m & 1) && contains(text, a.messages[m])) met |= 1u << m;
    if (TextBuffer& version = versions_[index_of(a)]; version.size() == 0) version_in_text(a, text, version);
  }
}

void MessageSearch::run(const elf::Image& image, Arena& arena) noexcept {
  char* buffer = arena.array<char>(kBytesAtOnce);
  if (!buffer) return;
  std::uint64_t budget = kMostText;
  const auto search = [&](std::uint64_t begin, std::uint64_t bytes) noexcept {
    for (std::uint64_t at = 0; at < bytes && budget > 0;) {
      const std::size_t got = image.read_some(begin + at, buffer, std::min<std::uint64_t>(bytes - at, kBytesAtOnce));
      search_text({buffer, got});
      budget -= std::min<std::uint64_t>(got, budget);
      if (got <= kLongestMessage || got == bytes - at) break;
      at += got - kLongestMessage;  // a message may lie across two pieces
    }
  };
  bool has_sections = false;
  image.for_each_section([&](std::uint64_t, const Elf64_Shdr& s) noexcept {
    has_sections = true;
    if (s.sh_type == SHT_PROGBITS && (s.sh_flags & SHF_ALLOC) && !(s.sh_flags & (SHF_EXECINSTR | SHF_WRITE)))
      search(s.sh_offset, s.sh_size);
  });
  if (has_sections) return;
  for (const Elf64_Phdr& p : image.segments())
    if (p.p_type == PT_LOAD && !(p.p_flags & PF_W)) search(p.p_offset, p.p_filesz);
}

bool MessageSearch::has_all_messages_of(const KnownAllocator& a) const noexcept {
  return !a.messages.empty() && met_[index_of(a)] == (1u << a.messages.size()) - 1;
}

std::string_view MessageSearch::version_of(const KnownAllocator& a) const noexcept {
  return versions_[index_of(a)].view();
}

}  // namespace mallard::inside
