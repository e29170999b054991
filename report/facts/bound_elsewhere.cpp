// SPDX-License-Identifier: Apache-2.0
// Which loaded objects call another malloc than mallard's.
#include "inside/bindings.hpp"
#include "elf/loaded_objects.hpp"
#include "base/os.hpp"
#include "inside/recognise.hpp"
#include "elf/maps.hpp"
#include "report/facts/other_allocators.hpp"

namespace mallard::report {
namespace {

bool copy_own(void*, void* to, std::uintptr_t from, std::size_t bytes) noexcept {
  return os::copy_if_readable(to, from, bytes);
}

bool lies_in(const link_map* object, const Module& module) noexcept {
  std::uintptr_t begin = 0, end = 0;
  return object && text_range(object, &begin, &end) && begin >= module.span_begin && begin < module.span_end;
}

bool is_own(const Module& module) noexcept { return lies_in(own_object(), module); }

class Finder {
 public:
  Finder(Arena& arena, const Served& served, const Modules& modules) noexcept
      : served_(served), modules_(modules), found_(arena), bindings_(arena.array<Bindings>(1)) {}

  std::span<BoundElsewhere> run() noexcept {
    // Where malloc is not ours by right, every object leads elsewhere, and the report says so already.
    if (!bindings_ || served_.bypassed || served_.stepped_aside) return {};
    for (const Module& m : modules_.all())
      if (m.kind == ModuleKind::kElf && !is_known_module(served_, m)) look_at(m);
    return found_.all();
  }

 private:
  void look_at(const Module& module) noexcept {
    const Inside& inside = look_inside(module);
    if (inside.defines_malloc && inside.is_symbolic) found_.add({module.path, module.path, 0});
    read_bindings(module.span_begin, copy_own, nullptr, bindings_);
    if (!bindings_->readable) return;
    const std::size_t count = bindings_->count < kMaxBindings ? bindings_->count : kMaxBindings;
    for (std::size_t i = 0; i < count; ++i) {
      const Module* target = target_of(bindings_->targets[i]);
      if (target) add(module, *target);
    }
  }

  /// nullptr = ours, or not to be told.
  const Module* target_of(std::uintptr_t address) const noexcept {
    const int at = modules_.find(address);
    if (at < 0) return nullptr;
    const Module& target = modules_.all()[static_cast<std::size_t>(at)];
    if (target.kind != ModuleKind::kElf || is_own(target)) return nullptr;
    // A program that is not position-independent lends its stub to all objects; the stub leads to us.
    const bool is_program = lies_in(first_object(), target);
    return is_program && !look_inside(target).defines_malloc ? nullptr : &target;
  }

  void add(const Module& module, const Module& target) noexcept {
    for (BoundElsewhere& b : found_.all())
      if (b.object == module.path && b.bound_to == target.path && b.references > 0) {
        ++b.references;
        return;
      }
    found_.add({module.path, target.path, 1});
  }

  const Served& served_;
  const Modules& modules_;
  Growing<BoundElsewhere> found_;
  Bindings* bindings_;
};

}  // namespace

bool is_known_module(const Served& served, const Module& module) noexcept {
  constexpr std::string_view kLoader = "ld-linux-";
  if (is_own(module) || lies_in(libc_object(), module) || file_name_of(module.path).starts_with(kLoader))
    return true;
  const bool serves = !served.bypassed && !served.stepped_aside;
  return serves && served.backend && lies_in(served.backend->object, module);
}

std::span<BoundElsewhere> find_bound_elsewhere(Arena& arena, const Served& served,
                                               const Modules& modules) noexcept {
  return Finder(arena, served, modules).run();
}

}  // namespace mallard::report
