// SPDX-License-Identifier: Apache-2.0
#include "elf/modules.hpp"

#include <fcntl.h>

#include <algorithm>

#include "base/os.hpp"
#include "base/text.hpp"

namespace mallard::elf {
namespace {

constexpr std::uintptr_t kPageMask = kPageBytes - 1;
constexpr std::string_view kAnonymousName = "[anonymous code]";

struct Candidate {
  Module module;
  std::uintptr_t code_begin, code_end;  ///< of its executable segments
  std::uintptr_t view_at;               ///< of a view: where the file's first byte would be
  bool has_code;
};

bool same_file(const Module& m, const Mapping& mapping) noexcept {
  return m.device == mapping.device && m.inode == mapping.inode;
}

Module describe(const Mapping& mapping, ModuleKind kind) noexcept {
  Module m{};
  m.path = mapping.path;
  m.deleted = mapping.deleted;
  m.device = mapping.device;
  m.inode = mapping.inode;
  m.map_begin = mapping.begin;
  m.map_end = mapping.end;
  m.kind = kind;
  return m;
}

/// The segment that the loader mapped at file offset `offset`, executable ones first.
const Elf64_Phdr* segment_at(const Image& image, std::uint64_t offset) noexcept {
  const Elf64_Phdr* found = nullptr;
  for (const Elf64_Phdr& s : image.segments()) {
    if (s.p_type != PT_LOAD || offset < (s.p_offset & ~kPageMask)) continue;
    if (offset - (s.p_offset & ~kPageMask) >= align_up((s.p_offset & kPageMask) + s.p_filesz, kPageBytes))
      continue;
    if (!found || ((s.p_flags & PF_X) && !(found->p_flags & PF_X))) found = &s;
  }
  return found;
}

const Mapping* mapping_at(std::span<const Mapping> all, std::uintptr_t address) noexcept {
  const auto at = std::partition_point(all.begin(), all.end(),
                                       [address](const Mapping& m) noexcept { return m.end <= address; });
  return at != all.end() && at->begin <= address ? &*at : nullptr;
}

/// Whether the loader put an object there: code stands where its code begins (its own, or what was put in its
/// place), and of its other segments at least one is mapped where it belongs.
bool is_loaded(const Image& image, const Module& module, std::span<const Mapping> all) noexcept {
  bool code = false, own_code = false, others = false, other_there = false;
  for (const Elf64_Phdr& s : image.segments()) {
    if (s.p_type != PT_LOAD || s.p_filesz == 0) continue;
    const std::uintptr_t begin = module.load_bias + (s.p_vaddr & ~kPageMask);
    const Mapping* m = mapping_at(all, begin);
    const bool own =
        m && same_file(module, *m) && m->offset + (begin - m->begin) == (s.p_offset & ~kPageMask);
    if (s.p_flags & PF_X) {
      code = code || (m && m->executable);
      own_code = own_code || (own && m->executable);
    } else {
      others = true;
      other_there = other_there || own;
    }
  }
  return others ? code && other_there : own_code;
}

/// Makes of an object that nobody loaded the view of it that `mapping` is.
void place_view(const Mapping& mapping, Candidate* out) noexcept {
  Module& module = out->module;
  module.span_begin = out->code_begin = mapping.begin;
  module.span_end = module.data_begin = out->code_end = mapping.end;
  module.segments = {};
  out->view_at = mapping.begin - mapping.offset;
}

/// Fills bias and span. \return false if no segment can be what `mapping` shows
bool place(const Image& image, const Mapping& mapping, Arena& arena, Candidate* out) noexcept {
  const Elf64_Phdr* at = segment_at(image, mapping.offset);
  auto* segments = arena.array<SegmentPages>(image.segments().size());
  if (!at || !segments) return false;
  const std::uint64_t address = (at->p_vaddr & ~kPageMask) + (mapping.offset - (at->p_offset & ~kPageMask));
  const std::uintptr_t bias = mapping.begin - address;
  out->module.load_bias = bias;
  Module& module = out->module;
  module.span_begin = module.data_begin = out->code_begin = ~std::uintptr_t{0};
  module.span_end = out->code_end = 0;
  std::size_t count = 0;
  for (const Elf64_Phdr& s : image.segments()) {
    if (s.p_type != PT_LOAD) continue;
    const std::uintptr_t begin = bias + (s.p_vaddr & ~kPageMask);
    const std::uintptr_t end = bias + align_up(s.p_vaddr + s.p_memsz, kPageBytes);
    segments[count++] = {begin, end};
    if (begin < module.span_begin) module.span_begin = begin;
    if (end > module.span_end) module.span_end = end;
    if ((s.p_flags & PF_W) && begin < module.data_begin) module.data_begin = begin;
    if (!(s.p_flags & PF_X)) continue;
    if (begin < out->code_begin) out->code_begin = begin;
    if (end > out->code_end) out->code_end = end;
  }
  if (module.data_begin > module.span_end) module.data_begin = module.span_end;
  std::sort(segments, segments + count,
            [](const SegmentPages& a, const SegmentPages& b) noexcept { return a.begin < b.begin; });
  module.segments = {segments, count};
  return module.span_begin <= mapping.begin && mapping.begin < module.span_end;
}

/// An ELF object whose first page is `mapping`, from what stands in memory there. \return false if it is none
/// or a file that is mapped as data
bool candidate_from_memory(const ProcessMemory& process, const Mapping& mapping, std::span<const Mapping> all,
                           Arena& arena, Candidate* out) noexcept {
  const bool vdso = mapping.path == "[vdso]";
  out->module = describe(mapping, vdso ? ModuleKind::kVdso : ModuleKind::kElf);
  Image image;
  if (vdso && process.is_own())
    image.use_memory(reinterpret_cast<const void*>(mapping.begin), mapping.end - mapping.begin, Form::kLoaded);
  else image.use_process(process, mapping.begin);
  if (image.parse() != Fault::kNone || !place(image, mapping, arena, out)) return false;
  if (!vdso && !is_loaded(image, out->module, all)) return false;
  out->module.build_id = image.read_build_id(arena);
  return true;
}

/// An ELF object whose first page is not mapped or not readable, or a view of one, from its file.
bool candidate_from_file(const ProcessMemory& process, const Mapping& mapping, std::span<const Mapping> all,
                         Arena& arena, Candidate* out) noexcept {
  out->module = describe(mapping, ModuleKind::kElf);
  Image image;
  if (!open_module(out->module, arena, &image, process) || image.parse() != Fault::kNone) return false;
  if (!place(image, mapping, arena, out)) return false;
  if (!is_loaded(image, out->module, all)) place_view(mapping, out);
  out->module.build_id = image.read_build_id(arena);
  return true;
}

class Builder {
 public:
  Builder(Arena& arena, const ProcessMemory& process, std::span<const Mapping> all) noexcept
      : arena_(arena), process_(process), all_(all), candidates_(arena), code_(arena) {}

