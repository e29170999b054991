// SPDX-License-Identifier: Apache-2.0
#include "report/facts/other_allocators.hpp"

#include <fcntl.h>

#include <algorithm>
#include <new>

#include "base/arena.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/text.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/named_addresses.hpp"
#include "inside/outcome.hpp"
#include "inside/plan.hpp"
#include "inside/recognise.hpp"
#include "report/facts/roles.hpp"

namespace mallard::report {
namespace {

constexpr std::string_view kByRelink = "build it to use the system's malloc, so that mallard can serve it";

bool is_its_own_library(const inside::KnownAllocator& allocator, std::string_view path) noexcept {
  for (const std::string_view name : allocator.sonames)
    if (file_name_of(path).starts_with(name)) return true;
  return false;
}

/// True if the allocator inside the program serves, and is observed: it is the backend of the report.
bool is_observed() noexcept { return inside::takeover_outcome().state == inside::TakeoverState::kObserved; }

/// What `mallard check` would foretell of the program.
struct Forecast {
  bool made, known, possible;
  char text[256];
};

void foretell(Arena& arena, const ProcessMemory& process, Forecast* out) noexcept {
  Forecast& f = *out;
  auto* memory = arena.allocate(sizeof(inside::TakeoverPlan),
                                alignof(inside::TakeoverPlan));  // too large for a small stack
  const long fd = memory ? os::open(ProcessMemory::Path(process, "exe").c_str(), O_RDONLY) : -1;
  if (fd < 0) return;
  auto* plan = new (memory) inside::TakeoverPlan;
  inside::plan_takeover(static_cast<int>(fd), EmbeddedAction::kObserve, plan);
  const bool is_observable = plan->answer == inside::TakeoverAnswer::kPossible;
  plan = new (memory) inside::TakeoverPlan;
  inside::plan_takeover(static_cast<int>(fd), EmbeddedAction::kRedirect, plan);
  os::close(static_cast<int>(fd));
  f.made = true;
  f.known = plan->answer != inside::TakeoverAnswer::kNothing;
  f.possible = plan->answer == inside::TakeoverAnswer::kPossible;
  TextBuffer text(f.text, sizeof f.text);
  if (f.possible) {
    text.add("ALLOC_EMBEDDED=redirect takes over ");
    inside::add_kinds(text, *plan);
    text.add(" at start (").add_unsigned(plan->count).add(" entry points)");
    if (is_observable) text.add("; ALLOC_EMBEDDED=observe lets it serve, and records its calls");
  } else if (f.known) {
    text.add("ALLOC_EMBEDDED=redirect could not take it over: ").add(plan->why.view());
  }
}

/// Our own process has one program for its life.
const Forecast& forecast(Arena& arena, const ProcessMemory& process) noexcept {
  static constinit Forecast own{}, none{};
  Forecast* f = process.is_own() ? &own : arena.array<Forecast>(1);
  if (f && !f->made) foretell(arena, process, f);
  return f ? *f : none;
}

class Finder {
 public:
  Finder(Arena& arena, const Served& served, const elf::Modules& modules, const Memory& memory) noexcept
      : arena_(arena), served_(served), modules_(modules), memory_(memory), found_(arena) {}

  void run(Others* out) noexcept {
    for (const elf::Module& m : modules_.all())
      if (m.kind == elf::ModuleKind::kElf && !is_known_module(modules_.process(), served_, m)) look_at(m);
    if (memory_.known) measure(out);
    out->allocators = found_.all();
    std::sort(out->allocators.begin(), out->allocators.end(), [](const auto& a, const auto& b) {
      if (a.resident_bytes != b.resident_bytes) return a.resident_bytes > b.resident_bytes;
      return a.object < b.object;
    });
    name_users_of_glibc(*out);
  }

