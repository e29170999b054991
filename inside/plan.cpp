// SPDX-License-Identifier: Apache-2.0
#include "inside/plan.hpp"

#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "elf/program_file.hpp"
#include "inside/call_search.hpp"
#include "inside/known_registers.hpp"
#include "inside/messages.hpp"

namespace mallard::inside {
namespace {

constexpr std::string_view kUseRedirect = "use ALLOC_EMBEDDED=redirect, which moves no instruction";

bool is_hidden_or_global(const Elf64_Sym& s) noexcept {
  const int visibility = ELF64_ST_VISIBILITY(s.st_other);
  return ELF64_ST_BIND(s.st_info) != STB_LOCAL || visibility == STV_HIDDEN || visibility == STV_INTERNAL;
}

class Planner {
 public:
  Planner(const elf::ProgramFile& file, EmbeddedAction action, TakeoverPlan& plan) noexcept
      : file_(file), observes_(action == EmbeddedAction::kObserve), plan_(plan) {}

  void run() noexcept {
    file_.for_each_function([this](std::string_view name, const Elf64_Sym& s, bool is_dynamic) noexcept {
      return add_symbol(name, s, is_dynamic);
    });
    if (refused()) return;
    drop_what_is_no_allocator();
    require_names();
    require_no_other_allocator();
    if (refused() || (plan_.count == 0 && internals_ == 0)) return;
    plan_.answer = TakeoverAnswer::kPossible;
    choose_named();
    require_both_sides();
    if (observes_ && !arch::can_decode())
      refuse("build mallard with it (scripts/get-zydis), or use ALLOC_EMBEDDED=redirect")
          .add("this mallard was built without a disassembler");
    for (std::size_t i = 0; i < plan_.count && !refused(); ++i) read_window(plan_.entries[i]);
    if (!refused()) require_room();
    if (!refused() && !entries_are_the_only_way_in(file_, observes_, plan_))
      plan_.answer = TakeoverAnswer::kRefused;
    if (!refused() && arch::can_decode()) require_unknown_registers();
  }

 private:
  bool refused() const noexcept { return plan_.answer == TakeoverAnswer::kRefused; }
  TextBuffer& refuse(std::string_view next) noexcept {
    plan_.answer = TakeoverAnswer::kRefused;
    plan_.why.clear();
    plan_.next.clear();
    plan_.next.add(next);
    return plan_.why;
  }

  bool add_symbol(std::string_view name, const Elf64_Sym& s, bool is_dynamic) noexcept {
    note_named(name, s.st_value);
    const SymbolMeaning m = meaning_of(name);
    if (m.role == SymbolRole::kInternal) {
      internals_ += m.kind == EmbeddedKind::kMimalloc;
      return true;
    }
    if (m.role != SymbolRole::kEntry) return true;
    if (m.kind == EmbeddedKind::kProgram && !is_dynamic && !is_hidden_or_global(s)) return true;
    if (ELF64_ST_TYPE(s.st_info) == STT_GNU_IFUNC) {
      refuse("build it without that").add(name).add(" is chosen at load time (an IFUNC)");
      return false;
    }
    if (m.kind == EmbeddedKind::kProgram) {
      has_malloc_ |= name == "malloc";
      has_free_ |= name == "free";
    }
    for (std::size_t i = 0; i < plan_.count; ++i) {
      TakeoverEntry& e = plan_.entries[i];
      if (e.address != s.st_value) continue;
      if (m.kind < e.kind) e = {e.address, m.target, m.kind, m.drops_first, {}, {}, {}, {}};
      return true;
    }
    if (plan_.count == kMaxTakeoverEntries) {
      refuse({}).add("it has more entry points than mallard keeps books of");
      return false;
    }
    plan_.entries[plan_.count++] = {s.st_value, m.target, m.kind, m.drops_first, {}, {}, {}, {}};
    return true;
  }

  void note_named(std::string_view name, std::uint64_t address) noexcept {
    for (std::size_t family = 0; family < std::size(kFamilies); ++family) {
      if (!name.starts_with(kFamilies[family])) continue;
      const std::string_view rest = part_of(name, kFamilies[family].size());
      for (std::size_t i = 0; i < kNamedFunctions; ++i)
        if (rest == kNamed[i] || (i == static_cast<std::size_t>(NamedFunction::kUsableSize) && rest == "usable_size"))
          named_[family][i] = address;
    }
  }

  /// All of them are of one allocator.
  void choose_named() noexcept {
    constexpr std::size_t kMimalloc = 1, kFirstOfJemalloc = 2;
    std::size_t family = 0;
    if (plan_.has_kind[0]) family = kMimalloc;
    else if (plan_.has_kind[1])
      for (std::size_t f = kFirstOfJemalloc; f < std::size(kFamilies); ++f)
        if (named_[f][static_cast<std::size_t>(NamedFunction::kFree)] != 0) family = f;
    std::copy(std::begin(named_[family]), std::end(named_[family]), plan_.named);
    plan_.prefix = kFamilies[family];
  }

