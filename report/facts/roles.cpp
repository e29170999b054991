// SPDX-License-Identifier: Apache-2.0
#include "report/facts/roles.hpp"

#include <elf.h>

#include "elf/auxiliary_vector.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/named_addresses.hpp"

namespace mallard::report {
namespace {

bool has(const elf::Module& module, std::uintptr_t address) noexcept {
  return address >= module.span_begin && address < module.span_end;
}

bool lies_in(const link_map* object, const elf::Module& module) noexcept {
  std::uintptr_t begin = 0, end = 0;
  return object && elf::text_range(object, &begin, &end) && has(module, begin);
}

}  // namespace

const elf::Module* module_at(const elf::Modules& modules, std::uintptr_t address) noexcept {
  for (const elf::Module& m : modules.all())
    if (m.kind == elf::ModuleKind::kElf && has(m, address)) return &m;
  return nullptr;
}

bool is_own_module(const ProcessMemory& process, const Served& served, const elf::Module& module) noexcept {
  return process.is_own() ? lies_in(elf::own_object(), module) : has(module, served.own_at);
}

bool is_backend_module(const ProcessMemory& process, const Served& served,
                       const elf::Module& module) noexcept {
  if (!process.is_own()) return has(module, served.backend_at);
  return served.backend && lies_in(served.backend->object, module);
}

bool is_libc_module(const ProcessMemory& process, const elf::Module& module) noexcept {
  return process.is_own() ? lies_in(elf::libc_object(), module) : elf::is_libc(module);
}

bool is_program_module(const ProcessMemory& process, const elf::Module& module) noexcept {
  return process.is_own() ? lies_in(elf::first_object(), module)
                          : has(module, elf::auxiliary_value(process, AT_ENTRY));
}

}  // namespace mallard::report