 private:
  void name_users_of_glibc(const Others& others) noexcept {
    for (OtherAllocator& a : others.allocators)
      for (const BoundElsewhere& b : others.bound)
        if (a.name == kGlibcMalloc && a.object == b.bound_to && a.why.empty()) {
          FixedText<256> why;
          why.add(file_name_of(b.object)).add(" is bound to it");
          a.why = kept(why.view());
          a.next_step = "load it without RTLD_DEEPBIND, and not by dlmopen";
        }
  }

  std::string_view kept(std::string_view text) noexcept {
    char* copy = arena_.array<char>(text.size() + 1);
    if (!copy) return {};
    std::copy(text.begin(), text.end(), copy);
    return {copy, text.size()};
  }

  void look_at(const elf::Module& module) noexcept {
    const inside::Contents inside = inside::contents_of(module, modules_.process());
    const bool owns_malloc = served_.bypassed && served_.bypass_owner == module.path;
    const bool keeps_own_malloc = inside.defines_malloc && inside.is_symbolic;
    const bool taken_over = inside.defines_malloc && is_program(module) &&
                            inside::takeover_outcome().state == inside::TakeoverState::kTakenOver;
    for (const inside::CarriedAllocator& c : inside.all()) add(module, inside, &c);
    if (inside.count == 0 && (owns_malloc || keeps_own_malloc || taken_over)) add(module, inside, nullptr);
  }

  /// \param carried  nullptr: a malloc that nobody knows
  void add(const elf::Module& module, const inside::Contents& inside,
           const inside::CarriedAllocator* carried) noexcept {
    OtherAllocator a{};
    a.object = module.path;
    a.name = carried ? carried->allocator->name : "a malloc of its own";
    a.has_own_malloc = inside.defines_malloc;
    a.uses_brk = inside.uses_brk;
    FixedText<128> by;
    if (carried) {
      a.version = kept(view_of(carried->version));
      by.add(carried->by_text ? "text '" : "symbol ");
      for (const char c : carried->pattern) by.add(inside::meant_by(c));
      if (carried->by_text) by.add('\'');
      a.is_managed = carried->allocator->is_managed;
    } else {
      by.add("symbol malloc");
    }
    a.recognised_by = kept(by.view());
    if (a.is_managed) a.next_step = carried->allocator->advice;
    else set_status(module, inside, carried, &a);
    if (!is_main_from_outside(a) && !is_known(a)) found_.add(a);
  }

  /// An executable may be several modules: V8 maps its built-in functions a second time.
  bool is_known(const OtherAllocator& a) noexcept {
    return std::any_of(found_.all().begin(), found_.all().end(), [&a](const OtherAllocator& other) {
      return other.object == a.object && other.name == a.name && other.recognised_by == a.recognised_by;
    });
  }

  /// The allocator that the report of another process names first is none beside it.
  bool is_main_from_outside(const OtherAllocator& a) const noexcept {
    return !modules_.process().is_recorded() && served_.backend && a.name == view_of(served_.backend->name) &&
           a.object == view_of(served_.backend->path);
  }

  bool is_program(const elf::Module& module) const noexcept {
    return is_program_module(modules_.process(), module);
  }

  void set_status(const elf::Module& module, const inside::Contents& inside,
                  const inside::CarriedAllocator* carried, OtherAllocator* a) noexcept {
    const inside::TakeoverOutcome& outcome = inside::takeover_outcome();
    if (!modules_.process().is_recorded() && !is_program(module)) return;
    a->next_step = kByRelink;
    if (!is_program(module)) {
      if (carried && is_its_own_library(*carried->allocator, module.path)) {
        a->why = inside.defines_malloc ? "its malloc comes to mallard; calls by names of its own do not" : "";
        a->next_step = "without ALLOC_BACKEND it serves, behind mallard";
      } else if (!carried && inside.is_symbolic) {
        a->why = "it binds its own calls to it";
        a->next_step = "relink it without -Bsymbolic";
      } else {
        a->why = "ALLOC_EMBEDDED=redirect takes over what is in the executable, not what is in a library";
      }
      return;
    }
    if (outcome.state == inside::TakeoverState::kTakenOver) {
      a->status = OtherStatus::kRedirected;
      a->why = "its calls come to mallard";
      a->next_step = {};
    } else if (outcome.state == inside::TakeoverState::kRefused) {
      a->status = OtherStatus::kRefused;
      a->why = view_of(outcome.why);
    } else if (outcome.state == inside::TakeoverState::kNothingInside) {
      a->status = OtherStatus::kRefused;
      a->why = "the executable has no entry point of it that mallard knows";
    } else if (const Forecast& f = forecast(arena_, modules_.process()); f.possible) {
      a->why = "not asked for";
      a->next_step = view_of(f.text);
    } else {
      a->why =
          f.known ? view_of(f.text) : "ALLOC_EMBEDDED=redirect knows no entry point of it in the executable";
    }
  }

