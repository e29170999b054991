// SPDX-License-Identifier: Apache-2.0
#include "elf/named_addresses.hpp"

#include "base/text.hpp"

namespace mallard::elf {
namespace {

constexpr std::uint64_t kMostNameBytes = 64u << 20;

/// A symbol's name may end with the version that it has, as in "malloc@@GLIBC_2.2.5".
std::string_view plain(std::string_view name) noexcept { return part_of(name, 0, name.find('@')); }

std::size_t look_into(const Image& image, std::uint32_t type, std::uintptr_t bias,
                      std::span<NamedAddress> wanted) noexcept {
  SymbolTable table;
  Arena arena;  // names of large objects need much room, and briefly
  if (!image.find_symbols(type, &table) || table.names_bytes > kMostNameBytes) return 0;
  const std::string_view names = image.read_names(table, arena);
  std::size_t found = 0;
  image.for_each_symbol(table, [&](const Elf64_Sym& s) noexcept {
    if (s.st_shndx == SHN_UNDEF || s.st_value == 0 || s.st_name >= names.size()) return;
    const std::string_view name = plain(view_of(names.data() + s.st_name));
    for (NamedAddress& w : wanted) {
      if (w.address != 0 || w.name != name) continue;
      w.address = bias + s.st_value;
      w.bytes = s.st_size;
      ++found;
    }
  });
  return found;
}

}  // namespace

std::size_t find_addresses(const Module& module, const ProcessMemory& process,
                           std::span<NamedAddress> wanted) noexcept {
  if (module.kind != ModuleKind::kElf) return 0;
  Arena arena;
  Image image;
  if (!open_module(module, arena, &image, process)) image.use_process(process, module.span_begin);
  if (image.parse() != Fault::kNone) return 0;
  const std::size_t found = look_into(image, SHT_DYNSYM, module.load_bias, wanted);
  return found == wanted.size() ? found : found + look_into(image, SHT_SYMTAB, module.load_bias, wanted);
}

bool is_libc(const Module& module) noexcept {
  const std::string_view file = file_name_of(module.path);
  return module.kind == ModuleKind::kElf && (file.starts_with("libc.so") || file.starts_with("libc-2."));
}

bool may_be_libc(const Module& module) noexcept {
  const std::string_view file = file_name_of(module.path);
  return is_libc(module) || (module.kind == ModuleKind::kElf && file.find(".so") == file.npos);
}

}  // namespace mallard::elf