  void add(const Mapping& mapping) noexcept {
    const bool has_file = mapping.inode != 0;
    Candidate candidate{};
    if ((has_file && mapping.offset == 0 && mapping.readable) || mapping.path == "[vdso]")
      if (candidate_from_memory(process_, mapping, all_, arena_, &candidate)) candidates_.add(candidate);
    if (!mapping.executable) return;
    int owner = owner_of(mapping);
    if (owner < 0) {
      if (!has_file || !candidate_from_file(process_, mapping, all_, arena_, &candidate)) other(mapping, &candidate);
      owner = static_cast<int>(candidates_.size());
      if (!candidates_.add(candidate)) return;
    }
    Candidate& c = candidates_[static_cast<std::size_t>(owner)];
    if (!c.has_code) c.module.begin = mapping.begin;
    c.module.end = mapping.end;
    c.has_code = true;
    code_.add({mapping.begin, mapping.end, owner});
  }

  bool write(std::span<Module>* modules, std::span<CodeRange>* code) noexcept {
    auto* list = arena_.array<Module>(candidates_.size());
    auto* index = arena_.array<int>(candidates_.size());
    if (candidates_.size() != 0 && (!list || !index)) return false;
    std::size_t n = 0;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      if (!candidates_[i].has_code) continue;  // an ELF file mapped as data
      index[i] = static_cast<int>(n);
      list[n++] = candidates_[i].module;
    }
    for (std::size_t i = 0; i < code_.size(); ++i)
      code_[i].module = index[static_cast<std::size_t>(code_[i].module)];
    *modules = {list, n};
    *code = code_.all();
    return !candidates_.out_of_memory() && !code_.out_of_memory();
  }