  /// The allocator of what an object mapped: where the object has several, the one that is named.
  OtherAllocator* by_object(std::string_view object, std::string_view name) noexcept {
    OtherAllocator* only = nullptr;
    std::size_t count = 0;
    for (OtherAllocator& a : found_.all()) {
      if (object.empty() || a.object != object) continue;
      if (a.name == name) return &a;
      only = &a;
      ++count;
    }
    return count == 1 ? only : nullptr;
  }

  std::string_view path_of_libc() noexcept {
    if (modules_.process().is_own())
      return elf::libc_object() ? kept(view_of(elf::libc_object()->l_name)) : std::string_view();
    for (const elf::Module& m : modules_.all())
      if (elf::is_libc(m)) return m.path;
    return {};
  }

  OtherAllocator* only_user_of_brk() noexcept {
    OtherAllocator* only = nullptr;
    for (OtherAllocator& a : found_.all()) {
      if (!a.uses_brk) continue;
      if (only) return nullptr;
      only = &a;
    }
    return only;
  }

  /// The entry of memory whose name tells the allocator: that of the one object which carries it, or an entry
  /// without an object.
  OtherAllocator* by_name(std::string_view name) noexcept {
    OtherAllocator* only = nullptr;
    for (OtherAllocator& a : found_.all()) {
      if (a.name != name) continue;
      if (only) return only;
      only = &a;
    }
    if (only) return only;
    OtherAllocator a{};
    a.name = name;
    const bool is_glibc = name == kGlibcMalloc;
    if (is_glibc && modules_.process().is_recorded()) a.object = path_of_libc();
    a.recognised_by = is_glibc ? "the form of its memory" : "names of its mappings";
    if (is_glibc && served_.beside && view_of(served_.beside->name) == "system") {
      a.status = OtherStatus::kObserved;
      a.why = "its calls are recorded, too";
    } else if (modules_.process().is_recorded()) {
      a.next_step =
          is_glibc ? "see who is bound to it: an object loaded with RTLD_DEEPBIND, or by dlmopen" : kByRelink;
    }
    return found_.add(a) ? &found_[found_.size() - 1] : nullptr;
  }

  /// True of memory of the allocator that the report of another process names first.
  bool is_main_heap(const Region& r) const noexcept {
    const std::string_view main = view_of(served_.backend->name);
    return r.allocator.empty() || r.allocator == (main == "system" ? kGlibcMalloc : main);
  }

  void measure(Others* out) noexcept {
    const InMemory* in_memory = measure_regions(arena_, memory_.regions.all, memory_.residency.runs());
    if (!in_memory) return;
    for (std::size_t i = 0; i < memory_.regions.all.size(); ++i) {
      const Region& r = memory_.regions.all[i];
      const bool is_divided = r.owner == Owner::kHeap && (served_.beside || !modules_.process().is_recorded());
      if (r.owner != Owner::kAnonymous && !is_divided) continue;
      if (is_divided && is_main_heap(r)) continue;
      OtherAllocator* a = by_object(r.name, r.allocator);
      if (!a && !r.allocator.empty()) a = by_name(r.allocator);
      if (!a && r.is_brk && (a = only_user_of_brk())) a->brk_bytes += in_memory[i].bytes;
      if (a) {
        a->mapped_bytes += r.end - r.begin;
        a->resident_bytes += in_memory[i].bytes;
        if (is_divided) a->divided_bytes += in_memory[i].bytes;
        a->lazily_freed_bytes += std::min(r.lazily_freed_bytes, in_memory[i].bytes);
      } else if (r.mapper == 0) {
        out->nobody_saw_bytes += in_memory[i].bytes;
      }
    }
  }

