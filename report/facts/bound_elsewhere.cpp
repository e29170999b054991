// SPDX-License-Identifier: Apache-2.0
// Which loaded objects call another malloc than mallard's.
#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "inside/bindings.hpp"
#include "inside/outcome.hpp"
#include "inside/recognise.hpp"
#include "report/facts/other_allocators.hpp"
#include "report/facts/roles.hpp"

namespace mallard::report {
namespace {

bool copy(void* process, void* to, std::uintptr_t from, std::size_t bytes) noexcept {
  return static_cast<const ProcessMemory*>(process)->copy(to, from, bytes);
}

class Finder {
 public:
  Finder(Arena& arena, const Served& served, const elf::Modules& modules) noexcept
      : served_(served),
        modules_(modules),
        process_(modules.process()),
        found_(arena),
        bindings_(arena.array<inside::Bindings>(1)) {}

  std::span<BoundElsewhere> run() noexcept {
    // Where malloc is not ours by right, every object leads elsewhere, and the report says so already.
    if (!bindings_ || !process_.is_recorded() || served_.bypassed || served_.stepped_aside) return {};
    for (const elf::Module& m : modules_.all())
      if (m.kind == elf::ModuleKind::kElf && !is_known_module(process_, served_, m)) look_at(m);
    return found_.all();
  }

 private:
  void look_at(const elf::Module& module) noexcept {
    const inside::Contents& inside = inside::contents_of(module, process_);
    if (inside.defines_malloc && inside.is_symbolic) found_.add({module.path, module.path, 0, false});
    inside::read_bindings(module.span_begin, copy, const_cast<ProcessMemory*>(&process_), bindings_);
    if (!bindings_->readable) return;
    const std::size_t count =
        bindings_->count < inside::kMaxBindings ? bindings_->count : inside::kMaxBindings;
    for (std::size_t i = 0; i < count; ++i) {
      const elf::Module* target = target_of(bindings_->targets[i]);
      if (target) add(module, *target);
    }
  }

  /// The object that a slot leads to; nullptr if that is mallard, or cannot be told.
  const elf::Module* target_of(std::uintptr_t address) const noexcept {
    const int at = modules_.find(address);
    if (at < 0) return nullptr;
    const elf::Module& target = modules_.all()[static_cast<std::size_t>(at)];
    if (target.kind != elf::ModuleKind::kElf || is_own_module(process_, served_, target)) return nullptr;
    // A program that is not position-independent lends its stub to all objects; the stub leads to us.
    const bool is_program = is_program_module(process_, target);
    // Where the program's malloc is observed, its calls are recorded.
    if (is_program && inside::takeover_outcome().state == inside::TakeoverState::kObserved) return nullptr;
    return is_program && !inside::contents_of(target, process_).defines_malloc ? nullptr : &target;
  }

  void add(const elf::Module& module, const elf::Module& target) noexcept {
    for (BoundElsewhere& b : found_.all())
      if (b.object == module.path && b.bound_to == target.path && b.references > 0) {
        ++b.references;
        return;
      }
    found_.add({module.path, target.path, 1, is_server(target)});
  }

  /// True if the blocks that come from there lie in the heap that mallard divides: the server's own object,
  /// or another copy of it, whose memory looks the same (libc.so.6 in a namespace of dlmopen).
  bool is_server(const elf::Module& target) const noexcept {
    for (const elf::Module& m : modules_.all())
      if (m.kind == elf::ModuleKind::kElf && is_backend_module(process_, served_, m))
        return m.device == target.device && m.inode == target.inode;
    return false;
  }

  const Served& served_;
  const elf::Modules& modules_;
  const ProcessMemory& process_;
  Growing<BoundElsewhere> found_;
  inside::Bindings* bindings_;
};

}  // namespace

bool is_known_module(const ProcessMemory& process, const Served& served, const elf::Module& module) noexcept {
  constexpr std::string_view kLoader = "ld-linux-";
  if (file_name_of(module.path).starts_with(kLoader)) return true;
  if (!process.is_recorded()) return false;
  if (is_own_module(process, served, module) || is_libc_module(process, module)) return true;
  const bool serves = !served.bypassed && !served.stepped_aside;
  return serves && is_backend_module(process, served, module);
}

std::span<BoundElsewhere> find_bound_elsewhere(Arena& arena, const Served& served,
                                               const elf::Modules& modules) noexcept {
  return Finder(arena, served, modules).run();
}

}  // namespace mallard::report
