// SPDX-License-Identifier: Apache-2.0
#include "outside/observed_server.hpp"

#include <initializer_list>
#include <string_view>

#include "base/text.hpp"
#include "inside/entry_points.hpp"
#include "inside/outcome.hpp"
#include "inside/recognise.hpp"
#include "report/facts/roles.hpp"
#include "report/model/model.hpp"

namespace mallard::outside {
namespace {

/// "mimalloc", "jemalloc and its own malloc", ...; empty where nothing is observed.
std::string_view observed() noexcept {
  const inside::TakeoverOutcome& outcome = inside::takeover_outcome();
  return outcome.state == inside::TakeoverState::kObserved ? view_of(outcome.what) : std::string_view();
}

template <std::size_t n>
void set(char (&to)[n], std::string_view text) noexcept {
  TextBuffer buffer(to, n);
  buffer.clear();
  buffer.add(text);
}

}  // namespace

bool is_beside_libc() noexcept {
  const std::string_view own = inside::name_of(inside::EmbeddedKind::kProgram);
  return !observed().empty() && !observed().ends_with(own);
}

void name_observed(const elf::Modules& modules, backends::Backend* backend) noexcept {
  if (observed().empty()) return;
  std::string_view name = report::kOwnMalloc;
  for (const inside::EmbeddedKind kind : {inside::EmbeddedKind::kMimalloc, inside::EmbeddedKind::kJemalloc})
    if (observed().starts_with(inside::name_of(kind))) name = inside::name_of(kind);
  if (view_of(backend->name) == name) return;
  for (const elf::Module& m : modules.all()) {
    if (m.kind != elf::ModuleKind::kElf || !report::is_program_module(modules.process(), m)) continue;
    set(backend->name, name);
    set(backend->path, m.path);
    set(backend->version, "unknown");
    for (const inside::CarriedAllocator& c : inside::contents_of(m, modules.process()).all())
      if (c.allocator->name == name && c.version[0] != '\0') set(backend->version, view_of(c.version));
    return;
  }
}

const elf::Module* find_own_malloc(const elf::Modules& modules, TextBuffer name) noexcept {
  const elf::Module* found = nullptr;
  for (const elf::Module& m : modules.all()) {
    if (m.kind != elf::ModuleKind::kElf) continue;
    const std::string_view file = file_name_of(m.path);
    // glibc's loader has one until 2.33, for itself; its library for debugging hands calls on unless it is asked.
    const bool is_libc = file.starts_with("libc.") || file.starts_with("libc-") || file.starts_with("libc_malloc") ||
                         file.starts_with("ld-") || file.starts_with("ld.");
    if (is_libc || !inside::contents_of(m, modules.process()).defines_malloc) continue;
    if (report::is_program_module(modules.process(), m)) {
      name.add(report::kOwnMalloc);
      return &m;
    }
    found = &m;  // of several libraries the loader has mapped the first highest, as the kernel gives it addresses
  }
  if (found) name.add(file_name_of(found->path));
  return found;
}

}  // namespace mallard::outside