  /// A program's own operator new or strdup is no allocator, as long as malloc is not its own, too.
  void drop_what_is_no_allocator() noexcept {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < plan_.count; ++i) {
      const TakeoverEntry e = plan_.entries[i];
      if (e.kind == EmbeddedKind::kProgram && !has_malloc_ && !has_free_) continue;
      plan_.has_kind[static_cast<std::size_t>(e.kind)] = true;
      plan_.entries[kept++] = e;
    }
    plan_.count = kept;
    if (internals_) plan_.has_kind[0] = true;
  }

  bool has_target(EmbeddedKind kind, bool allocates) const noexcept {
    for (std::size_t i = 0; i < plan_.count; ++i) {
      const TakeoverEntry& e = plan_.entries[i];
      if (e.kind != kind) continue;
      const bool frees = e.target == "free" || e.target == "ufree";
      if (allocates ? e.target.find("alloc") != e.target.npos && e.target.find("size") == e.target.npos
                    : frees)
        return true;
    }
    return false;
  }

  void require_both_sides() noexcept {
    constexpr std::string_view kInlined = "build the program without link-time optimisation (-flto)";
    if (has_malloc_ != has_free_)
      refuse("build the program to use the system's malloc")
          .add("it defines ")
          .add(has_malloc_ ? "malloc without free" : "free without malloc");
    for (const EmbeddedKind kind : {EmbeddedKind::kMimalloc, EmbeddedKind::kJemalloc}) {
      if (!plan_.has_kind[static_cast<std::size_t>(kind)] || refused()) continue;
      if (has_malloc_ && has_free_) continue;  // an override: they may share their addresses
      const std::string_view name = kind == EmbeddedKind::kMimalloc ? "mimalloc" : "jemalloc";
      if (!has_target(kind, true))
        refuse(kInlined)
            .add("no function of ")
            .add(name)
            .add(" that allocates has a name: they were inlined");
      else if (!has_target(kind, false))
        refuse(kInlined).add("no function of ").add(name).add(" that frees has a name: they were inlined");
    }
  }

  /// The known allocator whose messages stand in the file's read-only data; empty if there is none.
  std::string_view name_in_texts() const noexcept {
    Arena arena;
    MessageSearch texts;
    texts.run(file_.image(), arena);
    const auto all = known_allocators();
    const auto found = std::find_if(all.begin(), all.end(), [&](const KnownAllocator& a) noexcept {
      return texts.has_all_messages_of(a);
    });
    return found == all.end() ? std::string_view() : found->name;
  }

  /// Exported names alone do not show which other entry points the program calls.
  void require_names() noexcept {
    if (file_.has_symbol_table()) return;
    std::string_view who;
    if (plan_.has_kind[0]) who = "mimalloc";
    else if (plan_.has_kind[1]) who = "jemalloc";
    else who = name_in_texts();
    if (who.empty()) return;
    refuse("use a build that is not stripped (strip --strip-debug keeps the names)")
        .add("it is stripped, so that not all entry points of ")
        .add(who)
        .add(" can be found");
  }

  /// An allocator whose own names are not on our list, beside a malloc that is.
  void require_no_other_allocator() noexcept {
    if (refused()) return;
    file_.for_each_function([this](std::string_view name, const Elf64_Sym& s, bool) noexcept {
      for (const KnownAllocator& a : known_allocators()) {
        if (a.name == "mimalloc" || a.name == "jemalloc") continue;
        for (const std::string_view call : a.calls) {
          if (!matches(call, name) || is_entry(s.st_value)) continue;
          refuse("build the program to use the system's malloc")
              .add("it carries ")
              .add(a.name)
              .add(", whose own function ")
              .add(name)
              .add(" cannot be taken over");
          return false;
        }
      }
      return true;
    });
  }

  bool is_entry(std::uint64_t address) const noexcept {
    for (std::size_t i = 0; i < plan_.count; ++i)
      if (plan_.entries[i].address == address) return true;
    return false;
  }

  /// Reads the bytes that the jump will replace, and sets `address` to where it goes.
  void read_window(TakeoverEntry& e) noexcept {
    unsigned char code[arch::kLongestLandingPad];
    if (file_.image().read_address(e.address, code, sizeof code)) {
      const std::size_t pad = arch::landing_pad_bytes(code, sizeof code);
      e.address += pad;
      e.has_pad = pad > 0;
    }
    std::size_t bytes = observes_ ? sizeof e.bytes : kJumpBytes;
    const auto is_there = [&]() noexcept {
      return file_.image().is_code(e.address, bytes) && file_.image().read_address(e.address, e.bytes, bytes);
    };
    while (bytes > kJumpBytes && !is_there()) --bytes;
    e.displaced = kJumpBytes;
    if (!is_there()) refuse({}).add("the code of ").add(e.target).add(" is not in its file");
    else if (observes_) find_displaced(e, bytes);
  }