  Arena& arena_;
  const Served& served_;
  const elf::Modules& modules_;
  const Memory& memory_;
  Growing<OtherAllocator> found_;
};

}  // namespace

void find_other_allocators(Arena& arena, const Served& served, const elf::Modules& modules,
                           const Memory& memory, std::span<BoundElsewhere> bound, Others* out) noexcept {
  *out = {};
  out->bound = bound;
  Finder(arena, served, modules, memory).run(out);
}

namespace {

void add_allocator(TextBuffer& to, const OtherAllocator& a) noexcept {
  to.add(a.name);
  if (!a.version.empty()) to.add(' ').add(a.version);
}

void add_owner(std::string_view path, const Others& others, TextBuffer& to) noexcept {
  for (const OtherAllocator& a : others.allocators) {
    if (a.object != path || a.is_managed) continue;
    add_allocator(to, a);
    to.add(" in ").add(file_name_of(path));
    return;
  }
  to.add("the malloc of ").add(file_name_of(path));
}

void add_natural_owner(TextBuffer& to, const Served& served, const Others& others) noexcept {
  const link_map* next = elf::find_next_definer("malloc");
  if (!next || next == served.backend->object) return;
  if (next == elf::libc_object()) return void(to.add("glibc"));
  add_owner(view_of(next->l_name), others, to);
}

/// From outside the order of loading is not known: the only object beside libc that defines malloc comes
/// before it, but for one that mallard loaded.
void add_natural_owner_of(const elf::Modules& modules, const Served& served, const Others& others,
                          TextBuffer& to) noexcept {
  const ProcessMemory& process = modules.process();
  const elf::Module *libc = nullptr, *other = nullptr;
  for (const elf::Module& m : modules.all()) {
    if (m.kind != elf::ModuleKind::kElf || is_own_module(process, served, m)) continue;
    const bool is_loaded_backend =
        is_backend_module(process, served, m) && view_of(options().backend) != "next";
    if (elf::is_libc(m)) libc = &m;
    else if (!is_loaded_backend && inside::contents_of(m, process).defines_malloc) other = &m;
  }
  const elf::Module* const next = other ? other : libc;
  if (!next || is_backend_module(process, served, *next)) return;
  if (next == libc) return void(to.add("glibc"));
  add_owner(next->path, others, to);
}

}  // namespace

std::string_view find_replaced(Arena& arena, const Served& served, const elf::Modules& modules,
                               const Others& others) noexcept {
  if (served.bypassed || served.stepped_aside || is_observed()) return {};
  FixedText<256> text;
  for (const OtherAllocator& a : others.allocators) {
    if (a.status != OtherStatus::kRedirected || text.size() > 0) continue;
    add_allocator(text, a);
    text.add(" inside ").add(file_name_of(a.object));
  }
  if (text.size() == 0) {
    if (modules.process().is_own()) add_natural_owner(text, served, others);
    else add_natural_owner_of(modules, served, others, text);
  }
  char* copy = arena.array<char>(text.size() + 1);
  if (!copy) return {};
  std::copy(text.view().begin(), text.view().end(), copy);
  return {copy, text.size()};
}

Takeover read_takeover() noexcept {
  const inside::TakeoverOutcome& t = inside::takeover_outcome();
  return {static_cast<Takeover::State>(t.state), view_of(t.what), t.entry_points, view_of(t.why)};
}

}  // namespace mallard::report
