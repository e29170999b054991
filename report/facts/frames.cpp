// SPDX-License-Identifier: Apache-2.0
#include "report/facts/frames.hpp"

#include <string.h>

#include <initializer_list>

#include "symbols/demangle.hpp"
#include "elf/modules.hpp"
#include "symbols/elf_symbols.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kMaxFunctionBytes = 4096;

/// Call sites, and those of slow calls.
using AllRows = std::initializer_list<std::span<SiteRow>>;

/// Every return address of every row, and who mapped memory.
std::span<symbols::Symbol> collect(Arena& arena, AllRows all,
                                   std::span<const LedgerDetail> details) noexcept {
  std::size_t total = details.size();
  for (const std::span<SiteRow> rows : all)
    for (const SiteRow& row : rows) total += static_cast<std::size_t>(row.depth);
  auto* symbols = arena.array<symbols::Symbol>(total);
  if (!symbols) return {};
  std::size_t n = 0;
  for (const std::span<SiteRow> rows : all)
    for (const SiteRow& row : rows) {
      std::uintptr_t pcs[unwind::kMaxDepth];
      const int depth = record::copy_site_pcs(record::site(record::SiteId{row.id}), pcs, row.depth);
      for (int f = 0; f < depth; ++f) symbols[n++].pc = pcs[f];
    }
  for (const LedgerDetail& detail : details)
    if (detail.mapper != 0) symbols[n++].pc = detail.mapper;
  return {symbols, n};
}

/// Replaces mangled names by demangled ones, once per address.
void demangle_all(Arena& arena, std::span<symbols::Symbol> symbols) noexcept {
  symbols::Demangler demangler;
  char* to = arena.array<char>(kMaxFunctionBytes);
  if (!to) return;
  for (symbols::Symbol& s : symbols) {
    if (s.name.empty()) continue;
    const std::string_view name = demangler.demangle(s.name, to, kMaxFunctionBytes);
    if (name.data() == s.name.data()) continue;
    char* copy = arena.array<char>(name.size());
    if (!copy) return;
    memcpy(copy, name.data(), name.size());
    s.name = {copy, name.size()};
  }
}

/// What stands for the name of a function in executable memory that no file holds, at least not any more.
constexpr std::string_view kGeneratedCode = "[generated code]";

Frame frame_of(const symbols::Symbol& s, std::span<const ModuleRow> modules, std::span<const int> row_of) noexcept {
  Frame frame{};
  frame.pc = s.pc;
  frame.module_address = s.address;
  frame.function = s.name;
  frame.function_offset = s.name.empty() ? 0 : s.offset;
  frame.module_index = s.module < 0 ? -1 : row_of[static_cast<std::size_t>(s.module)];
  if (frame.module_index >= 0) frame.module = modules[static_cast<std::size_t>(frame.module_index)].path;
  else if (s.module >= 0 || record::is_generated_code(s.pc)) frame.function = kGeneratedCode;
  return frame;
}

/// Fills in the modules of the snapshot.
/// \return for each module the index of its row, -1 for code outside any file; empty if memory is out
std::span<const int> copy_modules(Arena& arena, std::span<const elf::Module> modules, Snapshot* out) noexcept {
  auto* rows = arena.array<ModuleRow>(modules.size() + 1);
  auto* row_of = arena.array<int>(modules.size() + 1);
  if (!rows || !row_of) return {};
  int n = 0;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const elf::Module& m = modules[i];
    row_of[i] = m.kind == elf::ModuleKind::kAnonymous ? -1 : n;
    if (row_of[i] >= 0) rows[n++] = {m.path, m.build_id, m.begin, m.end, m.load_bias};
  }
  out->modules = {rows, static_cast<std::size_t>(n)};
  return {row_of, modules.size() + 1};
}

/// Points from a row's stack to the frames of its addresses, of which `unknown` is the one without a symbol.
/// \return false if memory is out
bool point_to_frames(Arena& arena, std::span<const symbols::Symbol> distinct, const Frame* shared,
                     const Frame& unknown, SiteRow& row, bool* any_unknown) noexcept {
  auto** frames = arena.array<const Frame*>(static_cast<std::size_t>(row.depth));
  if (!frames) return false;
  std::uintptr_t pcs[unwind::kMaxDepth];
  const int depth = record::copy_site_pcs(record::site(record::SiteId{row.id}), pcs, row.depth);
  for (int f = 0; f < row.depth; ++f) {
    const symbols::Symbol* symbol = f < depth ? symbols::find_symbol_of(distinct, pcs[f]) : nullptr;
    frames[f] = symbol ? &shared[symbol - distinct.data()] : &unknown;
    *any_unknown |= !symbol;
  }
  row.frames = frames;
  return true;
}

}  // namespace

bool add_frames(Arena& arena, const elf::Modules& modules, SiteRow* rows, Snapshot* out) noexcept {
  const std::span<const int> row_of = copy_modules(arena, modules.all(), out);
  if (row_of.empty()) return false;
  const AllRows all = {{rows, out->site_count}, out->latency.stacks};
  const std::span<LedgerDetail> details(out->ledger.details, out->ledger.detail_count);
  const std::span<symbols::Symbol> distinct =
      symbols::symbolize(arena, modules, collect(arena, all, details));
  demangle_all(arena, distinct);
  auto* shared = arena.array<Frame>(distinct.size() + 1);
  if (!shared) return false;
  for (std::size_t i = 0; i < distinct.size(); ++i)
    shared[i] = frame_of(distinct[i], out->modules, row_of);
  Frame& unknown = shared[distinct.size()];  // only if memory for the addresses themselves was out
  unknown.module_index = -1;
  bool any_unknown = false;
  for (const std::span<SiteRow> some : all)
    for (SiteRow& row : some)
      if (!point_to_frames(arena, distinct, shared, unknown, row, &any_unknown)) return false;
  out->frames = {shared, distinct.size() + (any_unknown ? 1 : 0)};
  for (LedgerDetail& detail : details)
    if (const symbols::Symbol* symbol = symbols::find_symbol_of(distinct, detail.mapper))
      detail.frame = &shared[symbol - distinct.data()];
  return true;
}

}  // namespace mallard::report