  void find_displaced(TakeoverEntry& e, std::size_t bytes) noexcept {
    e.call = block_call_of(e.target, e.drops_first);
    e.displaced = 0;
    if (e.call.action == BlockAction::kNone) return;
    const char* why = nullptr;
    e.displaced = static_cast<std::uint8_t>(arch::displaced_bytes(e.bytes, bytes, e.address, &why));
    if (e.displaced == 0)
      refuse(kUseRedirect)
          .add("the first instructions of ")
          .add(e.target)
          .add(" cannot be moved: ")
          .add(view_of(why));
  }

  /// The jump may only overwrite the function itself and what fills the gap behind it.
  void require_room() noexcept {
    file_.for_each_function([this](std::string_view name, const Elf64_Sym& s, bool) noexcept {
      for (std::size_t i = 0; i < plan_.count; ++i) {
        const TakeoverEntry& e = plan_.entries[i];
        if (e.displaced == 0) continue;
        const bool starts_here = s.st_value == e.address || s.st_value + arch::kLongestLandingPad == e.address;
        const bool starts_inside = s.st_value > e.address && s.st_value < e.address + e.displaced;
        if (!starts_inside && !(starts_here && !is_wide_enough(e, s))) continue;
        refuse({}).add(name).add(starts_inside ? " begins within the first bytes of an entry point"
                                               : " is too short for a jump");
        return false;
      }
      return true;
    });
  }

  void require_unknown_registers() noexcept {
    const TakeoverEntry* known = find_known_registers(file_, plan_);
    if (!known) return;
    refuse("build the program to use the system's malloc")
        .add(known->target)
        .add(" calls nothing outside of the program: ")
        .add("its callers may rely on registers that it leaves alone (-fipa-ra)");
  }

  bool is_wide_enough(const TakeoverEntry& e, const Elf64_Sym& s) const noexcept {
    const std::uint64_t end = s.st_value + s.st_size, jump_end = e.address + e.displaced;
    if (end >= jump_end) return true;
    if (e.displaced > kJumpBytes) return false;  // instructions, not what fills a gap
    if (s.st_size == 0 || jump_end > align_up(end, arch::kCodeAlignment)) return false;
    unsigned char filler[kJumpBytes + arch::kLongestLandingPad];
    const std::size_t n = jump_end - end;
    return n <= sizeof filler && file_.image().read_address(end, filler, n) && arch::begins_filler(filler[0]);
  }

  const elf::ProgramFile& file_;
  const bool observes_;
  TakeoverPlan& plan_;
  bool has_malloc_ = false, has_free_ = false;
  std::size_t internals_ = 0;

  /// How names of one allocator begin: mimalloc's stand second, jemalloc's behind.
  static constexpr std::string_view kFamilies[] = {"", "mi_", "_rjem_", "je_", "jemalloc_"};
  static constexpr std::string_view kNamed[kNamedFunctions] = {"malloc", "free", "malloc_usable_size", "mallctl"};
  std::uint64_t named_[std::size(kFamilies)][kNamedFunctions] = {};
};

}  // namespace

void add_kinds(TextBuffer& to, const TakeoverPlan& plan) noexcept {
  const char* separator = "";
  for (const EmbeddedKind kind : {EmbeddedKind::kMimalloc, EmbeddedKind::kJemalloc, EmbeddedKind::kProgram}) {
    if (!plan.has_kind[static_cast<std::size_t>(kind)]) continue;
    to.add(view_of(separator)).add(name_of(kind));
    separator = " and ";
  }
}

void plan_takeover(int fd, EmbeddedAction action, TakeoverPlan* out) noexcept {
  out->answer = TakeoverAnswer::kNothing;
  out->count = out->inner_count = 0;
  for (bool& has : out->has_kind) has = false;
  for (std::uint64_t& address : out->named) address = 0;
  out->prefix = {};
  out->code_begin = out->code_end = 0;
  out->own_count = 0;
  out->why.clear();
  out->next.clear();
  elf::ProgramFile file;
  const char* why = nullptr;
  if (!file.read(fd, &why)) {
    out->answer = TakeoverAnswer::kRefused;
    out->why.add(view_of(why));
    return;
  }
  out->has_symbol_table = file.has_symbol_table();
  Planner(file, action, *out).run();
}

}  // namespace mallard::inside
