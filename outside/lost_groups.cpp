// SPDX-License-Identifier: Apache-2.0
#include "outside/lost_groups.hpp"

#include <string.h>

#include <algorithm>
#include <initializer_list>

#include "elf/image.hpp"

namespace mallard::outside {

LostGroups::Group* LostGroups::group_of(std::uint64_t bytes) noexcept {
  for (std::size_t i = bytes * 0x9e37'79b9'7f4a'7c15 >> 52, n = 0; n < kSizes; ++n, i = (i + 1) % kSizes) {
    Group& group = groups_[i];
    if (group.sum.block_bytes == bytes) return &group;
    if (group.sum.block_bytes != 0) continue;
    if (group_count_ == kSizes / 2) return nullptr;  // the sums still have it
    ++group_count_;
    group.sum.block_bytes = bytes;
    return &group;
  }
  return nullptr;
}

std::uint64_t LostGroups::first_word(const FoundBlock& block) noexcept {
  std::uint64_t first = 0;
  look_.reach().each_word({block.begin, sizeof first}, [&first](std::uint64_t word) { first = word; });
  return first;
}

/// The first word that most blocks of a size have is the one that is left when each other word takes one
/// away.
void LostGroups::count() noexcept {
  each_lost([this](const FoundBlock& block) {
    ++out_->blocks;
    out_->bytes += block.bytes;
    out_->resident_bytes += look_.pages().present_bytes(block.begin, block.begin + block.bytes);
    Group* group = group_of(block.bytes);
    if (!group) return;
    ++group->sum.blocks;
    group->sum.bytes += block.bytes;
    const std::uint64_t word = first_word(block);
    if (group->votes == 0) group->word = word;
    group->votes = word == group->word ? group->votes + 1 : group->votes - 1;
  });
  each_lost([this](const FoundBlock& block) {
    if (Group* group = group_of(block.bytes)) group->holders += first_word(block) == group->word;
  });
}

void LostGroups::count_first(const FoundBlock& block) noexcept {
  ++out_->first;
  out_->first_bytes += block.bytes;
  if (Group* group = group_of(block.bytes)) ++group->sum.first;
}

/// Nothing that was reached leads to a lost block: marks are free to be used among the lost.
void LostGroups::find_first() noexcept {
  each_lost([this](const FoundBlock& block) {
    look_.reach().each_word(block, [&](std::uint64_t word) {
      const FoundBlock to = blocks_.find(without_tag(word));
      if (to.begin != 0 && to.begin != block.begin) blocks_.mark(to);
    });
  });
  each_lost([this](const FoundBlock& block) {
    if (!blocks_.is_marked(block)) {
      count_first(block);
      blocks_.wait(block);
    }
    blocks_.unmark(block);
  });
  look_.reach().finish();
  // What is left are rings of blocks that lead to each other: of each, one stands for it.
  each_lost([this](const FoundBlock& block) {
    if (blocks_.is_marked(block)) return;
    count_first(block);
    look_.reach().from_block(block);
    look_.reach().finish();
  });
}

/// The name of the variable that has the address in it: of a class's virtual functions, most often.
std::string_view LostGroups::symbol_at(std::uintptr_t address) noexcept {
  const std::span<const elf::Module> modules = look_.modules().all();
  const auto has = [address](const elf::Module& m) {
    return m.kind == elf::ModuleKind::kElf && address >= m.span_begin && address < m.span_end;
  };
  const auto module = std::find_if(modules.begin(), modules.end(), has);
  if (module == modules.end()) return {};
  Arena arena;
  elf::Image image;
  if (!elf::open_module(*module, arena, &image, look_.modules().process()) ||
      image.parse() != elf::Fault::kNone)
    return {};
  const std::uint64_t wanted = address - module->load_bias;
  for (const std::uint32_t type : {std::uint32_t{SHT_SYMTAB}, std::uint32_t{SHT_DYNSYM}}) {
    elf::SymbolTable table;
    if (!image.find_symbols(type, &table)) continue;
    const std::string_view names = image.read_names(table, arena);
    std::string_view found;
    image.for_each_symbol(table, [&](const Elf64_Sym& symbol) {
      if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || wanted < symbol.st_value ||
          wanted - symbol.st_value >= symbol.st_size || symbol.st_name >= names.size())
        return;
      found = view_of(names.data() + symbol.st_name);
    });
    if (found.empty()) continue;
    char* kept = arena_.array<char>(found.size());
    if (!kept) return {};
    memcpy(kept, found.data(), found.size());
    return {kept, found.size()};
  }
  return {};
}

bool LostGroups::write() noexcept {
  const auto by_bytes = [](const Group& a, const Group& b) { return a.sum.bytes > b.sum.bytes; };
  std::sort(groups_, groups_ + kSizes, by_bytes);
  const std::size_t shown = std::min(group_count_, kShown);
  auto* rows = arena_.array<report::LostGroup>(shown + 1);
  if (!rows) return false;
  for (std::size_t i = 0; i < shown; ++i) {
    rows[i] = groups_[i].sum;
    if (groups_[i].holders * 2 > groups_[i].sum.blocks) rows[i].kind = symbol_at(groups_[i].word);
  }
  out_->groups = {rows, shown};
  out_->other_groups = static_cast<std::uint32_t>(group_count_ - shown);
  return true;
}

bool LostGroups::run(report::LostBlocks* out) noexcept {
  out_ = out;
  groups_ = arena_.array<Group>(kSizes);
  if (!groups_) return false;
  count();
  find_first();
  return write();
}

}  // namespace mallard::outside