 private:
  int owner_of(const Mapping& mapping) noexcept {
    // Objects lie side by side: the owner is nearly always the last one found.
    for (std::size_t i = candidates_.size(); i-- > 0;) {
      const Candidate& c = candidates_[i];
      if (same_file(c.module, mapping) && mapping.begin >= c.module.span_begin &&
          mapping.end <= c.module.span_end)
        return static_cast<int>(i);
      if (c.view_at != 0 && same_file(c.module, mapping) && c.view_at == mapping.begin - mapping.offset)
        return static_cast<int>(i);
      // Anonymous code where an object's code belongs replaces it (huge pages, patched pages).
      if (mapping.inode == 0 && mapping.begin >= c.code_begin && mapping.end <= c.code_end)
        return static_cast<int>(i);
      if (c.module.kind == ModuleKind::kAnonymous && mapping.inode == 0 && c.module.path == name_of(mapping))
        return static_cast<int>(i);
      if (c.module.kind == ModuleKind::kOtherFile && same_file(c.module, mapping) &&
          c.module.load_bias == mapping.begin - mapping.offset)
        return static_cast<int>(i);
    }
    return -1;
  }

  static std::string_view name_of(const Mapping& mapping) noexcept {
    return mapping.path.empty() ? kAnonymousName : mapping.path;
  }

  static void other(const Mapping& mapping, Candidate* out) noexcept {
    *out = {};
    out->module = describe(mapping, mapping.inode != 0 ? ModuleKind::kOtherFile : ModuleKind::kAnonymous);
    out->module.path = name_of(mapping);
    if (mapping.inode != 0) out->module.load_bias = mapping.begin - mapping.offset;
  }

  Arena& arena_;
  const ProcessMemory& process_;
  std::span<const Mapping> all_;
  Growing<Candidate> candidates_;
  Growing<CodeRange> code_;
};

/// True if `file` is what is mapped: by identity, or by build-id where the file system shows another device
/// in maps than in stat (overlays, subvolumes).
bool is_mapped_file(const Module& m, Image& file, Arena& arena) noexcept {
  if (file.inode() == m.inode && file.device() == m.device) return true;
  return !m.build_id.empty() && file.parse() == Fault::kNone && file.read_build_id(arena) == m.build_id;
}

}  // namespace

bool Modules::read(Arena& arena, const ProcessMemory& process) noexcept {
  process_ = &process;
  return read_from(arena, ProcessMemory::Path(process, "maps").c_str());
}

bool Modules::read_from(Arena& arena, const char* maps_path) noexcept {
  Growing<Mapping> all(arena);
  const bool complete = for_each_mapping(
      arena, maps_path,
      [](const Mapping& m, void* to) noexcept {
        if (m.inode != 0 || m.executable) static_cast<Growing<Mapping>*>(to)->add(m);
      },
      &all);
  return read(arena, all.all(), process()) && complete && !all.out_of_memory();
}

bool Modules::read(Arena& arena, std::span<const Mapping> mappings, const ProcessMemory& process) noexcept {
  process_ = &process;
  Builder builder(arena, process, mappings);
  for (const Mapping& mapping : mappings) builder.add(mapping);
  return builder.write(&modules_, &code_);
}

int Modules::find(std::uintptr_t pc) const noexcept {
  const auto range = std::upper_bound(
      code_.begin(), code_.end(), pc, [](std::uintptr_t at, const CodeRange& r) noexcept { return at < r.end; });
  return range != code_.end() && range->begin <= pc ? range->module : -1;
}

bool open_module(const Module& m, Arena& arena, Image* out, const ProcessMemory& process) noexcept {
  if (m.kind == ModuleKind::kVdso) {
    if (process.is_own()) out->use_memory(reinterpret_cast<const void*>(m.begin), m.end - m.begin);
    else out->use_process(process, m.begin, m.end - m.begin);
    return true;
  }
  if (m.inode == 0) return false;
  // The link reaches the very file, deleted or not, but the kernel gives it to privileged processes only.
  FixedText<64> link;
  link.add("map_files/").add_unsigned(m.map_begin, 16).add('-').add_unsigned(m.map_end, 16);
  if (out->open(ProcessMemory::Path(process, link.view()).c_str()) &&
      (m.build_id.empty() || is_mapped_file(m, *out, arena)))
    return true;
  if (out->open(ProcessMemory::Path(process, "exe").c_str()) && is_mapped_file(m, *out, arena)) return true;
  const ProcessMemory::Path root(process, "root");
  const std::size_t bytes = m.path.size() + root.size() + 1;
  if (char* room = arena.array<char>(bytes)) {
    TextBuffer path(room, bytes);
    if (!process.is_own()) path.add(root.view());  // it may see other files under these names
    if (out->open(path.add(m.path).c_str()) && is_mapped_file(m, *out, arena)) return true;
    // Where the process has changed its root the kernel shows paths as they are seen here.
    path.clear();
    if (!process.is_own() && out->open(path.add(m.path).c_str()) && is_mapped_file(m, *out, arena)) return true;
  }
  out->close();
  return false;
}

}  // namespace mallard::elf
